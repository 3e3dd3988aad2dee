#pragma once

#include <atomic>
#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <vector>

#include "abi/cuda.h"
#include "sim/cuda/contents.h"
#include "sim/cuda/heap.h"
#include "sim/cuda/objects.h"
#include "sim/cuda/slots.h"
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

  enum class Kind { kLinear, kManaged, kPool, kMapping, kGraph, kImported, kExternal, kGlobal };
  struct Allocation {
    Kind kind = Kind::kLinear;
    uint64_t bytes = 0;    // as asked
    uint64_t charged = 0;  // what it takes of the device, of a shared granule or on its own
    bool shared = false;   // a granule with others
    CUcontext context = nullptr;
    int device = 0;
    uint64_t pool = 0;  // handle of the pool that it is from
    // Of what another process shares: whose, where it is there, and how often it was opened.
    int64_t exporter = 0;
    uint64_t exported_at = 0;
    int opened = 0;
    std::shared_ptr<Contents> contents = std::make_shared<Contents>();
  };
  struct Context {
    int device = 0;
    uint64_t serial = 0;  // on the machine
    unsigned int flags = 0;
    unsigned int api_version = 0;
    bool primary = false;
    CUresult fault = CUDA_SUCCESS;  // what killed it, once seen
    uint32_t asked_at = 0;          // how much had happened to the machine when it was asked
    bool asked = false;
    Heap heap;  // of granules that small allocations share
    size_t limits[CU_LIMIT_MAX] = {};
  };
  struct Device {
    Target target;
    // Of MPS: how many of the SMs the process sees (0 = all), and what it may hold.
    uint32_t sms = 0;
    uint64_t memory_limit = kNoLimit;
    uint64_t partition = 0;       // serial of its static partition; 0 = it is in none
    bool must_be_in_one = false;  // ... and it is in none: no context is to be had
    bool below_normal = false;
    // The primary context: made when first retained, destroyed with the last release.
    uint64_t primary = 0;  // its handle; 0 = not active
    int primary_users = 0;
    unsigned int primary_flags = 0;
    // Holds on the machine what belongs to no context: handles of memory, pools. 0 = nothing yet.
    uint64_t holder = 0;
    // Graph memory: held on the device, of that in use, and the most of each.
    uint64_t graph_reserved = 0, graph_used = 0, graph_reserved_high = 0, graph_used_high = 0;
  };

  CUresult Init(unsigned int flags);
  // NOT_INITIALIZED before Init, and in a child of the process that called it.
  CUresult Check() const;

  // All below: with mutex() held, after Check().
  std::mutex& mutex() { return mutex_; }
  Machine& machine() { return *machine_; }
  std::vector<Device>& devices() { return devices_; }
  Device* FindDevice(CUdevice device);
  // The serial of the MPS server that the process is a client of; 0 = of none.
  uint64_t mps_server() const { return mps_server_; }

  // nullptr when there is no such context. The handle of a context is never 0.
  Context* Find(CUcontext handle);
  // `sms`: how many of them the context gets; 0 = what the process has.
  CUresult CreateContext(int device, unsigned int flags, bool primary, CUcontext* handle,
                         uint32_t sms = 0);
  CUresult DestroyContext(CUcontext handle);
  // What holds of a context that was found: the error of what killed it, or SUCCESS.
  CUresult Health(Context& context);

  // Of the device, for a context or for what belongs to none.
  // Managed memory is not `counted` by the kernel's memory limits.
  CUresult Charge(uint64_t serial, uint64_t bytes, bool counted = true);
  void Discharge(uint64_t serial, uint64_t bytes, bool counted = true);
  // The serial of the device's holder, made when it is first needed.
  CUresult Holder(int device, uint64_t* serial);

  // All device memory that has an address, by its first.
  std::map<CUdeviceptr, Allocation>& allocations() { return allocations_; }
  // Pinned memory of the host: address -> bytes.
  std::map<uint64_t, uint64_t>& host_memory() { return host_memory_; }

  Slots<ContextSlot, 1 << 14>& contexts() { return context_slots_; }
  Slots<Stream>& streams() { return streams_; }
  Slots<Event>& events() { return events_; }
  uint64_t NextHandle() { return next_handle_ += 0x100; }
  // An address range that no allocation of this process ever had.
  CUdeviceptr NextAddress(uint64_t bytes);
  // Host memory that the contents of all device memory take.
  size_t ContentsHeld() const;

 private:
  // Connects to MPS where the environment's directory has a server, and leaves only its devices.
  void Connect(const MachineSpec& spec, const MachineState& state,
               const std::vector<Target>& targets, const std::string& pipe_directory, uint32_t uid);
  // ... and what a device gives to it there.
  void LimitDevices(const MachineSpec& spec, const MachineState& state, const MpsServer& server,
                    const std::vector<std::string>& uuids);
  MpsClient AsMpsClient(const Device& device) const;

  mutable std::mutex mutex_;
  bool initialised_ = false;
  std::atomic<bool> forked_{false};   // this is a child of the process that initialised
  std::shared_ptr<Machine> machine_;  // all below: guarded by mutex_
  std::vector<Device> devices_;
  uint64_t mps_server_ = 0, mps_namespace_ = 0;
  std::map<uint64_t, Context> contexts_;
  std::map<CUdeviceptr, Allocation> allocations_;
  std::map<uint64_t, uint64_t> host_memory_;
  Slots<ContextSlot, 1 << 14> context_slots_;
  Slots<Stream> streams_;
  Slots<Event> events_;
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
