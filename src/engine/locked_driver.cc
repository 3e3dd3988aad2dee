#include "engine/locked_driver.h"

namespace tranche {

Result<Machine> LockedDriver::ReadLocked() {
  Result<Machine> machine = driver_->Read();
  if (machine) {
    const std::lock_guard lock(last_mutex_);
    last_ = std::make_shared<const Machine>(*machine);
  }
  return machine;
}

Result<Machine> LockedDriver::Read() {
  const std::lock_guard lock(mutex_);
  return ReadLocked();
}

std::optional<Result<Machine>> LockedDriver::TryRead() {
  const std::unique_lock lock(mutex_, std::try_to_lock);
  if (!lock) return std::nullopt;
  return ReadLocked();
}

Result<std::shared_ptr<const Machine>> LockedDriver::Recent() {
  {
    const std::lock_guard lock(last_mutex_);
    if (last_) return last_;
  }
  const std::lock_guard lock(mutex_);
  const Result<Machine> machine = ReadLocked();
  if (!machine) return tl::unexpected(machine.error());
  return std::make_shared<const Machine>(*machine);
}

Result<std::vector<GpuProcess>> LockedDriver::ReadProcesses(const std::string& gpu_uuid) {
  const std::lock_guard lock(mutex_);
  return driver_->ReadProcesses(gpu_uuid);
}

std::optional<Result<std::vector<GpuProcess>>> LockedDriver::TryReadProcesses(
    const std::string& gpu_uuid) {
  const std::unique_lock lock(mutex_, std::try_to_lock);
  if (!lock) return std::nullopt;
  return driver_->ReadProcesses(gpu_uuid);
}

Result<MigMode> LockedDriver::SetMigMode(const std::string& gpu_uuid, bool enabled) {
  const std::lock_guard lock(mutex_);
  Result<MigMode> mode = driver_->SetMigMode(gpu_uuid, enabled);
  const std::lock_guard last(last_mutex_);
  last_.reset();
  return mode;
}

Status LockedDriver::SetComputeMode(const std::string& gpu_uuid, ComputeMode mode) {
  const std::lock_guard lock(mutex_);
  Status status = driver_->SetComputeMode(gpu_uuid, mode);
  const std::lock_guard last(last_mutex_);
  last_.reset();
  return status;
}

Result<MigInstance> LockedDriver::CreateInstance(const std::string& gpu_uuid,
                                                 const std::string& profile,
                                                 MigPlacement placement) {
  const std::lock_guard lock(mutex_);
  Result<MigInstance> instance = driver_->CreateInstance(gpu_uuid, profile, placement);
  const std::lock_guard last(last_mutex_);
  last_.reset();
  return instance;
}

Status LockedDriver::DestroyInstance(const std::string& gpu_uuid, MigPlacement placement) {
  const std::lock_guard lock(mutex_);
  Status status = driver_->DestroyInstance(gpu_uuid, placement);
  const std::lock_guard last(last_mutex_);
  last_.reset();
  return status;
}

Result<MemoryLimitsRead> LockedDriver::GetMemoryLimits(const std::string& gpu_uuid,
                                                       const std::string& cgroup) {
  const std::lock_guard lock(mutex_);
  return driver_->GetMemoryLimits(gpu_uuid, cgroup);
}

Status LockedDriver::SetMemoryLimits(const std::string& gpu_uuid, const std::string& cgroup,
                                     const MemoryLimits& limits) {
  const std::lock_guard lock(mutex_);
  return driver_->SetMemoryLimits(gpu_uuid, cgroup, limits);
}

Result<std::vector<DriverEvent>> LockedDriver::WaitForEvents(Duration timeout) {
  return driver_->WaitForEvents(timeout);
}

}  // namespace tranche
