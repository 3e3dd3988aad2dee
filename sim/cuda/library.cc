#include "sim/cuda/library.h"

#include <unistd.h>

#include <cstdlib>
#include <optional>
#include <string>

#include "sim/cuda/visible_devices.h"
#include "sim/machine/mig.h"

namespace tranche::sim::cuda {
namespace {

// What a context takes before anything is allocated in it: a part that every context has, and one
// that grows with the SMs (stacks and local memory of threads). About half a GiB on an H100, as
// measured there.
constexpr uint64_t kContextBase = uint64_t{128} << 20;
constexpr uint64_t kContextPerSm = uint64_t{3} << 20;

uint64_t ContextOverhead(const MachineSpec& spec, const MachineState& state, const Target& target) {
  const GpuSpec& gpu = spec.gpus[target.gpu];
  const uint32_t sm = target.ci == 0 ? gpu.sm : SmCountOf(gpu, state.gpus[target.gpu], target.ci);
  return kContextBase + kContextPerSm * sm;
}

}  // namespace

Library& Library::Get() {
  // Never destroyed: threads of the host process may still call while it exits.
  static auto* library = new Library;
  return *library;
}

std::vector<CUcontext>& ContextStack() {
  thread_local std::vector<CUcontext> stack;
  return stack;
}

CUresult Library::Init(unsigned int flags) {
  const std::lock_guard<std::mutex> lock(mutex_);
  if (flags != 0) return CUDA_ERROR_INVALID_VALUE;
  if (pid_ == getpid()) return CUDA_SUCCESS;
  // A child that forked after its parent initialised never gets CUDA.
  if (pid_ != 0) return CUDA_ERROR_NOT_INITIALIZED;
  const char* dir = std::getenv("TRANCHE_SIM_DIR");
  if (dir == nullptr || *dir == 0) return CUDA_ERROR_NO_DEVICE;
  auto machine = Machine::Open(dir);
  if (!machine || !(*machine)->spec().driver.loaded) return CUDA_ERROR_NO_DEVICE;
  if ((*machine)->spec().driver.mismatched) return CUDA_ERROR_SYSTEM_DRIVER_MISMATCH;
  const char* visible = std::getenv("CUDA_VISIBLE_DEVICES");
  const auto list = visible == nullptr ? std::nullopt : std::optional<std::string>(visible);
  std::vector<Target> targets;
  const Rc rc = (*machine)->Read([&](const MachineState& state) {
    targets = VisibleDevices((*machine)->spec(), state, list);
    return Rc::kOk;
  });
  if (rc != Rc::kOk) return ToCuda(rc);
  if (targets.empty()) return CUDA_ERROR_NO_DEVICE;
  for (const Target& target : targets) devices_.push_back({target});
  machine_ = std::move(*machine);
  pid_ = getpid();
  return CUDA_SUCCESS;
}

CUresult Library::Check() const {
  return pid_ == getpid() ? CUDA_SUCCESS : CUDA_ERROR_NOT_INITIALIZED;
}

Library::Device* Library::FindDevice(CUdevice device) {
  if (device < 0 || static_cast<size_t>(device) >= devices_.size()) return nullptr;
  return &devices_[static_cast<size_t>(device)];
}

Library::Context* Library::Find(CUcontext handle) {
  const auto found = contexts_.find(Number(handle));
  return found == contexts_.end() ? nullptr : &found->second;
}

CUresult Library::CreateContext(int device, unsigned int flags, bool primary, CUcontext* handle) {
  const Target target = devices_[static_cast<size_t>(device)].target;
  uint64_t overhead = 0;
  Rc rc = machine_->Read([&](const MachineState& state) {
    overhead = ContextOverhead(machine_->spec(), state, target);
    return Rc::kOk;
  });
  uint64_t serial = 0;
  if (rc == Rc::kOk) rc = machine_->CreateContext(target, kCompute, overhead, &serial);
  if (rc != Rc::kOk) return ToCuda(rc);
  ContextSlot* slot = context_slots_.Make();
  Stream* legacy = streams_.Make();
  GpuQueue* queue = FindGpuQueue(machine_->dir(), target.gpu, target.ci);
  if (slot == nullptr || legacy == nullptr || queue == nullptr) {
    machine_->DestroyContext(serial);
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  const uint64_t number = Number(slot);
  slot->legacy = legacy;
  slot->engine.queue = queue;
  legacy->home = slot;
  legacy->kind = Stream::Kind::kLegacy;
  Context& context = contexts_[number];
  context.device = device;
  context.serial = serial;
  context.flags = flags;
  context.api_version = 3020;
  context.primary = primary;
  *handle = MakeHandle<CUcontext>(number);
  return CUDA_SUCCESS;
}

CUresult Library::DestroyContext(CUcontext handle) {
  const auto found = contexts_.find(Number(handle));
  if (found == contexts_.end()) return CUDA_ERROR_INVALID_CONTEXT;
  // The machine may have taken it already (a reset, a reboot): gone is gone.
  machine_->DestroyContext(found->second.serial);
  contexts_.erase(found);
  std::erase_if(allocations_, [&](const auto& entry) { return entry.second.context == handle; });
  auto* slot = context_slots_.Find(handle);
  streams_.ForEach([&](Stream* stream) {
    if (stream->home == slot) streams_.Drop(stream);
  });
  context_slots_.Drop(slot);
  return CUDA_SUCCESS;
}

CUresult Library::Health(Context& context) {
  uint32_t xid = 0;
  context.asked_ns = TimelineNow();
  const Rc rc = machine_->ContextFault(context.serial, &xid);
  if (rc == Rc::kNotFound) return context.fault = CUDA_ERROR_CONTEXT_IS_DESTROYED;
  if (rc != Rc::kOk) return ToCuda(rc);
  return context.fault = xid == 0 ? CUDA_SUCCESS : ErrorOfXid(xid);
}

CUresult Library::HealthLately(Context& context) {
  if (context.fault != CUDA_SUCCESS) return context.fault;
  return TimelineNow() - context.asked_ns < 1000000 ? CUDA_SUCCESS : Health(context);
}

CUresult Library::Charge(uint64_t serial, uint64_t bytes) {
  return bytes == 0 ? CUDA_SUCCESS : ToCuda(machine_->Allocate(serial, bytes));
}

void Library::Discharge(uint64_t serial, uint64_t bytes) {
  // The machine may have taken it already.
  if (bytes > 0) machine_->Free(serial, bytes);
}

CUresult Library::Holder(int device, uint64_t* serial) {
  Device& of = devices_[static_cast<size_t>(device)];
  if (of.holder == 0) {
    const Rc rc = machine_->CreateContext(of.target, kCompute, 0, &of.holder);
    if (rc != Rc::kOk) return ToCuda(rc);
  }
  *serial = of.holder;
  return CUDA_SUCCESS;
}

CUdeviceptr Library::NextAddress(uint64_t bytes) {
  // A gap behind every allocation, so that running past its end meets nothing.
  constexpr uint64_t kAlignment = uint64_t{2} << 20;
  const CUdeviceptr address = next_address_;
  next_address_ += (bytes / kAlignment + 2) * kAlignment;
  return address;
}

size_t Library::ContentsHeld() const {
  size_t held = 0;
  for (const auto& [address, allocation] : allocations_) held += allocation.contents->held();
  return held;
}

CUresult ToCuda(Rc rc) {
  switch (rc) {
    case Rc::kOk:
      return CUDA_SUCCESS;
    case Rc::kInvalid:
      return CUDA_ERROR_INVALID_VALUE;
    case Rc::kNotSupported:
      return CUDA_ERROR_NOT_SUPPORTED;
    case Rc::kNoPermission:
      return CUDA_ERROR_NOT_PERMITTED;
    case Rc::kNotFound:
      return CUDA_ERROR_INVALID_DEVICE;
    case Rc::kInsufficientResources:
      return CUDA_ERROR_OUT_OF_MEMORY;
    case Rc::kInUse:
    case Rc::kResetRequired:
    case Rc::kGpuLost:
    case Rc::kExclusive:
      return CUDA_ERROR_DEVICE_UNAVAILABLE;
    case Rc::kBroken:
      break;
  }
  return CUDA_ERROR_UNKNOWN;
}

CUresult ErrorOfXid(uint32_t xid) {
  switch (xid) {
    case 31:  // MMU fault
      return CUDA_ERROR_ILLEGAL_ADDRESS;
    case 48:  // double-bit ECC error
    case 63:  // row remapping
    case 64:
    case 95:  // uncontained
      return CUDA_ERROR_ECC_UNCORRECTABLE;
    case 94:
      return CUDA_ERROR_CONTAINED;
    case 79:  // fallen off the bus
      return CUDA_ERROR_DEVICE_UNAVAILABLE;
    default:  // 13, 43 and other faults of the application
      return CUDA_ERROR_LAUNCH_FAILED;
  }
}

}  // namespace tranche::sim::cuda
