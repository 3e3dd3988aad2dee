#pragma once

#include <memory>
#include <mutex>
#include <optional>

#include "edge/driver/driver.h"

namespace tranche {

// A driver for many threads: one call at a time (but WaitForEvents, which waits beside the others),
// and the machine as it was last read, for those who must not wait.
class LockedDriver final : public Driver {
 public:
  explicit LockedDriver(std::unique_ptr<Driver> driver) : driver_(std::move(driver)) {}

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
  Result<std::vector<DriverEvent>> WaitForEvents(Duration timeout) override;

  // Read(), or nothing when another call is under way.
  std::optional<Result<Machine>> TryRead();
  // ReadProcesses(), or nothing when another call is under way.
  std::optional<Result<std::vector<GpuProcess>>> TryReadProcesses(const std::string& gpu_uuid);
  // As last read; read now when that never was, or when something was changed since.
  Result<std::shared_ptr<const Machine>> Recent();

 private:
  Result<Machine> ReadLocked();

  std::unique_ptr<Driver> driver_;
  std::mutex mutex_;       // one call at a time
  std::mutex last_mutex_;  // taken after mutex_
  std::shared_ptr<const Machine>
      last_;  // guarded by last_mutex_; null: never read, or changed since
};

}  // namespace tranche
