#include "edge/driver/fake/fake_driver.h"

#include <fmt/format.h>

#include <algorithm>

#include "edge/driver/busy.h"

namespace tranche {
namespace {

bool Overlap(MigPlacement a, MigPlacement b) {
  return a.start < b.start + b.size && b.start < a.start + a.size;
}

template <typename T>
std::string Outcome(const Result<T>& result) {
  return result ? "ok" : ErrorCodeName(result.error().code);
}

// A GPU has as many compute slices as its largest profile.
int ComputeSlices(const Gpu& gpu) {
  int slices = 0;
  for (const MigProfile& profile : gpu.mig_profiles) {
    slices = std::max(slices, profile.compute_slices);
  }
  return slices;
}

int LowestFreeId(const Gpu& gpu) {
  int id = 1;
  while (std::any_of(gpu.mig_instances.begin(), gpu.mig_instances.end(),
                     [id](const MigInstance& instance) { return instance.id == id; })) {
    ++id;
  }
  return id;
}

}  // namespace

FakeDriver::FakeDriver(Machine machine) : machine_(std::move(machine)) {
  machine_.fingerprint.clear();
  machine_.capabilities.clear();
}

std::optional<Error> FakeDriver::Scripted(Call call) {
  auto& failures = failures_[call];
  std::optional<Error> hit;
  for (auto failure = failures.begin(); failure != failures.end();) {
    if (failure->countdown > 0 && --failure->countdown == 0) {
      if (!hit) hit = failure->error;
      failure = failures.erase(failure);
      continue;
    }
    if (failure->countdown == 0 && !hit) hit = failure->error;
    ++failure;
  }
  return hit;
}

Result<Gpu*> FakeDriver::Find(const std::string& gpu_uuid) {
  for (Gpu& gpu : machine_.gpus) {
    if (gpu.uuid == gpu_uuid) return &gpu;
  }
  return Fail(ErrorCode::kNotFound, "no GPU " + gpu_uuid + " on this machine",
              "list what there is with 'tranche inventory'");
}

Result<Machine> FakeDriver::Read() {
  const std::lock_guard lock(mutex_);
  if (auto error = Scripted(Call::kRead)) return tl::unexpected(*error);
  return machine_;
}

Result<std::vector<GpuProcess>> FakeDriver::ReadProcesses(const std::string& gpu_uuid) {
  const std::lock_guard lock(mutex_);
  if (auto error = Scripted(Call::kRead)) return tl::unexpected(*error);
  const Gpu* gpu = machine_.FindGpu(gpu_uuid);
  if (gpu == nullptr) return Fail(ErrorCode::kNotFound, "no GPU " + gpu_uuid);
  return gpu->processes;
}

Result<MigMode> FakeDriver::SetMigMode(const std::string& gpu_uuid, bool enabled) {
  const std::lock_guard lock(mutex_);
  Result<MigMode> result = SetMigModeLocked(gpu_uuid, enabled);
  calls_.push_back(
      fmt::format("SetMigMode {} {} -> {}", gpu_uuid, enabled ? "on" : "off", Outcome(result)));
  return result;
}

Result<MigMode> FakeDriver::SetMigModeLocked(const std::string& gpu_uuid, bool enabled) {
  if (auto error = Scripted(Call::kSetMigMode)) return tl::unexpected(*error);
  const Result<Gpu*> found = Find(gpu_uuid);
  if (!found) return tl::unexpected(found.error());
  Gpu& gpu = **found;
  if (!gpu.mig_mode) {
    return Fail(ErrorCode::kUnsupported, "gpu" + std::to_string(gpu.index) + " has no MIG");
  }
  MigMode mode = *gpu.mig_mode;
  if (mode.current == enabled && mode.pending == enabled) return mode;
  if (!gpu.processes.empty()) {
    return tl::unexpected(
        BusyError("switching MIG mode of gpu" + std::to_string(gpu.index), gpu.processes));
  }
  if (!enabled && !gpu.mig_instances.empty()) {
    return Fail(ErrorCode::kBusy, "MIG instances exist on gpu" + std::to_string(gpu.index),
                "destroy them first");
  }
  mode.pending = enabled;
  if (!needs_reset_.count(gpu_uuid)) mode.current = enabled;
  gpu.mig_mode = mode;
  return mode;
}

Status FakeDriver::SetComputeMode(const std::string& gpu_uuid, ComputeMode mode) {
  const std::lock_guard lock(mutex_);
  Status status = SetComputeModeLocked(gpu_uuid, mode);
  calls_.push_back(fmt::format("SetComputeMode {} {} -> {}", gpu_uuid, ComputeModeName(mode),
                               status ? "ok" : ErrorCodeName(status.error().code)));
  return status;
}

Status FakeDriver::SetComputeModeLocked(const std::string& gpu_uuid, ComputeMode mode) {
  if (auto error = Scripted(Call::kSetComputeMode)) return tl::unexpected(*error);
  const Result<Gpu*> found = Find(gpu_uuid);
  if (!found) return tl::unexpected(found.error());
  Gpu& gpu = **found;
  if (gpu.mig_mode && gpu.mig_mode->current) {
    return Fail(ErrorCode::kUnsupported,
                fmt::format("gpu{} is in MIG mode, and has no compute mode", gpu.index));
  }
  gpu.compute_mode = mode;
  return {};
}

Result<MigInstance> FakeDriver::CreateInstance(const std::string& gpu_uuid,
                                               const std::string& profile, MigPlacement placement) {
  const std::lock_guard lock(mutex_);
  Result<MigInstance> result = CreateLocked(gpu_uuid, profile, placement);
  calls_.push_back(fmt::format("CreateInstance {} {} {}:{} -> {}", gpu_uuid, profile,
                               placement.start, placement.size, Outcome(result)));
  return result;
}

Result<MigInstance> FakeDriver::CreateLocked(const std::string& gpu_uuid,
                                             const std::string& profile_name,
                                             MigPlacement placement) {
  if (auto error = Scripted(Call::kCreateInstance)) return tl::unexpected(*error);
  const Result<Gpu*> found = Find(gpu_uuid);
  if (!found) return tl::unexpected(found.error());
  Gpu& gpu = **found;
  if (!gpu.mig_mode || !gpu.mig_mode->current) {
    return Fail(ErrorCode::kUnsupported, "MIG is off on gpu" + std::to_string(gpu.index));
  }
  const MigProfile* profile = nullptr;
  for (const MigProfile& candidate : gpu.mig_profiles) {
    if (candidate.name == profile_name) profile = &candidate;
  }
  if (profile == nullptr) {
    return Fail(ErrorCode::kNotFound,
                fmt::format("gpu{} has no profile {}", gpu.index, profile_name));
  }
  if (std::find(profile->placements.begin(), profile->placements.end(), placement) ==
      profile->placements.end()) {
    return Fail(ErrorCode::kInvalid, fmt::format("{} cannot be placed at {}:{}", profile_name,
                                                 placement.start, placement.size));
  }
  int same = 0;
  int slices = profile->compute_slices;
  for (const MigInstance& instance : gpu.mig_instances) {
    if (Overlap(instance.placement, placement)) {
      return Fail(ErrorCode::kDoesNotFit,
                  fmt::format("slots {}:{} of gpu{} are taken by {} at {}:{}", placement.start,
                              placement.size, gpu.index, instance.profile, instance.placement.start,
                              instance.placement.size));
    }
    if (instance.profile_id == profile->id) ++same;
    for (const MigProfile& candidate : gpu.mig_profiles) {
      if (candidate.id == instance.profile_id) slices += candidate.compute_slices;
    }
  }
  if (same >= profile->max_instances || slices > ComputeSlices(gpu)) {
    return Fail(ErrorCode::kDoesNotFit,
                fmt::format("gpu{} has no room for another {}", gpu.index, profile_name));
  }
  MigInstance instance;
  instance.id = LowestFreeId(gpu);
  instance.profile = profile->name;
  instance.profile_id = profile->id;
  instance.placement = placement;
  instance.memory = profile->memory;
  instance.memory_used = Bytes{0};
  MigComputeInstance compute;
  compute.uuid = fmt::format("MIG-00000000-0000-5000-8000-{:012x}", next_uuid_++);
  compute.profile_id = profile->nvml_profile;
  compute.compute_slices = profile->compute_slices;
  compute.placement = {0, profile->compute_slices};
  instance.compute_instances.push_back(compute);
  gpu.mig_instances.push_back(instance);
  std::sort(gpu.mig_instances.begin(), gpu.mig_instances.end(),
            [](const MigInstance& a, const MigInstance& b) { return a.placement < b.placement; });
  return instance;
}

Status FakeDriver::DestroyInstance(const std::string& gpu_uuid, MigPlacement placement) {
  const std::lock_guard lock(mutex_);
  const Status result = DestroyLocked(gpu_uuid, placement);
  calls_.push_back(fmt::format("DestroyInstance {} {}:{} -> {}", gpu_uuid, placement.start,
                               placement.size, Outcome(result)));
  return result;
}

Status FakeDriver::DestroyLocked(const std::string& gpu_uuid, MigPlacement placement) {
  if (auto error = Scripted(Call::kDestroyInstance)) return tl::unexpected(*error);
  const Result<Gpu*> found = Find(gpu_uuid);
  if (!found) return tl::unexpected(found.error());
  Gpu& gpu = **found;
  const auto instance = std::find_if(
      gpu.mig_instances.begin(), gpu.mig_instances.end(),
      [placement](const MigInstance& candidate) { return candidate.placement == placement; });
  if (instance == gpu.mig_instances.end()) {
    return Fail(ErrorCode::kNotFound, fmt::format("no instance at slots {}:{} of gpu{}",
                                                  placement.start, placement.size, gpu.index));
  }
  std::vector<GpuProcess> users;
  for (const GpuProcess& process : gpu.processes) {
    if (process.gpu_instance == instance->id) users.push_back(process);
  }
  if (!users.empty()) {
    return tl::unexpected(
        BusyError(fmt::format("destroying {} at slots {}:{} of gpu{}", instance->profile,
                              placement.start, placement.size, gpu.index),
                  users));
  }
  gpu.mig_instances.erase(instance);
  return {};
}

Status FakeDriver::MayLimitMemory(const std::string& gpu_uuid) {
  const Result<Gpu*> found = Find(gpu_uuid);
  if (!found) return tl::unexpected(found.error());
  if (!has_memory_limits_) {
    return Fail(ErrorCode::kUnsupported, "this driver has no memory limits");
  }
  if ((*found)->mig_mode && (*found)->mig_mode->current) {
    return Fail(ErrorCode::kUnsupported, "a GPU in MIG mode takes no memory limits");
  }
  return {};
}

Result<MemoryLimitsRead> FakeDriver::GetMemoryLimits(const std::string& gpu_uuid,
                                                     const std::string& cgroup) {
  const std::lock_guard lock(mutex_);
  if (const Status may = MayLimitMemory(gpu_uuid); !may) return tl::unexpected(may.error());
  const auto limits = memory_limits_.find({gpu_uuid, cgroup});
  MemoryLimitsRead read;
  if (limits != memory_limits_.end()) read.limits = limits->second;
  return read;
}

Status FakeDriver::SetMemoryLimits(const std::string& gpu_uuid, const std::string& cgroup,
                                   const MemoryLimits& limits) {
  const std::lock_guard lock(mutex_);
  const Status result = SetMemoryLimitsLocked(gpu_uuid, cgroup, limits);
  calls_.push_back(fmt::format("SetMemoryLimits {} {} {} -> {}", gpu_uuid, cgroup,
                               limits.hard ? FormatBytes(*limits.hard) : "none", Outcome(result)));
  return result;
}

Status FakeDriver::SetMemoryLimitsLocked(const std::string& gpu_uuid, const std::string& cgroup,
                                         const MemoryLimits& limits) {
  if (auto error = Scripted(Call::kSetMemoryLimits)) return tl::unexpected(*error);
  if (const Status may = MayLimitMemory(gpu_uuid); !may) return may;
  if (limits == MemoryLimits{}) {
    memory_limits_.erase({gpu_uuid, cgroup});
  } else {
    memory_limits_[{gpu_uuid, cgroup}] = limits;
  }
  return {};
}

void FakeDriver::SupportMemoryLimits() {
  const std::lock_guard lock(mutex_);
  has_memory_limits_ = true;
}

Result<std::vector<DriverEvent>> FakeDriver::WaitForEvents(Duration timeout) {
  std::unique_lock lock(mutex_);
  if (auto error = Scripted(Call::kWaitForEvents)) return tl::unexpected(*error);
  injected_.wait_for(lock, timeout, [this] { return !events_.empty(); });
  std::vector<DriverEvent> events(events_.begin(), events_.end());
  events_.clear();
  return events;
}

void FakeDriver::FailNth(Call call, int n, Error error) {
  const std::lock_guard lock(mutex_);
  failures_[call].push_back({n, std::move(error)});
}

void FakeDriver::FailAlways(Call call, Error error) {
  const std::lock_guard lock(mutex_);
  failures_[call].push_back({0, std::move(error)});
}

void FakeDriver::Heal() {
  const std::lock_guard lock(mutex_);
  failures_.clear();
}

void FakeDriver::RequireResetForMig(const std::string& gpu_uuid) {
  const std::lock_guard lock(mutex_);
  needs_reset_.insert(gpu_uuid);
}

void FakeDriver::ResetGpu(const std::string& gpu_uuid) {
  const std::lock_guard lock(mutex_);
  for (Gpu& gpu : machine_.gpus) {
    if (gpu.uuid != gpu_uuid) continue;
    gpu.mig_instances.clear();
    gpu.processes.clear();
    if (gpu.mig_mode) gpu.mig_mode = MigMode{gpu.mig_mode->pending, gpu.mig_mode->pending};
  }
}

void FakeDriver::Reboot() {
  const std::lock_guard lock(mutex_);
  for (Gpu& gpu : machine_.gpus) {
    gpu.mig_instances.clear();
    gpu.processes.clear();
    if (gpu.mig_mode) gpu.mig_mode = MigMode{};
  }
}

void FakeDriver::AttachProcess(const std::string& gpu_uuid, GpuProcess process) {
  const std::lock_guard lock(mutex_);
  for (Gpu& gpu : machine_.gpus) {
    if (gpu.uuid == gpu_uuid) gpu.processes.push_back(process);
  }
}

void FakeDriver::DetachProcess(int pid) {
  const std::lock_guard lock(mutex_);
  for (Gpu& gpu : machine_.gpus) {
    std::erase_if(gpu.processes, [pid](const GpuProcess& process) { return process.pid == pid; });
  }
}

void FakeDriver::Inject(DriverEvent event) {
  {
    const std::lock_guard lock(mutex_);
    events_.push_back(std::move(event));
  }
  injected_.notify_all();
}

std::vector<std::string> FakeDriver::calls() const {
  const std::lock_guard lock(mutex_);
  return calls_;
}

void FakeDriver::ClearCalls() {
  const std::lock_guard lock(mutex_);
  calls_.clear();
}

Machine FakeDriver::machine() const {
  const std::lock_guard lock(mutex_);
  return machine_;
}

}  // namespace tranche
