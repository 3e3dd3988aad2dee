#pragma once

#include <condition_variable>
#include <deque>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "edge/driver/driver.h"

namespace tranche {

// A driver in memory, for tests of what stands above drivers. It keeps the rules that a caller can
// see: MIG mode before instances, placements from the profile's list, no overlap, no more instances
// or compute slices than the GPU has, nothing destroyed under a process, new UUIDs at every
// creation. All methods are safe from any thread.
class FakeDriver final : public Driver {
 public:
  enum class Call {
    kRead,
    kSetMigMode,
    kSetComputeMode,
    kCreateInstance,
    kDestroyInstance,
    kSetMemoryLimits,
    kWaitForEvents
  };

  // Starts as `machine`; its fingerprint and capabilities are dropped, as a driver does not know
  // them.
  explicit FakeDriver(Machine machine);

  Result<Machine> Read() override;
  Result<std::vector<GpuProcess>> ReadProcesses(const std::string& gpu_uuid) override;
  Result<MigMode> SetMigMode(const std::string& gpu_uuid, bool enabled) override;
  Status SetComputeMode(const std::string& gpu_uuid, ComputeMode mode) override;
  Result<MigInstance> CreateInstance(const std::string& gpu_uuid, const std::string& profile,
                                     MigPlacement placement) override;
  Status DestroyInstance(const std::string& gpu_uuid, MigPlacement placement) override;
  Result<MemoryLimitsRead> GetMemoryLimits(const std::string& gpu_uuid,
                                           const std::string& cgroup) override;
  Status SetMemoryLimits(const std::string& gpu_uuid, const std::string& cgroup,
                         const MemoryLimits& limits) override;
  // Returns as soon as an event was injected; an empty list after `timeout` of real time.
  Result<std::vector<DriverEvent>> WaitForEvents(Duration timeout) override;

  // ---- What a test does to it ----

  // The n-th call of this kind from now on (1 = the next) fails with `error` and changes nothing.
  void FailNth(Call call, int n, Error error);
  // Every call of this kind fails until Heal().
  void FailAlways(Call call, Error error);
  void Heal();

  // From now on SetMigMode on this GPU only changes `pending`, until ResetGpu.
  void RequireResetForMig(const std::string& gpu_uuid);
  // As a driver from 615 on; before, memory limits are kUnsupported. Nobody in a fake machine is in
  // a cgroup, so nothing is ever used under a limit.
  void SupportMemoryLimits();
  // What a GPU reset does: pending MIG mode becomes current, instances and processes are gone.
  void ResetGpu(const std::string& gpu_uuid);
  // What a reboot does to Hopper and newer: as ResetGpu, and MIG mode is off.
  void Reboot();

  // Puts a process on the GPU, or on the instance whose id it names.
  void AttachProcess(const std::string& gpu_uuid, GpuProcess process);
  // Takes it away wherever it is.
  void DetachProcess(int pid);
  void Inject(DriverEvent event);
  // Changes anything, as if somebody else had done it.
  template <typename Change>
  void Edit(Change change) {
    const std::lock_guard lock(mutex_);
    change(machine_);
  }

  // Every call in order, with what came of it: "CreateInstance GPU-1 2g.20gb 0:2 -> ok",
  // "DestroyInstance GPU-1 0:2 -> busy". Reads and waits are left out: how often they run is
  // nobody's contract.
  std::vector<std::string> calls() const;
  void ClearCalls();
  // The machine as it is, without counting as a call.
  Machine machine() const;

 private:
  struct Failure {
    int countdown = 0;  // 0: always
    Error error;
  };

  // The scripted failure that hits this call, if one does.
  std::optional<Error> Scripted(Call call);
  Result<Gpu*> Find(const std::string& gpu_uuid);
  Status SetComputeModeLocked(const std::string& gpu_uuid, ComputeMode mode);
  Result<MigMode> SetMigModeLocked(const std::string& gpu_uuid, bool enabled);
  Result<MigInstance> CreateLocked(const std::string& gpu_uuid, const std::string& profile,
                                   MigPlacement placement);
  Status DestroyLocked(const std::string& gpu_uuid, MigPlacement placement);
  Status MayLimitMemory(const std::string& gpu_uuid);
  Status SetMemoryLimitsLocked(const std::string& gpu_uuid, const std::string& cgroup,
                               const MemoryLimits& limits);

  mutable std::mutex mutex_;
  std::condition_variable injected_;
  // Everything below is guarded by mutex_.
  Machine machine_;
  std::map<Call, std::vector<Failure>> failures_;
  std::set<std::string> needs_reset_;
  bool has_memory_limits_ = false;
  std::map<std::pair<std::string, std::string>, MemoryLimits> memory_limits_;  // by GPU and cgroup
  std::deque<DriverEvent> events_;
  std::vector<std::string> calls_;
  int next_uuid_ = 1;
};

}  // namespace tranche
