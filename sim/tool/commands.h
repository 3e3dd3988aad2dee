#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "base/units.h"
#include "sim/create/machine_file.h"
#include "sim/machine/machine.h"

// The verbs of tranche-sim. Each prints its answer and returns what went wrong.
namespace tranche::sim {

// "H100-SXM5-80GB:2".
Result<GpuDraft> ParseGpuArgument(const std::string& text);

struct CreateOptions {
  std::string dir;
  std::string machine;            // a built-in name or a file; empty = from `gpus`
  std::vector<std::string> gpus;  // MODEL[:COUNT]
  std::string driver;
  bool mirrored = false;
  bool mig = false;
  bool root_only = false;
  bool passthrough = false;
  bool virtual_clock = false;
};
Status Create(const CreateOptions& options);

// Replaces this process by PROGRAM; comes back only with an exit code: 126 or 127, or that of an
// error.
int Exec(const std::vector<std::string>& arguments);

struct FaultOptions {
  std::string dir;
  std::optional<uint32_t> gpu;
  uint32_t xid = 0;
  uint32_t gi = kNoId, ci = kNoId;
  std::optional<uint32_t> pid;
  bool lost = false;
  bool no_permission = false;
  bool clear = false;
  std::vector<std::string> missing_symbols;
  std::vector<std::string> slow;  // CALL=MS
  std::vector<std::string> fail;  // CALL=CODE[@N]
};
Status InjectFault(const FaultOptions& options);

struct AttachOptions {
  std::string dir;
  std::string gpu;  // I or I:MIG, MIG a MIG device's index or UUID
  Bytes memory;
  double load = 0;
  std::optional<Duration> time;
};
Status Attach(const AttachOptions& options);

struct ClockOptions {
  std::string dir;
  std::optional<uint32_t> wait_for;
};
// The machine's own clock: says its time; lets it stand still until so many processes take part.
Status Clock(const ClockOptions& options);

struct MpsOptions {
  std::string dir;
  std::string pipe;
  std::vector<uint32_t> gpus;  // none = all
  std::string mig;             // an instance of the one GPU, by index or UUID
  std::optional<uint32_t> uid;
  bool any_user = false;
  uint32_t thread_percentage = 100;
  Bytes memory_limit{0};             // of each client on each GPU; 0 = none
  std::vector<uint32_t> partitions;  // chunks of each
  uint32_t client_priority = 0;
  bool stop = false;
};
// Starts or stops an MPS server.
Status Mps(const MpsOptions& options);

// "0", "0:2" (a MIG device by index) or "0:MIG-..." (by UUID).
Result<Target> ParseTarget(Machine* machine, const std::string& text);

Status Show(const std::string& dir, const std::string& format);
Status Reset(const std::string& dir, uint32_t gpu);
Status Reload(const std::string& dir);
Status RebootMachine(const std::string& dir);
Status Models();

// "no GPU 9: the machine has GPUs 0 to 3".
Status CheckGpu(const Machine& machine, uint32_t gpu);
// Who holds a GPU, for messages: "pid 4711 (python), pid 4712 (vllm)".
std::string Holders(const MachineState& state, uint32_t gpu);

}  // namespace tranche::sim
