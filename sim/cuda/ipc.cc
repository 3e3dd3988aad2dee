#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <optional>

#include "sim/cuda/memory.h"
#include "sim/cuda/work.h"

// Memory and events of another process by handles of 64 bytes. Memory stays charged to who
// allocated it; what is in it is not shared. An event is one word in a file of the machine: behind
// which work it is, whoever recorded it last.
namespace tranche::sim::cuda {

struct SharedEvent {
  uint64_t magic;
  std::atomic<uint64_t> last;  // context's slot, its queue, the number there; 0: never recorded
};

namespace {

constexpr uint64_t kEventMagic = 0x746e7665637069;
constexpr int kSlotShift = 56, kQueueShift = 48;
static_assert(kTimedContexts <= 256 && kTimedStreams <= 256);

struct EventHandle {
  uint64_t magic = 0;
  int64_t pid = 0;
  uint64_t number = 0;
  uint64_t gpu = 0, ci = 0;
};
static_assert(sizeof(EventHandle) <= sizeof(CUipcEventHandle));

// The file of an event, for all who may use the machine.
SharedEvent* MapEvent(const std::string& path, bool make) {
  const int fd = open(path.c_str(), O_RDWR | O_CLOEXEC | (make ? O_CREAT | O_EXCL : 0), 0666);
  if (fd < 0) return nullptr;
  void* memory = MAP_FAILED;
  struct stat info {};
  if (make && (fchmod(fd, 0666) != 0 || ftruncate(fd, sizeof(SharedEvent)) != 0))
    unlink(path.c_str());
  if (fstat(fd, &info) == 0 && static_cast<size_t>(info.st_size) == sizeof(SharedEvent))
    memory = mmap(nullptr, sizeof(SharedEvent), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  if (memory == MAP_FAILED) return nullptr;
  auto* event = static_cast<SharedEvent*>(memory);
  if (make) event->magic = kEventMagic;
  return event->magic == kEventMagic ? event : nullptr;
}

std::string EventPath(Library& library, const EventHandle& handle) {
  return library.machine().dir() + "/gpu_time/event." + std::to_string(handle.pid) + "." +
         std::to_string(handle.number);
}

// A context of another process, as far as work of it can be waited for. Never goes away: neither
// does the number of work that is done.
const ContextSlot* HomeOf(SharedGpu* gpu, uint32_t slot) {
  static std::mutex mutex;
  static auto* all = new std::map<std::pair<SharedGpu*, uint32_t>, ContextSlot>;
  const std::lock_guard<std::mutex> lock(mutex);
  ContextSlot& home = (*all)[{gpu, slot}];
  home.gpu = gpu;
  home.slot = slot;
  home.alive = true;
  return &home;
}

constexpr uint64_t kMagic = 0x6370692d6d656d21;

struct Handle {
  uint64_t magic = 0;
  int64_t pid = 0;
  uint64_t base = 0;
  uint64_t bytes = 0;
  uint64_t gpu = 0, ci = 0;
};
static_assert(sizeof(Handle) <= sizeof(CUipcMemHandle));

// What this context has opened of it already; 0: nothing.
CUdeviceptr FindOpened(Library& library, const Handle& handle) {
  for (const auto& [address, allocation] : library.allocations()) {
    if (allocation.kind == Library::Kind::kImported && allocation.exporter == handle.pid &&
        allocation.exported_at == handle.base && allocation.context == ContextStack().back())
      return address;
  }
  return 0;
}

// Of a GPU that the process sees; the number of the device, or none.
std::optional<int> DeviceOf(Library& library, const Handle& handle) {
  for (size_t i = 0; i < library.devices().size(); ++i) {
    const Target target = library.devices()[i].target;
    if (target.gpu == handle.gpu && target.ci == handle.ci) return static_cast<int>(i);
  }
  return {};
}

// It lies where it was made, also in the eyes of who opens it: peer access to another GPU comes
// with it.
CUresult Open(CUdeviceptr* pointer, const CUipcMemHandle& from, unsigned int flags) {
  return CallInContext([&](Library& library, const Library::Context& context) {
    Handle handle;
    std::memcpy(static_cast<void*>(&handle), &from, sizeof(handle));
    if (pointer == nullptr || handle.magic != kMagic || flags != CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS)
      return CUDA_ERROR_INVALID_VALUE;
    // A process does not open what it exported itself.
    if (handle.pid == getpid()) return CUDA_ERROR_INVALID_CONTEXT;
    const auto device = DeviceOf(library, handle);
    if (!device) return CUDA_ERROR_INVALID_DEVICE;
    if (*device != context.device && !Reaches(library, context.device, *device))
      return CUDA_ERROR_PEER_ACCESS_UNSUPPORTED;
    *pointer = FindOpened(library, handle);
    if (*pointer == 0) {
      *pointer = library.NextAddress(handle.bytes);
      Library::Allocation& made = library.allocations()[*pointer];
      made.kind = Library::Kind::kImported;
      made.bytes = handle.bytes;
      made.context = ContextStack().back();
      made.device = *device;
      made.exporter = handle.pid;
      made.exported_at = handle.base;
    }
    ++library.allocations()[*pointer].opened;
    return CUDA_SUCCESS;
  });
}

}  // namespace

void LookAtShared(Event* event) {
  const std::lock_guard<std::mutex> lock(event->mutex);
  if (event->shared == nullptr) return;
  const uint64_t last = event->shared->last.load(std::memory_order_acquire);
  if (last == event->shared_seen) return;
  event->shared_seen = last;
  constexpr uint64_t kNumber = (uint64_t{1} << kQueueShift) - 1;
  event->point = {HomeOf(event->gpu, static_cast<uint32_t>(last >> kSlotShift)),
                  static_cast<uint32_t>(last >> kQueueShift & 0xff), last & kNumber};
  event->at.store(0, std::memory_order_release);
  event->recorded.store(true, std::memory_order_release);
}

void TellShared(Event* event) {
  const std::lock_guard<std::mutex> lock(event->mutex);
  if (event->shared == nullptr) return;
  const Point& point = event->point;
  event->shared_seen = uint64_t{point.home->slot} << kSlotShift |
                       uint64_t{point.queue} << kQueueShift | point.number;
  event->shared->last.store(event->shared_seen, std::memory_order_release);
}

void LeaveShared(Event* event) {
  const std::lock_guard<std::mutex> lock(event->mutex);
  if (event->shared == nullptr) return;
  munmap(event->shared, sizeof(SharedEvent));
  event->shared = nullptr;
  // Only who made it finds a file by that name.
  EventHandle own;
  own.pid = getpid();
  own.number = reinterpret_cast<uint64_t>(event);
  unlink(EventPath(Library::Get(), own).c_str());
}

CUDA_EXPORT CUresult cuIpcGetEventHandle(CUipcEventHandle* out, CUevent handle) {
  return CallInContext([&](Library& library, const Library::Context& context) {
    Event* event = library.events().Find(handle);
    if (event == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    if (out == nullptr || !event->interprocess) return CUDA_ERROR_INVALID_VALUE;
    const Target target = library.devices()[static_cast<size_t>(context.device)].target;
    const EventHandle exported = {kEventMagic, getpid(), reinterpret_cast<uint64_t>(event),
                                  target.gpu, target.ci};
    bool made = false;
    {
      const std::lock_guard<std::mutex> lock(event->mutex);
      if (event->shared == nullptr) {
        // Of a process that had this number and was killed.
        unlink(EventPath(library, exported).c_str());
        event->shared = MapEvent(EventPath(library, exported), true);
        event->gpu = library.contexts().Find(ContextStack().back())->gpu;
        made = event->shared != nullptr && event->point.number != 0;
      }
      if (event->shared == nullptr) return CUDA_ERROR_OPERATING_SYSTEM;
    }
    if (made) TellShared(event);
    *out = {};
    std::memcpy(static_cast<void*>(out), &exported, sizeof(exported));
    return CUDA_SUCCESS;
  });
}
CUDA_EXPORT CUresult cuIpcOpenEventHandle(CUevent* out, CUipcEventHandle handle) {
  return CallInContext([&](Library& library, const Library::Context& context) {
    EventHandle from;
    std::memcpy(static_cast<void*>(&from), &handle, sizeof(from));
    if (out == nullptr || from.magic != kEventMagic) return CUDA_ERROR_INVALID_VALUE;
    if (from.pid == getpid()) return CUDA_ERROR_INVALID_CONTEXT;
    const Target target = library.devices()[static_cast<size_t>(context.device)].target;
    if (target.gpu != from.gpu || target.ci != from.ci) return CUDA_ERROR_INVALID_DEVICE;
    SharedEvent* shared = MapEvent(EventPath(library, from), false);
    if (shared == nullptr) return CUDA_ERROR_MAP_FAILED;
    Event* event = library.events().Make();
    if (event == nullptr) return CUDA_ERROR_OUT_OF_MEMORY;
    event->timed = false;
    event->interprocess = true;
    event->shared = shared;
    event->gpu = library.contexts().Find(ContextStack().back())->gpu;
    *out = reinterpret_cast<CUevent>(event);
    return CUDA_SUCCESS;
  });
}

CUDA_EXPORT CUresult cuIpcGetMemHandle(CUipcMemHandle* out, CUdeviceptr pointer) {
  return CallInContext([&](Library& library, const Library::Context&) {
    const Range range = Locate(library, pointer, 1);
    if (out == nullptr || range.allocation == nullptr ||
        range.allocation->kind != Library::Kind::kLinear) {
      return CUDA_ERROR_INVALID_VALUE;
    }
    const Target target = library.devices()[static_cast<size_t>(range.allocation->device)].target;
    const Handle handle = {kMagic,     getpid(), pointer - range.offset, range.allocation->bytes,
                           target.gpu, target.ci};
    *out = {};
    std::memcpy(out, &handle, sizeof(handle));
    return CUDA_SUCCESS;
  });
}
CUDA_EXPORT CUresult cuIpcOpenMemHandle(CUdeviceptr* pointer, CUipcMemHandle handle,
                                        unsigned int flags) {
  return Open(pointer, handle, flags);
}
CUDA_EXPORT CUresult cuIpcOpenMemHandle_v2(CUdeviceptr* pointer, CUipcMemHandle handle,
                                           unsigned int flags) {
  return Open(pointer, handle, flags);
}
CUDA_EXPORT CUresult cuIpcCloseMemHandle(CUdeviceptr pointer) {
  return CallInContext([&](Library& library, const Library::Context&) {
    const auto found = library.allocations().find(pointer);
    if (found == library.allocations().end() || found->second.kind != Library::Kind::kImported) {
      return CUDA_ERROR_INVALID_VALUE;
    }
    if (--found->second.opened == 0) library.allocations().erase(found);
    return CUDA_SUCCESS;
  });
}

}  // namespace tranche::sim::cuda
