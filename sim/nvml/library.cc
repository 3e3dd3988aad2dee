#include "sim/nvml/library.h"

#include <cstdlib>
#include <cstring>
#include <ctime>
#include <utility>

#include "sim/machine/lifecycle.h"

namespace tranche::sim::nvml {
namespace {

uint32_t SlowFor(const MachineState& state, const char* call) {
  for (const SlowCall& slow : state.slow) {
    if (slow.milliseconds != 0 && std::strcmp(slow.name, call) == 0) return slow.milliseconds;
  }
  return 0;
}

void SleepMs(uint32_t milliseconds) {
  timespec left{milliseconds / 1000, static_cast<long>(milliseconds % 1000) * 1000000};
  while (nanosleep(&left, &left) != 0) {
  }
}

// Runs `body` in a transaction, and the slowness that was asked for after it: outside, so that a
// slow call of one process does not hold up the others.
template <typename Body>
nvmlReturn_t Run(const char* call, bool change, const Body& body) {
  std::shared_ptr<Machine> machine = Library::Get().machine();
  if (machine == nullptr) return NVML_ERROR_UNINITIALIZED;
  nvmlReturn_t answer = NVML_ERROR_UNKNOWN;
  uint32_t slow = 0;
  auto step = [&](MachineState& state) {
    slow = SlowFor(state, call);
    answer = body(*machine, state);
    return answer == NVML_SUCCESS ? Rc::kOk : Rc::kInvalid;
  };
  Rc rc = change ? machine->Update(step) : machine->Read([&](const MachineState& state) {
    return step(const_cast<MachineState&>(state));
  });
  if (rc == Rc::kBroken) return NVML_ERROR_UNKNOWN;
  if (slow != 0) SleepMs(slow);
  return answer;
}

// Looks the GPU up and answers what holds for all of its objects.
nvmlReturn_t Reach(const Machine& machine, const MachineState& state, uint32_t gpu) {
  if (gpu >= machine.spec().gpu_count) return NVML_ERROR_INVALID_ARGUMENT;
  if (state.gpus[gpu].lost) return NVML_ERROR_GPU_IS_LOST;
  if (state.gpus[gpu].no_permission) return NVML_ERROR_NO_PERMISSION;
  return NVML_SUCCESS;
}

void Describe(Device* d) {
  if (d->gi == nullptr) return;
  d->gi_profile = FindGiProfile(d->spec, d->gi->profile_id);
  if (d->ci != nullptr && d->gi_profile != nullptr) {
    d->ci_profile = FindCiProfile(*d->gi_profile, d->ci->profile_id);
  }
}

// What is answered for the handle of a MIG device; SUCCESS = it is welcome.
enum class Mig : nvmlReturn_t {
  kWelcome = NVML_SUCCESS,
  kInvalid = NVML_ERROR_INVALID_ARGUMENT,
  kUnsupported = NVML_ERROR_NOT_SUPPORTED,
};

template <typename Body>
nvmlReturn_t WithDevice(const char* call, nvmlDevice_t device, Mig mig, bool change,
                        const Body& body) {
  Decoded h = Decode(device.handle);
  return Run(call, change, [&](Machine& machine, MachineState& state) -> nvmlReturn_t {
    bool is_mig = h.kind == Kind::kMigDevice;
    if (h.kind != Kind::kGpu && !is_mig) return NVML_ERROR_INVALID_ARGUMENT;
    nvmlReturn_t reached = Reach(machine, state, h.gpu);
    if (reached != NVML_SUCCESS) return reached;
    if (is_mig && mig != Mig::kWelcome) return static_cast<nvmlReturn_t>(mig);
    Device d{machine, state, h.gpu, machine.spec().gpus[h.gpu], state.gpus[h.gpu]};
    if (is_mig) {
      d.ci = FindCi(d.gpu, h.serial);
      d.gi = d.ci == nullptr ? nullptr : FindGi(d.gpu, d.ci->gi);
      Describe(&d);
      // Destroyed since: the handle must be fetched again.
      if (d.ci_profile == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    }
    return body(d, state);
  });
}

template <typename Body>
nvmlReturn_t WithInstance(const char* call, const void* handle, Kind kind, bool change,
                          const Body& body) {
  Decoded h = Decode(handle);
  return Run(call, change, [&](Machine& machine, MachineState& state) -> nvmlReturn_t {
    if (h.kind != kind) return NVML_ERROR_INVALID_ARGUMENT;
    nvmlReturn_t reached = Reach(machine, state, h.gpu);
    if (reached != NVML_SUCCESS) return reached;
    Device d{machine, state, h.gpu, machine.spec().gpus[h.gpu], state.gpus[h.gpu]};
    if (kind == Kind::kCi) {
      d.ci = FindCi(d.gpu, h.serial);
      if (d.ci != nullptr) d.gi = FindGi(d.gpu, d.ci->gi);
    } else {
      d.gi = FindGi(d.gpu, h.serial);
    }
    Describe(&d);
    if (d.gi_profile == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    return body(d, state);
  });
}

}  // namespace

Decoded Decode(const void* handle) {
  auto bits = reinterpret_cast<uint64_t>(handle);
  return {static_cast<Kind>(bits >> 48), static_cast<uint32_t>((bits >> 40) & 0xff) - 1,
          bits & 0xffffffffffull};
}

Library& Library::Get() {
  static Undying<Library> library;
  return *library;
}

nvmlReturn_t Library::Init() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (users_ == 0) {
    const char* dir = std::getenv("TRANCHE_SIM_DIR");
    if (dir == nullptr || *dir == 0) return NVML_ERROR_DRIVER_NOT_LOADED;
    auto opened = Machine::Open(dir);
    if (!opened) return NVML_ERROR_DRIVER_NOT_LOADED;
    const DriverSpec& driver = (*opened)->spec().driver;
    if (!driver.loaded) return NVML_ERROR_DRIVER_NOT_LOADED;
    if (driver.mismatched) return NVML_ERROR_LIB_RM_VERSION_MISMATCH;
    // Without a right to a single device node there is nothing to open.
    std::unique_ptr<MachineState> state = (*opened)->Snapshot();
    if (state == nullptr || !IsDriverLoaded((*opened)->spec(), *state))
      return NVML_ERROR_DRIVER_NOT_LOADED;
    uint32_t count = (*opened)->spec().gpu_count, closed = 0;
    for (uint32_t i = 0; i < count; ++i) closed += state->gpus[i].no_permission ? 1 : 0;
    if (count > 0 && closed == count) return NVML_ERROR_NO_PERMISSION;
    machine_ = std::move(*opened);
  }
  ++users_;
  return NVML_SUCCESS;
}

nvmlReturn_t Library::Shutdown() {
  std::lock_guard<std::mutex> lock(mutex_);
  if (users_ == 0) return NVML_ERROR_UNINITIALIZED;
  if (--users_ == 0) machine_ = nullptr;
  return NVML_SUCCESS;
}

std::shared_ptr<Machine> Library::MachineAtHand() {
  if (std::shared_ptr<Machine> open = machine()) return open;
  const char* dir = std::getenv("TRANCHE_SIM_DIR");
  auto opened = Machine::Open(dir == nullptr ? "" : dir);
  return opened ? std::shared_ptr<Machine>(std::move(*opened)) : nullptr;
}

std::shared_ptr<Machine> Library::machine() {
  std::lock_guard<std::mutex> lock(mutex_);
  return machine_;
}

nvmlReturn_t OnDevice(const char* call, nvmlDevice_t device, const Look& body) {
  return WithDevice(call, device, Mig::kWelcome, false,
                    [&](const Device& d, MachineState&) { return body(d); });
}

nvmlReturn_t OnBoard(const char* call, nvmlDevice_t device, const Look& body) {
  return WithDevice(call, device, Mig::kUnsupported, false,
                    [&](const Device& d, MachineState&) { return body(d); });
}

nvmlReturn_t ChangeBoard(const char* call, nvmlDevice_t device, const Change& body) {
  return WithDevice(call, device, Mig::kUnsupported, true, body);
}

nvmlReturn_t OnGpu(const char* call, nvmlDevice_t device, const Look& body) {
  return WithDevice(call, device, Mig::kInvalid, false,
                    [&](const Device& d, MachineState&) { return body(d); });
}

nvmlReturn_t ChangeGpu(const char* call, nvmlDevice_t device, const Change& body) {
  return WithDevice(call, device, Mig::kInvalid, true, body);
}

nvmlReturn_t OnGi(const char* call, nvmlGpuInstance_t gi, const Look& body) {
  return WithInstance(call, gi.handle, Kind::kGi, false,
                      [&](const Device& d, MachineState&) { return body(d); });
}

nvmlReturn_t ChangeGi(const char* call, nvmlGpuInstance_t gi, const Change& body) {
  return WithInstance(call, gi.handle, Kind::kGi, true, body);
}

nvmlReturn_t OnCi(const char* call, nvmlComputeInstance_t ci, const Look& body) {
  return WithInstance(call, ci.handle, Kind::kCi, false,
                      [&](const Device& d, MachineState&) { return body(d); });
}

nvmlReturn_t ChangeCi(const char* call, nvmlComputeInstance_t ci, const Change& body) {
  return WithInstance(call, ci.handle, Kind::kCi, true, body);
}

nvmlReturn_t OnMachine(const char* call,
                       const std::function<nvmlReturn_t(Machine&, const MachineState&)>& body) {
  return Run(call, false,
             [&](Machine& machine, MachineState& state) { return body(machine, state); });
}

nvmlReturn_t ToNvml(Rc rc) {
  switch (rc) {
    case Rc::kOk:
      return NVML_SUCCESS;
    case Rc::kInvalid:
      return NVML_ERROR_INVALID_ARGUMENT;
    case Rc::kNotSupported:
      return NVML_ERROR_NOT_SUPPORTED;
    case Rc::kNoPermission:
      return NVML_ERROR_NO_PERMISSION;
    case Rc::kNotFound:
      return NVML_ERROR_NOT_FOUND;
    case Rc::kInUse:
      return NVML_ERROR_IN_USE;
    case Rc::kInsufficientResources:
      return NVML_ERROR_INSUFFICIENT_RESOURCES;
    case Rc::kResetRequired:
      return NVML_ERROR_RESET_REQUIRED;
    case Rc::kGpuLost:
      return NVML_ERROR_GPU_IS_LOST;
    case Rc::kExclusive:
      return NVML_ERROR_IN_USE;
    case Rc::kMpsNoServer:
    case Rc::kMpsNotReady:
    case Rc::kMpsFull:
    case Rc::kBroken:
      return NVML_ERROR_UNKNOWN;
  }
  return NVML_ERROR_UNKNOWN;
}

nvmlReturn_t NeedRoot(const Device& d) {
  return static_cast<nvmlReturn_t>(d.machine.IsPrivileged() ? NVML_SUCCESS
                                                            : NVML_ERROR_NO_PERMISSION);
}

nvmlReturn_t CopyText(std::string_view text, char* buffer, unsigned int length) {
  if (buffer == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  if (text.size() + 1 > length) return NVML_ERROR_INSUFFICIENT_SIZE;
  std::memcpy(buffer, text.data(), text.size());
  buffer[text.size()] = 0;
  return NVML_SUCCESS;
}

}  // namespace tranche::sim::nvml
