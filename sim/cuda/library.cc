#include "sim/cuda/library.h"

#include <pthread.h>

#include <algorithm>
#include <cstdlib>
#include <optional>
#include <string>

#include "sim/cuda/mps_client.h"
#include "sim/cuda/visible_devices.h"
#include "sim/machine/lifecycle.h"
#include "sim/machine/mig.h"
#include "sim/machine/mps.h"
#include "sim/machine/sm_partitions.h"

namespace tranche::sim::cuda {
namespace {

// What a context takes before anything is allocated in it: a part that every context has, and one
// that grows with the SMs (stacks and local memory of threads). About half a GiB on an H100, as
// measured there.
constexpr uint64_t kContextBase = uint64_t{128} << 20;
constexpr uint64_t kContextPerSm = uint64_t{3} << 20;

uint32_t SmsOf(const MachineSpec& spec, const MachineState& state, const Target& target) {
  const GpuSpec& gpu = spec.gpus[target.gpu];
  return target.ci == 0 ? gpu.sm : SmCountOf(gpu, state.gpus[target.gpu], target.ci);
}

ContextKind KindOf(uint64_t mps_server) { return mps_server == 0 ? kCompute : kMps; }

std::optional<std::string> Variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? std::nullopt : std::optional<std::string>(value);
}

// Through which the program is a client of MPS; the first client of a control daemon has it start a
// server.
std::string FindMpsDirectory(Machine* machine) {
  std::string found;
  for (const std::string& pipe : MpsPipeDirectories(Variable("CUDA_MPS_PIPE_DIRECTORY"))) {
    MpsRoute route;
    machine->Read([&](const MachineState& state) {
      route = RouteMpsClient(state, pipe, machine->caller().uid);
      return Rc::kOk;
    });
    if (route.daemon == 0 && route.server == 0) continue;
    if (!route.up) AskForMpsServer(pipe, machine->caller().uid);
    found = pipe;
    break;
  }
  return found;
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
  // A child that forked after its parent initialised never gets CUDA.
  if (initialised_) return Check();
  const char* dir = std::getenv("TRANCHE_SIM_DIR");
  if (dir == nullptr || *dir == 0) return CUDA_ERROR_NO_DEVICE;
  auto machine = Machine::Open(dir);
  if (!machine || !(*machine)->spec().driver.loaded) return CUDA_ERROR_NO_DEVICE;
  if ((*machine)->spec().driver.mismatched) return CUDA_ERROR_SYSTEM_DRIVER_MISMATCH;
  const auto list = Variable("CUDA_VISIBLE_DEVICES");
  devices_.clear();
  const std::string pipe = FindMpsDirectory(machine->get());
  const Rc rc = (*machine)->Read([&](const MachineState& state) {
    if (!IsDriverLoaded((*machine)->spec(), state)) return Rc::kOk;
    Connect((*machine)->spec(), state, VisibleDevices((*machine)->spec(), state, list), pipe,
            (*machine)->caller().uid);
    return Rc::kOk;
  });
  if (rc != Rc::kOk) return ToCuda(rc);
  if (devices_.empty()) return CUDA_ERROR_NO_DEVICE;
  machine_ = std::move(*machine);
  initialised_ = true;
  pthread_atfork(nullptr, nullptr, [] { Get().forked_.store(true, std::memory_order_relaxed); });
  TakePart();
  return CUDA_SUCCESS;
}

void Library::Connect(const MachineSpec& spec, const MachineState& state,
                      const std::vector<Target>& targets, const std::string& pipe_directory,
                      uint32_t uid) {
  const MpsRoute route =
      pipe_directory.empty() ? MpsRoute{} : RouteMpsClient(state, pipe_directory, uid);
  const MpsServer* server = FindMpsServer(state, route.server);
  std::vector<std::string> uuids;
  for (const Target& target : targets) {
    // A server's clients see what it serves.
    const bool served =
        server == nullptr || ((server->gpus >> target.gpu & 1) != 0 && server->ci == target.ci);
    if (!served) continue;
    Device device;
    device.target = target;
    devices_.push_back(device);
    const ComputeInstance* ci = FindCi(state.gpus[target.gpu], target.ci);
    uuids.emplace_back(ci == nullptr ? spec.gpus[target.gpu].uuid : ci->uuid);
  }
  if (server == nullptr) return;
  mps_server_ = route.server;
  mps_namespace_ = route.name_space;
  LimitDevices(spec, state, *server, uuids);
}

void Library::LimitDevices(const MachineSpec& spec, const MachineState& state,
                           const MpsServer& server, const std::vector<std::string>& uuids) {
  const auto wished_percentage = Variable("CUDA_MPS_ACTIVE_THREAD_PERCENTAGE");
  const auto limits =
      MemoryLimits(Variable("CUDA_MPS_PINNED_DEVICE_MEM_LIMIT").value_or(""), uuids);
  const MpsNamespace* in = FindMpsNamespace(state, mps_namespace_);
  double percentage = 100;
  bool below_normal = server.below_normal != 0;
  if (in == nullptr) {
    percentage = ThreadPercentage(server.thread_percentage, wished_percentage);
  } else {
    percentage = ThreadPercentageIn(
        in->thread_percentage > 0 ? std::optional(in->thread_percentage) : std::nullopt,
        wished_percentage);
    below_normal = in->below_normal != 0;
  }
  below_normal = BelowNormal(below_normal, Variable("CUDA_MPS_CLIENT_PRIORITY"));
  for (size_t i = 0; i < devices_.size(); ++i) {
    Device& device = devices_[i];
    const uint32_t gpu = device.target.gpu;
    device.below_normal = below_normal;
    device.sms = SmsOfClient(SmsOf(spec, state, device.target), percentage);
    const auto variable = Variable("CUDA_MPS_SM_PARTITION");
    if (server.must_be_in_partition != 0 || UsedChunks(state, server.serial, gpu) > 0) {
      const SmPartition* partition =
          FindSmPartition(state, server.serial, gpu, PartitionOn(variable, uuids[i], uuids));
      device.must_be_in_one = partition == nullptr;
      if (partition != nullptr) {
        device.partition = partition->serial;
        device.sms = partition->sms;
      }
    }
    if (!limits) continue;
    const uint64_t given = in == nullptr ? server.memory_limits[gpu] : in->memory_limit;
    device.memory_limit = std::min(given == 0 ? kNoLimit : given, (*limits)[i]);
  }
}

MpsClient Library::AsMpsClient(const Device& device) const {
  return {mps_server_, device.memory_limit, mps_namespace_, device.partition};
}

CUresult Library::Check() const {
  return initialised_ && !forked_.load(std::memory_order_relaxed) ? CUDA_SUCCESS
                                                                  : CUDA_ERROR_NOT_INITIALIZED;
}

Library::Device* Library::FindDevice(CUdevice device) {
  if (device < 0 || static_cast<size_t>(device) >= devices_.size()) return nullptr;
  return &devices_[static_cast<size_t>(device)];
}

Library::Context* Library::Find(CUcontext handle) {
  const auto found = contexts_.find(Number(handle));
  return found == contexts_.end() ? nullptr : &found->second;
}

CUresult Library::CreateContext(int device, unsigned int flags, bool primary, CUcontext* handle,
                                uint32_t sms) {
  const Device& on = devices_[static_cast<size_t>(device)];
  if (on.must_be_in_one) return CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION;
  const Target target = on.target;
  uint32_t sm_count = 0;
  Rc rc = machine_->Read([&](const MachineState& state) {
    sm_count = SmsOf(machine_->spec(), state, target);
    return Rc::kOk;
  });
  const uint64_t overhead = kContextBase + kContextPerSm * sm_count;
  uint64_t serial = 0;
  if (rc == Rc::kOk)
    rc = machine_->CreateContext(target, KindOf(mps_server_), overhead, AsMpsClient(on), &serial);
  if (rc != Rc::kOk) return ToCuda(rc);
  if (on.sms != 0 && (sms == 0 || sms > on.sms)) sms = on.sms;
  const double part = sms == 0 || sms >= sm_count ? 1 : static_cast<double>(sms) / sm_count;
  ContextSlot* slot = context_slots_.Make();
  Stream* legacy = streams_.Make();
  SharedGpu* gpu = SharedGpu::Get(machine_->dir(), target.gpu, target.ci, sm_count);
  uint32_t place = 0;
  if (slot == nullptr || legacy == nullptr || gpu == nullptr ||
      !gpu->Attach({mps_server_, static_cast<uint32_t>(on.partition), part, on.below_normal},
                   &place)) {
    machine_->DestroyContext(serial);
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  const uint64_t number = Number(slot);
  slot->legacy = legacy;
  slot->gpu = gpu;
  slot->slot = place;
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
  slot->gpu->Detach(slot->slot);
  return CUDA_SUCCESS;
}

CUresult Library::Health(Context& context) {
  // Nothing has happened since: asking costs more than most calls do.
  const uint32_t happened = machine_->Happenings();
  if (context.asked && context.asked_at == happened) return context.fault;
  context.asked = true;
  context.asked_at = happened;
  uint32_t xid = 0;
  const Rc rc = machine_->ContextFault(context.serial, &xid);
  if (rc == Rc::kNotFound) return context.fault = CUDA_ERROR_CONTEXT_IS_DESTROYED;
  if (rc != Rc::kOk) return ToCuda(rc);
  return context.fault = xid == 0 ? CUDA_SUCCESS : ErrorOfXid(xid);
}

CUresult Library::Charge(uint64_t serial, uint64_t bytes, bool counted) {
  return bytes == 0 ? CUDA_SUCCESS : ToCuda(machine_->Allocate(serial, bytes, counted));
}

void Library::Discharge(uint64_t serial, uint64_t bytes, bool counted) {
  // The machine may have taken it already.
  if (bytes > 0) machine_->Free(serial, bytes, counted);
}

CUresult Library::Holder(int device, uint64_t* serial) {
  Device& of = devices_[static_cast<size_t>(device)];
  if (of.holder == 0) {
    const Rc rc =
        machine_->CreateContext(of.target, KindOf(mps_server_), 0, AsMpsClient(of), &of.holder);
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
    case Rc::kMpsNoServer:
      return CUDA_ERROR_MPS_RPC_FAILURE;
    case Rc::kMpsNotReady:
      return CUDA_ERROR_MPS_SERVER_NOT_READY;
    case Rc::kMpsFull:
      return CUDA_ERROR_MPS_MAX_CLIENTS_REACHED;
    case Rc::kBroken:
      break;
  }
  return CUDA_ERROR_UNKNOWN;
}

CUresult ErrorOfXid(uint32_t xid) {
  switch (xid) {
    case kMpsServerDied:
      return CUDA_ERROR_MPS_RPC_FAILURE;
    case kMpsClientTerminated:
      return CUDA_ERROR_MPS_CLIENT_TERMINATED;
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
