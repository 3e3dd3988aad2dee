#pragma once

#include <sys/types.h>

#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "abi/cuda.h"
#include "sim/cuda/contents.h"
#include "sim/machine/machine.h"

// What the simulated libcuda.so.1 has in common: the one object of the process, and the way in and
// out of every call.
namespace tranche::sim::cuda {

// One per process: CUDA is a C library with global state. Handles are numbers that are never used
// again and never dereferenced, so that a made-up or outlived one is recognised. Safe from any
// thread.
class Library {
 public:
  static Library& Get();

  struct Allocation {
    uint64_t bytes = 0;    // as asked
    uint64_t charged = 0;  // what it takes of the device
    Contents contents;
  };
  struct Context {
    int device = 0;
    uint64_t serial = 0;  // on the machine
    unsigned int flags = 0;
    unsigned int api_version = 0;
    bool primary = false;
    std::map<CUdeviceptr, Allocation> allocations;  // by first address
  };
  struct Device {
    Target target;
    // The primary context: made when first retained, destroyed with the last release.
    uint64_t primary = 0;  // its handle; 0 = not active
    int primary_users = 0;
    unsigned int primary_flags = 0;
  };
  struct Event {
    bool timed = true;
    bool recorded = false;
    std::chrono::steady_clock::time_point at;
  };

  CUresult Init(unsigned int flags);
  // NOT_INITIALIZED before Init, and in a child of the process that called it.
  CUresult Check() const;

  // All below: with mutex() held, after Check().
  std::mutex& mutex() { return mutex_; }
  Machine& machine() { return *machine_; }
  std::vector<Device>& devices() { return devices_; }
  Device* FindDevice(CUdevice device);

  // nullptr when there is no such context. The handle of a context is never 0.
  Context* Find(CUcontext handle);
  CUresult CreateContext(int device, unsigned int flags, bool primary, CUcontext* handle);
  CUresult DestroyContext(CUcontext handle);
  // What holds of a context that was found: the error of what killed it, or SUCCESS.
  CUresult Health(const Context& context);

  std::map<uint64_t, CUcontext>& streams() { return streams_; }
  std::map<uint64_t, Event>& events() { return events_; }
  uint64_t NextHandle() { return next_handle_ += 0x100; }
  // An address range that no allocation of this process ever had.
  CUdeviceptr NextAddress(uint64_t bytes);
  // Host memory that the contents of all device memory take.
  size_t ContentsHeld() const;

 private:
  mutable std::mutex mutex_;
  pid_t pid_ = 0;                     // that initialised; 0 = nobody did
  std::shared_ptr<Machine> machine_;  // all below: guarded by mutex_
  std::vector<Device> devices_;
  std::map<uint64_t, Context> contexts_;
  std::map<uint64_t, CUcontext> streams_;
  std::map<uint64_t, Event> events_;
  uint64_t next_handle_ = 0x5c0000000000;
  CUdeviceptr next_address_ = 0x302000000;
};

// The calling thread's stack of contexts, the current one last.
std::vector<CUcontext>& ContextStack();

CUresult ToCuda(Rc rc);
// What a context answers after that XID.
CUresult ErrorOfXid(uint32_t xid);
template <typename Handle>
uint64_t Number(Handle handle) {
  return reinterpret_cast<uint64_t>(handle);
}
template <typename Handle>
Handle MakeHandle(uint64_t number) {
  return reinterpret_cast<Handle>(number);
}

// Runs `body(library)` under the lock, in an initialised library.
template <typename Body>
CUresult Call(const Body& body) {
  Library& library = Library::Get();
  const std::lock_guard<std::mutex> lock(library.mutex());
  const CUresult ready = library.Check();
  return ready == CUDA_SUCCESS ? body(library) : ready;
}

// The same with the calling thread's current context, which must be alive.
template <typename Body>
CUresult CallInContext(const Body& body) {
  return Call([&](Library& library) {
    Library::Context* context =
        ContextStack().empty() ? nullptr : library.Find(ContextStack().back());
    if (context == nullptr) {
      return ContextStack().empty() ? CUDA_ERROR_INVALID_CONTEXT : CUDA_ERROR_CONTEXT_IS_DESTROYED;
    }
    const CUresult health = library.Health(*context);
    return health == CUDA_SUCCESS ? body(library, *context) : health;
  });
}

// The same with a device.
template <typename Body>
CUresult CallOnDevice(CUdevice number, const Body& body) {
  return Call([&](Library& library) {
    Library::Device* device = library.FindDevice(number);
    return device == nullptr ? CUDA_ERROR_INVALID_DEVICE : body(library, *device);
  });
}

}  // namespace tranche::sim::cuda

// Exported: the version script keeps everything else inside.
#define CUDA_EXPORT extern "C" __attribute__((visibility("default")))
