#include "edge/driver/nvml/nvml_driver.h"

#include <fmt/format.h>

#include <algorithm>
#include <condition_variable>
#include <map>
#include <mutex>

#include "edge/driver/nvml/events.h"
#include "edge/driver/nvml/library.h"
#include "edge/driver/nvml/memory_limits.h"
#include "edge/driver/nvml/mig_change.h"
#include "edge/driver/nvml/read_gpu.h"
#include "edge/driver/nvml/read_processes.h"
#include "edge/driver/nvml/reading.h"

namespace tranche {
namespace {

constexpr unsigned int kMostGpus = 1024;
// How long the event thread may hold the library before it looks whether somebody wants to reopen
// it.
constexpr unsigned int kWaitSliceMilliseconds = 200;

// One opened library and what listens on it. The order matters: the event set is freed before the
// library.
struct Session {
  explicit Session(std::unique_ptr<NvmlLibrary> opened) : nvml(std::move(opened)), events(*nvml) {}
  std::unique_ptr<NvmlLibrary> nvml;
  EventSource events;
};

Reading<std::string> ReadDriverVersion(const NvmlLibrary& nvml) {
  const auto version =
      ReadText<NVML_SYSTEM_DRIVER_VERSION_BUFFER_SIZE>(nvml, nvml.nvmlSystemGetDriverVersion);
  return version ? Reading<std::string>(*version) : AbsentFor<std::string>(version.error());
}

Reading<std::string> ReadCudaVersion(const NvmlLibrary& nvml) {
  int version = 0;
  const nvmlReturn_t rc = nvml.Call(nvml.nvmlSystemGetCudaDriverVersion_v2 != nullptr
                                        ? nvml.nvmlSystemGetCudaDriverVersion_v2
                                        : nvml.nvmlSystemGetCudaDriverVersion,
                                    &version);
  if (rc != NVML_SUCCESS) return AbsentFor<std::string>(rc);
  if (version < 1000 || version > 1000000) {
    return Reading<std::string>::Absent(fmt::format("the driver says {}", version));
  }
  return fmt::format("{}.{}", version / 1000, version % 1000 / 10);
}

class NvmlDriver final : public Driver {
 public:
  NvmlDriver(std::string name, std::unique_ptr<NvmlLibrary> opened)
      : name_(std::move(name)), session_(std::make_unique<Session>(std::move(opened))) {}

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

 private:
  // What a lost GPU was called when it could last be read.
  struct Identity {
    std::string uuid, name, pci_bus_id, pci_device_id;
  };

  // The library, opened again if it lost its driver or a GPU. It stays until the next call of this
  // function.
  Result<const NvmlLibrary*> Nvml(bool* fresh = nullptr);
  Result<Machine> ReadOnce(const NvmlLibrary& nvml);
  struct Handle {
    nvmlDevice_t device;
    int index;
  };
  Result<Handle> FindHandle(const NvmlLibrary& nvml, const std::string& gpu_uuid) const;
  Result<FoundGpu> Find(const NvmlLibrary& nvml, const std::string& gpu_uuid) const;
  void NameTheLost(std::vector<Gpu>* gpus);

  const std::string name_;
  std::map<int, Identity> identities_;  // by index; only of the thread that reads

