#include "edge/driver/nvml/events.h"

#include "edge/driver/nvml/reading.h"

namespace tranche {
namespace {

constexpr unsigned long long kWanted =
    nvmlEventTypeXidCriticalError | nvmlEventTypeMigConfigChange | nvmlEventTypeGpuUnavailableError;
// After the first event, those that came with it are taken along, up to this many.
constexpr size_t kMostAtOnce = 256;

std::optional<int> InstanceId(unsigned int id) {
  if (id > 0xffff) return std::nullopt;
  return static_cast<int>(id);
}

}  // namespace

EventSource::~EventSource() { Forget(); }

void EventSource::Forget() {
  if (listening_) nvml_.Call(nvml_.nvmlEventSetFree, set_);
  listening_ = false;
}

nvmlReturn_t EventSource::Listen() {
  nvmlReturn_t rc = nvml_.Call(nvml_.nvmlEventSetCreate, &set_);
  if (rc != NVML_SUCCESS) return rc;
  listening_ = true;
  gpus_.clear();
  unsigned int count = 0;
  rc = nvml_.CountGpus(&count);
  if (rc != NVML_SUCCESS) return rc;
  nvmlReturn_t refused = NVML_ERROR_NOT_SUPPORTED;
  for (unsigned int i = 0; i < count; ++i) {
    nvmlDevice_t device = {};
    rc = nvml_.FindGpu(i, &device);
    if (rc != NVML_SUCCESS) {
      refused = rc;
      continue;
    }
    const auto uuid =
        ReadText<NVML_DEVICE_UUID_V2_BUFFER_SIZE>(nvml_, nvml_.nvmlDeviceGetUUID, device);
    unsigned long long supported = nvmlEventTypeXidCriticalError;
    nvml_.Call(nvml_.nvmlDeviceGetSupportedEventTypes, device, &supported);
    if (!uuid || (supported & kWanted) == 0) continue;
    rc = nvml_.Call(nvml_.nvmlDeviceRegisterEvents, device, supported & kWanted, set_);
    if (rc == NVML_SUCCESS) {
      gpus_[*uuid] = device;
    } else {
      refused = rc;
    }
  }
  return gpus_.empty() ? refused : static_cast<nvmlReturn_t>(NVML_SUCCESS);
}

std::vector<DriverEvent> EventSource::NewlyLost() {
  std::vector<DriverEvent> events;
  for (auto gpu = gpus_.begin(); gpu != gpus_.end();) {
    nvmlMemory_t memory = {};
    if (nvml_.Call(nvml_.nvmlDeviceGetMemoryInfo, gpu->second, &memory) != NVML_ERROR_GPU_IS_LOST) {
      ++gpu;
      continue;
    }
    DriverEvent event;
    event.kind = DriverEvent::Kind::kGpuLost;
    event.gpu_uuid = gpu->first;
    events.push_back(event);
    gpu = gpus_.erase(gpu);
  }
  return events;
}

nvmlReturn_t EventSource::WaitOnce(unsigned int milliseconds, nvmlEventData_t* data) {
  const nvmlReturn_t rc = nvml_.Call(nvml_.nvmlEventSetWait_v2, set_, data, milliseconds);
  if (rc != NVML_ERROR_FUNCTION_NOT_FOUND) return rc;
  // The older call knows no instances.
  nvmlEventData_v1_t old = {};
  const nvmlReturn_t old_rc = nvml_.Call(nvml_.nvmlEventSetWait, set_, &old, milliseconds);
  *data = {old.device, old.eventType, old.eventData, NVML_VALUE_NOT_AVAILABLE_UINT,
           NVML_VALUE_NOT_AVAILABLE_UINT};
  return old_rc;
}

bool EventSource::Translate(const nvmlEventData_t& data, DriverEvent* event) {
  for (const auto& [uuid, device] : gpus_) {
    if (device.handle == data.device.handle) event->gpu_uuid = uuid;
  }
  if (event->gpu_uuid.empty()) return false;
  if ((data.eventType & nvmlEventTypeXidCriticalError) != 0) {
    event->kind = DriverEvent::Kind::kXid;
    event->xid = data.eventData;
    event->gpu_instance = InstanceId(data.gpuInstanceId);
    event->compute_instance = InstanceId(data.computeInstanceId);
    return true;
  }
  if ((data.eventType & nvmlEventTypeMigConfigChange) != 0) {
    event->kind = DriverEvent::Kind::kMigChanged;
    return true;
  }
  if ((data.eventType & nvmlEventTypeGpuUnavailableError) != 0) {
    event->kind = DriverEvent::Kind::kGpuLost;
    return true;
  }
  return false;
}

Result<std::vector<DriverEvent>> EventSource::Wait(unsigned int milliseconds) {
  if (!listening_) {
    const nvmlReturn_t rc = Listen();
    if (rc != NVML_SUCCESS) {
      Forget();
      Error error = NvmlError(rc, "listening to the driver's events");
      // Lost GPUs say nothing now but may come back; that no GPU here reports events will not
      // change.
      if (error.code != ErrorCode::kUnsupported) error.code = ErrorCode::kUnavailable;
      return tl::unexpected(std::move(error));
    }
  }
  std::vector<DriverEvent> events;
  while (events.size() < kMostAtOnce) {
    nvmlEventData_t data = {};
    const nvmlReturn_t rc = WaitOnce(events.empty() ? milliseconds : 0, &data);
    if (rc == NVML_SUCCESS) {
      DriverEvent event;
      if (Translate(data, &event)) {
        // What the event says is not said again when the driver answers GPU_IS_LOST.
        if (event.kind == DriverEvent::Kind::kGpuLost) gpus_.erase(event.gpu_uuid);
        events.push_back(event);
      } else {
        milliseconds =
            0;  // not for us; whatever else is there is taken, then the caller waits again
      }
      continue;
    }
    if (rc == NVML_ERROR_GPU_IS_LOST) {
      const std::vector<DriverEvent> lost = NewlyLost();
      events.insert(events.end(), lost.begin(), lost.end());
      Forget();  // a set with a lost GPU in it answers nothing else any more
      return events;
    }
    if (rc == NVML_ERROR_TIMEOUT || !events.empty()) return events;
    Forget();
    Error error = NvmlError(rc, "waiting for the driver's events");
    if (error.code != ErrorCode::kUnsupported) error.code = ErrorCode::kUnavailable;
    return tl::unexpected(std::move(error));
  }
  return events;
}

}  // namespace tranche
