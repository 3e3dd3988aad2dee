#pragma once

#include <optional>
#include <string>
#include <vector>

#include "sim/machine/machine.h"
#include "sim/smi/nvml.h"

// What nvidia-smi can be asked for. Each prints its answer, on standard output as the original
// does, and returns the exit code.
namespace tranche::sim::smi {

// The rest of a command line, taken word by word. "--id=0", "--id 0", "-i 0" and "-i0" are the same
// to the original where the option takes a value.
class Words {
 public:
  explicit Words(std::vector<std::string> words) : words_(std::move(words)) {}

  bool empty() const { return at_ >= words_.size(); }
  // The option at hand without its value; "" at the end.
  std::string Option();
  // The value of the option last given by Option(); nothing when there is none.
  std::optional<std::string> Value();
  // The same where the option may stand alone.
  std::optional<std::string> ValueIfAny();

 private:
  std::vector<std::string> words_;
  size_t at_ = 0;
  std::optional<std::string> attached_;
};

struct Request {
  std::string ids;  // -i
  std::string query_gpu, query_apps, format;
  std::optional<std::string> set_mig, set_compute_mode, set_persistence;
  bool list = false, reset = false, details = false, xml = false;
};

int ListDevices(const Nvml& nvml, const std::vector<Board>& boards);
int Summarize(const Nvml& nvml, const std::vector<Board>& boards);
int QueryGpus(const Nvml& nvml, const std::vector<Board>& boards, const Request& request);
int QueryApps(const Nvml& nvml, const std::vector<Board>& boards, const Request& request);
int Describe(const Nvml& nvml, const std::vector<Board>& boards, bool xml);

int SetMigMode(const Nvml& nvml, const std::vector<Board>& boards, const std::string& value);
int SetComputeMode(const Nvml& nvml, const std::vector<Board>& boards, const std::string& value);
int SetPersistence(const Nvml& nvml, const std::vector<Board>& boards, const std::string& value);
int ResetGpus(const std::string& machine, const std::vector<Board>& boards);

// The subcommands, with what follows their name.
int ComputePolicy(const Nvml& nvml, const std::string& machine, Words words);
int Mig(const Nvml& nvml, Words words);

// Says that an option is none, as the original does, and returns its exit code.
int Refuse(const std::string& word);
int NoDevices();

}  // namespace tranche::sim::smi
