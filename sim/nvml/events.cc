#include <algorithm>
#include <chrono>
#include <map>
#include <memory>
#include <mutex>

#include "sim/nvml/library.h"

using namespace tranche::sim;
using namespace tranche::sim::nvml;

namespace {

// While it waits, a listener looks after its own affairs this often: was the set freed, did a GPU
// vanish.
constexpr uint32_t kLookMs = 100;

struct EventSet {
  std::mutex mutex;
  bool freed = false;                    // guarded by mutex, as all below
  uint64_t seen = 0;                     // number of the last event that was looked at
  std::map<uint32_t, uint64_t> listens;  // GPU -> event types
};

// Event sets are real objects, so their handles are checked against this list.
class EventSets {
 public:
  static EventSets& Get() {
    static Undying<EventSets> sets;
    return *sets;
  }
  nvmlEventSet_t Add() {
    auto set = std::make_shared<EventSet>();
    std::lock_guard<std::mutex> lock(mutex_);
    nvmlEventSet_t handle;
    handle.handle = reinterpret_cast<nvmlEventSet_st*>(set.get());
    sets_[handle.handle] = set;
    return handle;
  }
  std::shared_ptr<EventSet> Find(nvmlEventSet_t handle) {
    std::lock_guard<std::mutex> lock(mutex_);
    auto found = sets_.find(handle.handle);
    return found == sets_.end() ? nullptr : found->second;
  }
  bool Remove(nvmlEventSet_t handle) {
    std::shared_ptr<EventSet> set = Find(handle);
    if (set == nullptr) return false;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      if (sets_.erase(handle.handle) == 0) return false;
    }
    std::lock_guard<std::mutex> lock(set->mutex);
    set->freed = true;
    return true;
  }

 private:
  std::mutex mutex_;
  std::map<nvmlEventSet_st*, std::shared_ptr<EventSet>> sets_;  // guarded by mutex_
};

uint64_t SupportedTypes(const GpuSpec& gpu) {
  uint64_t types = nvmlEventTypePState | nvmlEventTypeXidCriticalError | nvmlEventTypeClock;
  if (gpu.ecc) types |= nvmlEventTypeSingleBitEccError | nvmlEventTypeDoubleBitEccError;
  if (gpu.mig_capable) types |= nvmlEventTypeMigConfigChange;
  if (gpu.arch >= Arch::kHopper) {
    types |= nvmlEventTypeGpuUnavailableError | nvmlEventTypeGpuRecoveryAction;
  }
  return types;
}

// Takes the oldest event that the set listens to and has not seen. NO_DATA when there is none.
nvmlReturn_t Next(Machine& machine, EventSet& set, nvmlEventData_t* data) {
  std::lock_guard<std::mutex> lock(set.mutex);
  if (set.freed) return NVML_ERROR_INVALID_ARGUMENT;
  nvmlReturn_t answer = NVML_ERROR_NO_DATA;
  machine.Read([&](const MachineState& state) {
    const Event* oldest = nullptr;
    for (const Event& event : state.events) {
      if (event.number == 0 || event.number <= set.seen) continue;
      auto listens = set.listens.find(event.gpu);
      if (listens == set.listens.end() || !(listens->second & event.type)) continue;
      if (oldest == nullptr || event.number < oldest->number) oldest = &event;
    }
    if (oldest != nullptr) {
      set.seen = oldest->number;
      *data = {GpuHandle(oldest->gpu), oldest->type, oldest->data, oldest->gi, oldest->ci};
      answer = NVML_SUCCESS;
      return Rc::kOk;
    }
    set.seen = std::max(set.seen, state.next_event - 1);
    for (const auto& [gpu, types] : set.listens) {
      if (state.gpus[gpu].lost) answer = NVML_ERROR_GPU_IS_LOST;
    }
    return Rc::kOk;
  });
  return answer;
}

}  // namespace

NVML_EXPORT nvmlReturn_t nvmlEventSetCreate(nvmlEventSet_t* set) {
  nvmlReturn_t ready = OnMachine(__func__, [&](Machine&, const MachineState&) -> nvmlReturn_t {
    if (set == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    return NVML_SUCCESS;
  });
  // Outside the transaction: locks of sets come before it, never inside.
  if (ready == NVML_SUCCESS) *set = EventSets::Get().Add();
  return ready;
}

NVML_EXPORT nvmlReturn_t nvmlEventSetFree(nvmlEventSet_t set) {
  if (Library::Get().machine() == nullptr) return NVML_ERROR_UNINITIALIZED;
  if (!EventSets::Get().Remove(set)) return NVML_ERROR_INVALID_ARGUMENT;
  return NVML_SUCCESS;
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetSupportedEventTypes(nvmlDevice_t device,
                                                          unsigned long long* types) {
  return OnBoard(__func__, device,
                 [&](const Device& d) { return Put(types, SupportedTypes(d.spec)); });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceRegisterEvents(nvmlDevice_t device, unsigned long long types,
                                                  nvmlEventSet_t handle) {
  // Found first: a set is locked before a transaction begins, here and in Next.
  std::shared_ptr<EventSet> set = EventSets::Get().Find(handle);
  std::unique_lock<std::mutex> lock;
  if (set != nullptr) lock = std::unique_lock<std::mutex>(set->mutex);
  return OnBoard(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (set == nullptr || set->freed) return NVML_ERROR_INVALID_ARGUMENT;
    if (types & ~SupportedTypes(d.spec)) return NVML_ERROR_NOT_SUPPORTED;
    // What happened before anyone listened is not delivered.
    if (set->listens.empty()) set->seen = d.state.next_event - 1;
    set->listens[d.index] |= types;
    return NVML_SUCCESS;
  });
}

NVML_EXPORT nvmlReturn_t nvmlEventSetWait_v2(nvmlEventSet_t handle, nvmlEventData_t* data,
                                             unsigned int timeout_ms) {
  using Clock = std::chrono::steady_clock;
  std::shared_ptr<Machine> machine = Library::Get().machine();
  if (machine == nullptr) return NVML_ERROR_UNINITIALIZED;
  std::shared_ptr<EventSet> set = EventSets::Get().Find(handle);
  if (set == nullptr || data == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  Clock::time_point end = Clock::now() + std::chrono::milliseconds(timeout_ms);
  for (;;) {
    nvmlReturn_t next = Next(*machine, *set, data);
    if (next != NVML_ERROR_NO_DATA) return next;
    auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - Clock::now()).count();
    if (left <= 0) return NVML_ERROR_TIMEOUT;
    uint64_t seen = 0;
    {
      std::lock_guard<std::mutex> lock(set->mutex);
      seen = set->seen;
    }
    machine->WaitForEvent(seen, std::min(static_cast<uint32_t>(left), kLookMs));
  }
}

NVML_EXPORT nvmlReturn_t nvmlEventSetWait(nvmlEventSet_t set, nvmlEventData_v1_t* data,
                                          unsigned int timeout_ms) {
  if (data == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  nvmlEventData_t all;
  nvmlReturn_t rc = nvmlEventSetWait_v2(set, &all, timeout_ms);
  if (rc == NVML_SUCCESS) *data = {all.device, all.eventType, all.eventData};
  return rc;
}