  std::mutex mutex_;
  std::condition_variable changed_;
  // Guarded by mutex_. The event thread uses *session_ without the mutex while waiting_ is true;
  // the other thread replaces it only after setting reopening_ and seeing waiting_ false.
  std::unique_ptr<Session> session_;
  bool waiting_ = false;
  bool reopening_ = false;
};

Result<const NvmlLibrary*> NvmlDriver::Nvml(bool* fresh) {
  std::unique_lock lock(mutex_);
  if (fresh != nullptr) *fresh = false;
  if (session_ && !session_->nvml->needs_reopening()) return session_->nvml.get();
  reopening_ = true;
  changed_.wait(lock, [this] { return !waiting_; });
  session_.reset();  // shut down and closed before it is opened again
  auto opened = NvmlLibrary::Open(name_);
  if (opened) session_ = std::make_unique<Session>(std::move(*opened));
  reopening_ = false;
  changed_.notify_all();
  if (!opened) return tl::unexpected(opened.error());
  if (fresh != nullptr) *fresh = true;
  return session_->nvml.get();
}

Result<Machine> NvmlDriver::Read() {
  bool fresh = false;
  auto nvml = Nvml(&fresh);
  if (!nvml) return tl::unexpected(nvml.error());
  auto machine = ReadOnce(**nvml);
  if (!(*nvml)->needs_reopening() || fresh) return machine;
  // Lost since the last call: after a reload or reset a new start may find all well.
  nvml = Nvml();
  if (!nvml) return tl::unexpected(nvml.error());
  return ReadOnce(**nvml);
}

Result<Machine> NvmlDriver::ReadOnce(const NvmlLibrary& nvml) {
  Machine machine;
  machine.driver_version = ReadDriverVersion(nvml);
  machine.cuda_version = ReadCudaVersion(nvml);
  unsigned int count = 0;
  const nvmlReturn_t rc = nvml.CountGpus(&count);
  if (rc != NVML_SUCCESS) return tl::unexpected(NvmlError(rc, "counting GPUs"));
  if (count > kMostGpus) {
    return Fail(ErrorCode::kFailed, fmt::format("the driver says there are {} GPUs", count));
  }
  for (unsigned int i = 0; i < count; ++i) {
    nvmlDevice_t device = {};
    const nvmlReturn_t found = nvml.FindGpu(i, &device);
    if (found == NVML_SUCCESS) {
      machine.gpus.push_back(ReadGpu(nvml, device, static_cast<int>(i)));
      continue;
    }
    Gpu gpu;
    gpu.index = static_cast<int>(i);
    gpu.health.usable = false;
    gpu.health.problems.push_back(MeaningOf(found).reason);
    machine.gpus.push_back(std::move(gpu));
  }
  NameTheLost(&machine.gpus);
  return machine;
}

void NvmlDriver::NameTheLost(std::vector<Gpu>* gpus) {
  for (Gpu& gpu : *gpus) {
    if (!gpu.uuid.empty()) {
      identities_[gpu.index] = {gpu.uuid, gpu.name, gpu.pci_bus_id, gpu.pci_device_id};
      continue;
    }
    const auto known = identities_.find(gpu.index);
    const bool taken = known != identities_.end() &&
                       std::any_of(gpus->begin(), gpus->end(), [&](const Gpu& other) {
                         return other.uuid == known->second.uuid;
                       });
    if (known == identities_.end() || taken) {
      gpu.uuid = fmt::format("GPU-unreadable-{}", gpu.index);
      continue;
    }
    gpu.uuid = known->second.uuid;
    gpu.name = known->second.name;
    gpu.pci_bus_id = known->second.pci_bus_id;
    gpu.pci_device_id = known->second.pci_device_id;
  }
}

Result<NvmlDriver::Handle> NvmlDriver::FindHandle(const NvmlLibrary& nvml,
                                                  const std::string& gpu_uuid) const {
  unsigned int count = 0;
  const nvmlReturn_t rc = nvml.CountGpus(&count);
  if (rc != NVML_SUCCESS) return tl::unexpected(NvmlError(rc, "counting GPUs"));
  for (unsigned int i = 0; i < std::min(count, kMostGpus); ++i) {
    nvmlDevice_t device = {};
    if (nvml.FindGpu(i, &device) != NVML_SUCCESS) continue;
    const auto uuid =
        ReadText<NVML_DEVICE_UUID_V2_BUFFER_SIZE>(nvml, nvml.nvmlDeviceGetUUID, device);
    if (!uuid || *uuid != gpu_uuid) continue;
    return Handle{device, static_cast<int>(i)};
  }
  for (const auto& [index, identity] : identities_) {
    if (identity.uuid == gpu_uuid) {
      return Fail(ErrorCode::kFailed,
                  fmt::format("gpu{} ({}) cannot be reached any more", index, gpu_uuid),
                  "reset it with 'nvidia-smi --gpu-reset', or reboot");
    }
  }
  return Fail(ErrorCode::kNotFound, "no GPU " + gpu_uuid + " on this machine",
              "list what there is with 'tranche inventory'");
}

Result<FoundGpu> NvmlDriver::Find(const NvmlLibrary& nvml, const std::string& gpu_uuid) const {
  const auto handle = FindHandle(nvml, gpu_uuid);
  if (!handle) return tl::unexpected(handle.error());
  return FoundGpu{handle->device, ReadGpu(nvml, handle->device, handle->index)};
}

Result<std::vector<GpuProcess>> NvmlDriver::ReadProcesses(const std::string& gpu_uuid) {
  const auto nvml = Nvml();
  if (!nvml) return tl::unexpected(nvml.error());
  const auto handle = FindHandle(**nvml, gpu_uuid);
  if (!handle) return tl::unexpected(handle.error());
  auto processes = tranche::ReadProcesses(**nvml, handle->device);
  if (!processes)
    return tl::unexpected(NvmlError(processes.error(), "asking who uses " + gpu_uuid));
  return *std::move(processes);
}

Result<MigMode> NvmlDriver::SetMigMode(const std::string& gpu_uuid, bool enabled) {
  const auto nvml = Nvml();
  if (!nvml) return tl::unexpected(nvml.error());
  const auto found = Find(**nvml, gpu_uuid);
  if (!found) return tl::unexpected(found.error());
  return ChangeMigMode(**nvml, *found, enabled);
}

Status NvmlDriver::SetComputeMode(const std::string& gpu_uuid, ComputeMode mode) {
  const auto nvml = Nvml();
  if (!nvml) return tl::unexpected(nvml.error());
  const auto found = Find(**nvml, gpu_uuid);
  if (!found) return tl::unexpected(found.error());
  return ChangeComputeMode(**nvml, *found, mode);
}

Result<MigInstance> NvmlDriver::CreateInstance(const std::string& gpu_uuid,
                                               const std::string& profile, MigPlacement placement) {
  const auto nvml = Nvml();
  if (!nvml) return tl::unexpected(nvml.error());
  const auto found = Find(**nvml, gpu_uuid);
  if (!found) return tl::unexpected(found.error());
  return MakeInstance(**nvml, *found, profile, placement);
}

Status NvmlDriver::DestroyInstance(const std::string& gpu_uuid, MigPlacement placement) {
  const auto nvml = Nvml();
  if (!nvml) return tl::unexpected(nvml.error());
  const auto found = Find(**nvml, gpu_uuid);
  if (!found) return tl::unexpected(found.error());
  return RemoveInstance(**nvml, *found, placement);
}

Result<MemoryLimitsRead> NvmlDriver::GetMemoryLimits(const std::string& gpu_uuid,
                                                     const std::string& cgroup) {
  const auto nvml = Nvml();
  if (!nvml) return tl::unexpected(nvml.error());
  const auto found = Find(**nvml, gpu_uuid);
  if (!found) return tl::unexpected(found.error());
  return ReadMemoryLimits(**nvml, *found, cgroup);
}

Status NvmlDriver::SetMemoryLimits(const std::string& gpu_uuid, const std::string& cgroup,
                                   const MemoryLimits& limits) {
  const auto nvml = Nvml();
  if (!nvml) return tl::unexpected(nvml.error());
  const auto found = Find(**nvml, gpu_uuid);
  if (!found) return tl::unexpected(found.error());
  return ChangeMemoryLimits(**nvml, *found, cgroup, limits);
}

Result<std::vector<DriverEvent>> NvmlDriver::WaitForEvents(Duration timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  std::unique_lock lock(mutex_);
  while (true) {
    changed_.wait_until(lock, deadline, [this] { return !reopening_; });
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(
        deadline - std::chrono::steady_clock::now());
    const unsigned int slice =
        static_cast<unsigned int>(std::clamp<int64_t>(left.count(), 0, kWaitSliceMilliseconds));
    Result<std::vector<DriverEvent>> events =
        Fail(ErrorCode::kUnavailable, "there is no NVIDIA driver to wait for",
             "load it with 'modprobe nvidia'");
    if (session_ && !reopening_) {
      waiting_ = true;
      Session* session = session_.get();
      lock.unlock();
      events = session->events.Wait(slice);
      lock.lock();
      waiting_ = false;
      changed_.notify_all();
    }
    const bool over = std::chrono::steady_clock::now() >= deadline;
    if (events && (!events->empty() || over)) return events;
    if (!events && (over || events.error().code == ErrorCode::kUnsupported)) return events;
    // The driver is away: whoever reads next may bring it back. Look again a slice later.
    if (!events) changed_.wait_for(lock, std::chrono::milliseconds(slice));
  }
}

}  // namespace

Result<std::unique_ptr<Driver>> OpenNvmlDriver(const std::string& library) {
  auto opened = NvmlLibrary::Open(library);
  if (!opened) return tl::unexpected(opened.error());
  return std::make_unique<NvmlDriver>(library, std::move(*opened));
}

}  // namespace tranche
