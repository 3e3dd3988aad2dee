#pragma once

#include <functional>
#include <memory>
#include <mutex>
#include <new>
#include <string_view>

#include "abi/nvml.h"
#include "sim/machine/machine.h"
#include "sim/machine/mig.h"
#include "sim/machine/usage.h"

// What the simulated libnvidia-ml.so.1 has in common: the one object of the process, handles, and
// the way in and out of every call.
namespace tranche::sim::nvml {

// --- Handles ------------------------------------------------------------------------------------
// A handle is no pointer but a tag, a GPU index and the serial number of an object. Nothing is ever
// dereferenced, so a made-up or outlived handle is recognised, and handles are the same in all
// threads.

enum class Kind : uint64_t { kGpu = 0x6a01, kMigDevice = 0x6a02, kGi = 0x6a03, kCi = 0x6a04 };

template <typename Handle>
Handle MakeHandle(Kind kind, uint32_t gpu, uint64_t serial) {
  uint64_t bits = static_cast<uint64_t>(kind) << 48 | static_cast<uint64_t>(gpu + 1) << 40 |
                  (serial & 0xffffffffffull);
  Handle handle;
  handle.handle = reinterpret_cast<decltype(handle.handle)>(bits);
  return handle;
}

struct Decoded {
  Kind kind;
  uint32_t gpu;
  uint64_t serial;
};
Decoded Decode(const void* handle);

// An object of the process that is never destroyed, because threads of the host may still call
// while it exits, and that needs no heap of its own, so that nothing is left behind when the
// library is unloaded.
template <typename T>
class Undying {
 public:
  Undying() { new (storage_) T; }
  T& operator*() { return *std::launder(reinterpret_cast<T*>(storage_)); }

 private:
  alignas(T) unsigned char storage_[sizeof(T)];
};

// --- The library's state in this process --------------------------------------------------------

// One per process: NVML is a C library with global state. Safe from any thread.
class Library {
 public:
  static Library& Get();

  nvmlReturn_t Init();
  nvmlReturn_t Shutdown();
  // For the few calls that work without nvmlInit: the machine that it would open, or nullptr.
  std::shared_ptr<Machine> MachineAtHand();
  // nullptr while not initialised. Shared, so that a call running in another thread survives a
  // shutdown.
  std::shared_ptr<Machine> machine();

 private:
  std::mutex mutex_;
  int users_ = 0;                     // guarded by mutex_
  std::shared_ptr<Machine> machine_;  // guarded by mutex_
};

// --- A call -------------------------------------------------------------------------------------

// A device as one call sees it: a whole GPU or a MIG device.
struct Device {
  Machine& machine;
  const MachineState& state;
  uint32_t index;
  const GpuSpec& spec;
  const Gpu& gpu;
  // Of a MIG device; nullptr for a whole GPU.
  const GpuInstance* gi = nullptr;
  const ComputeInstance* ci = nullptr;
  const GiProfileSpec* gi_profile = nullptr;
  const CiProfileSpec* ci_profile = nullptr;

  bool is_mig() const { return ci != nullptr; }
  Target target() const { return {index, ci == nullptr ? 0 : ci->serial}; }
  const MachineSpec& machine_spec() const { return machine.spec(); }
  uint32_t branch() const { return machine.spec().driver.branch; }
};

using Look = std::function<nvmlReturn_t(const Device&)>;
using Change = std::function<nvmlReturn_t(const Device&, MachineState&)>;

// Each runs `body` in one transaction on the machine and answers for it what every call answers:
// UNINITIALIZED, INVALID_ARGUMENT for a bad handle, GPU_IS_LOST, NO_PERMISSION. `call` is the name
// of the NVML function, for `tranche-sim fault --slow`.
nvmlReturn_t OnDevice(const char* call, nvmlDevice_t device, const Look& body);
// For what only the whole GPU has (clocks, power, health): a MIG device is answered with
// NOT_SUPPORTED.
nvmlReturn_t OnBoard(const char* call, nvmlDevice_t device, const Look& body);
nvmlReturn_t ChangeBoard(const char* call, nvmlDevice_t device, const Change& body);
// For functions that know whole GPUs only; a MIG device is answered with INVALID_ARGUMENT.
nvmlReturn_t OnGpu(const char* call, nvmlDevice_t device, const Look& body);
// The same with the right to change the machine; what was changed is kept when `body` answers
// SUCCESS.
nvmlReturn_t ChangeGpu(const char* call, nvmlDevice_t device, const Change& body);
nvmlReturn_t OnGi(const char* call, nvmlGpuInstance_t gi, const Look& body);
nvmlReturn_t ChangeGi(const char* call, nvmlGpuInstance_t gi, const Change& body);
nvmlReturn_t OnCi(const char* call, nvmlComputeInstance_t ci, const Look& body);
nvmlReturn_t ChangeCi(const char* call, nvmlComputeInstance_t ci, const Change& body);
// For functions without a device.
nvmlReturn_t OnMachine(const char* call,
                       const std::function<nvmlReturn_t(Machine&, const MachineState&)>& body);

nvmlReturn_t ToNvml(Rc rc);

inline nvmlDevice_t GpuHandle(uint32_t gpu) { return MakeHandle<nvmlDevice_t>(Kind::kGpu, gpu, 0); }

// For the many calls with one plain output: INVALID_ARGUMENT without a place to put it.
template <typename T, typename V>
nvmlReturn_t Put(T* out, V value) {
  if (out == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  *out = static_cast<T>(value);
  return NVML_SUCCESS;
}

// NO_PERMISSION unless the caller may do what root may do.
nvmlReturn_t NeedRoot(const Device& d);

// Copies text out: INVALID_ARGUMENT for a null buffer, INSUFFICIENT_SIZE for a short one.
nvmlReturn_t CopyText(std::string_view text, char* buffer, unsigned int length);

// The rule of all calls that fill an array: `count` comes in as the room and goes out as the
// number. With too little room nothing is written but the number. `give(i)` returns entry i.
template <typename T, typename Give>
nvmlReturn_t FillArray(unsigned int* count, T* out, unsigned int n, const Give& give) {
  if (count == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  unsigned int room = *count;
  *count = n;
  if (n > room) return NVML_ERROR_INSUFFICIENT_SIZE;
  if (n > 0 && out == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  for (unsigned int i = 0; i < n; ++i) out[i] = give(i);
  return NVML_SUCCESS;
}

}  // namespace tranche::sim::nvml

// Exported: the version script keeps everything else inside.
#define NVML_EXPORT extern "C" __attribute__((visibility("default")))
