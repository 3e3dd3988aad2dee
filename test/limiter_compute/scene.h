#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "abi/slice_table.h"
#include "sim/clock/virtual_clock.h"
#include "sim/test/scratch.h"
#include "test/limiter_control/measure.h"

// Programs in processes of their own under the limiter that programs load, each in a slice of one
// simulated GPU, on a clock that only moves when all of them wait: seconds of it take a fraction of
// ours, and the same scene is played the same way each time.
namespace tranche::limiter_compute {

using limiter_control::Share;
using limiter_control::Shares;
using limiter_control::Who;

struct Play {
  int warm_up_ms = 2000;
  int every_ms = 1000;
  int count = 5;
  // Without the limiter.
  bool free = false;
  // A folder with another build of it; "": the build's own.
  std::string shim;
  uint32_t seed = 1;
  // Seconds of our time, far more than any scene takes on a host that is not busy.
  int patience_s = 100;
  // For one of them. Who has this one is killed when it comes to the clock for the so-many-th time.
  static constexpr const char* kDieAt = "TRANCHE_SIM_CLOCK_DIE_AT";
  struct Variable {
    size_t tenant;
    std::string name, value;
  };
  std::vector<Variable> variables;
};

struct Played {
  // By sample and tenant, GPU nanoseconds between one sample and the next.
  std::vector<std::vector<double>> served;
  // By tenant, ns: of requests.
  std::vector<std::vector<int64_t>> starts, ends;
  // By sample, bytes: in the books of all slices after a look for the dead, and on the GPU.
  std::vector<uint64_t> ledgers, machine;
  // What went wrong; empty when nothing did.
  std::string error;

  // In percent of the GPU, sample by sample.
  Shares shares() const;
  int every_ms = 1000;
};

class Scene {
 public:
  Scene();
  ~Scene();
  Scene(const Scene&) = delete;
  Scene& operator=(const Scene&) = delete;

  Played Run(const std::vector<Who>& who, const Play& play = {});

 private:
  struct Child {
    pid_t pid = -1;
    int out = -1;
    std::string said;
  };
  using Variables = std::vector<std::pair<std::string, std::string>>;
  // Starts it and waits until it has loaded code.
  bool Start(const std::vector<std::string>& arguments, const Variables& variables,
             uint32_t processes);
  void MakeSlices(const std::vector<Who>& who);
  TrancheSlice* MakeTable(const std::string& path);
  // Until it has ended, or too long; false with what it said when it failed.
  bool Finish(Child& child);

  int patience_s_ = 100;
  sim::ScratchDir scratch_;
  std::string machine_;
  uint8_t uuid_[16] = {};
  std::string uuid_text_;  // 32 digits
  std::unique_ptr<sim::VirtualClock> clock_;
  std::string turns_path_;
  std::vector<TrancheSlice*> tables_;
  std::vector<Child> children_;
};

}  // namespace tranche::limiter_compute
