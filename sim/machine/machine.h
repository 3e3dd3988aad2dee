#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <string>

#include "base/result.h"
#include "sim/machine/rc.h"
#include "sim/machine/spec.h"
#include "sim/machine/state.h"

// The machine that all simulated libraries and tools share. It lives in a directory:
//
//   machine.yaml   what it was made from, for people and for `tranche-sim create --machine`
//   machine.spec   MachineSpec, mapped read-only
//   machine.state  two copies of MachineState and the number of the valid one
//   machine.lock   held (flock) during a transaction
//
// A transaction copies the valid copy over the other one, changes that, and then makes it the valid
// one with a single store. A process killed at any instant therefore leaves the old state or the
// new one; its lock dies with it.
namespace tranche::sim {

// Where memory and load go: a whole GPU, or one compute instance of it.
struct Target {
  uint32_t gpu = 0;
  uint64_t ci = 0;  // serial; 0 = the whole GPU
};

struct MemoryInfo {
  uint64_t total = 0;
  uint64_t reserved = 0;  // by the driver
  uint64_t used = 0;      // by contexts
  uint64_t free = 0;
};

// How a program uses MPS.
struct MpsClient {
  uint64_t server = 0;               // its serial; 0 = it does not
  uint64_t memory_limit = kNoLimit;  // of the GPU in question, for all its contexts there
  uint64_t name_space = 0;           // serials; 0 = it is in none
  uint64_t partition = 0;
};

struct Caller {
  uint32_t uid = 0;
  uint32_t pid = 0;
};

class Machine {
 public:
  struct Options {
    // Nanoseconds that never go back, the same for all processes of a machine.
    std::function<uint64_t()> monotonic_ns;
    // Nanoseconds since the epoch.
    std::function<uint64_t()> wall_ns;
  };

  // kUnavailable when `dir` holds no machine.
  static Result<std::unique_ptr<Machine>> Open(const std::string& dir, Options options);
  static Result<std::unique_ptr<Machine>> Open(const std::string& dir) {
    return Open(dir, Options{});
  }
  // Writes a new machine. kInvalid when there is one already.
  static Status Create(const std::string& dir, const MachineSpec& spec);

  ~Machine();
  Machine(const Machine&) = delete;
  Machine& operator=(const Machine&) = delete;

  // All methods below are safe from any thread and any number of processes.

  const MachineSpec& spec() const { return *spec_; }
  const std::string& dir() const { return dir_; }

  // One transaction: `change` sees the state with dead processes reaped and clocks moved on; what
  // it did is kept when it returns kOk and undone otherwise. It must not open another transaction.
  Rc Update(const std::function<Rc(MachineState&)>& change);
  // The same without the right to change anything.
  Rc Read(const std::function<Rc(const MachineState&)>& look);
  // A copy of everything, for those who look at many things.
  std::unique_ptr<MachineState> Snapshot();

  // --- What the calling process holds (libcuda, `tranche-sim attach`) ---------------------------

  // Registers the caller with a context on the target that costs `overhead_bytes` from the start.
  // kExclusive (compute mode), kGpuLost, kNotFound (the instance is gone), kNotSupported (the whole
  // GPU while MIG is on), kInsufficientResources (memory).
  // As a client of MPS also: what AdmitMpsClient() answers.
  Rc CreateContext(const Target& target, ContextKind kind, uint64_t overhead_bytes,
                   uint64_t* context) {
    return CreateContext(target, kind, overhead_bytes, {}, context);
  }
  Rc CreateContext(const Target& target, ContextKind kind, uint64_t overhead_bytes,
                   const MpsClient& mps, uint64_t* context);
  // Gives everything of the context back.
  Rc DestroyContext(uint64_t context);
  // kInsufficientResources when the device, or the limit set on it, has not that much left.
  // Managed memory is not `counted` by the kernel's memory limits; it is freed as it was allocated.
  Rc Allocate(uint64_t context, uint64_t bytes, bool counted = true);
  Rc Free(uint64_t context, uint64_t bytes, bool counted = true);
  // Shares of the target's SMs and bandwidth that the context keeps busy from now on, each 0..1.
  Rc SetLoad(uint64_t context, double sm, double memory);
  // The memory of the target as the caller's own context sees it: a hard limit on its very cgroup
  // stands for the size of the GPU, one further up only bounds what is free (as CUDA reports it
  // under driver 615).
  // `mps_limit`: what it may hold as a client of MPS, which bounds what is free; kNoLimit for
  // others.
  Rc GetOwnMemory(const Target& target, uint64_t mps_limit, MemoryInfo* info);
  // The XID that killed the context, or 0. kNotFound when it does not exist (a reset or reboot took
  // it).
  Rc ContextFault(uint64_t context, uint32_t* xid);
  Rc GetMemory(const Target& target, MemoryInfo* info);

  // --- Waiting for events -----------------------------------------------------------------------

  // Changes with everything that happens to GPUs and contexts other than by their owner: events,
  // reboots. No lock.
  uint32_t Happenings() const;
  // Blocks until an event with a number above `after` may exist, or the time is over. Wakes early
  // at times; the caller looks at the state again.
  void WaitForEvent(uint64_t after, uint32_t timeout_ms);

  uint64_t MonotonicNs() const { return options_.monotonic_ns(); }
  uint64_t WallNs() const { return options_.wall_ns(); }

  // The caller as the driver sees it: effective uid, or TRANCHE_SIM_UID where that is set.
  Caller caller() const;
  // May do what only root may: euid 0, or the owner of the directory where the machine allows it.
  bool IsPrivileged() const;
  // Holds a MIG capability ("config" or "monitor"): privileged, or able to read
  // DIR/capabilities/mig/<name>, which stands for the node in /dev/nvidia-caps.
  bool HasMigCapability(const char* name) const;

 private:
  struct SpecFile;
  struct StateFile;
  Machine(std::string dir, Options options);
  Rc Transact(const std::function<Rc(MachineState&)>& change, bool keep);
  Rc DoTransact(const std::function<Rc(MachineState&)>& change, bool keep);

  const std::string dir_;
  const Options options_;
  const long forced_uid_;            // TRANCHE_SIM_UID, or -1
  std::mutex mutex_;                 // excludes threads; the file lock excludes everybody else
  SpecFile* spec_file_ = nullptr;    // mapped, read-only
  StateFile* state_file_ = nullptr;  // mapped, shared
  const MachineSpec* spec_ = nullptr;
};

}  // namespace tranche::sim
