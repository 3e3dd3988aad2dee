#include "engine/vgpu_steps.h"

#include <fmt/format.h>

namespace tranche {
namespace {

tl::unexpected<Error> NoHost() {
  return Fail(ErrorCode::kUnsupported, "this machine has no vGPU host driver");
}

}  // namespace

Result<std::string> VgpuSteps::AddressOf(const std::string& gpu_uuid) {
  if (host_ == nullptr) return NoHost();
  const Result<Machine> machine = driver_.Read();
  if (!machine) return tl::unexpected(machine.error());
  const Gpu* gpu = machine->FindGpu(gpu_uuid);
  if (gpu == nullptr)
    return Fail(ErrorCode::kNotFound, fmt::format("GPU {} is not on this machine", gpu_uuid));
  return gpu->pci_bus_id;
}

Result<bool> VgpuSteps::IsInPlace(const KnownVgpu& vgpu, const Slice& slice) {
  if (!slice.placement || !vgpu.device.gpu_instance) return true;
  const Result<Machine> machine = driver_.Read();
  if (!machine) return tl::unexpected(machine.error());
  const Gpu* gpu = machine->FindGpu(slice.gpu_uuid);
  const MigInstance* planned = gpu != nullptr ? gpu->FindInstance(*slice.placement) : nullptr;
  return planned != nullptr && planned->id == *vgpu.device.gpu_instance;
}

// Which instance of its size with room one gets is the driver's to choose. Those that it puts
// elsewhere hold what they have until one is where it is to be.
Result<KnownVgpu> VgpuSteps::MakeInPlace(const std::string& address, const std::string& workload,
                                         int replica, const Slice& slice) {
  std::optional<Error> misplaced;
  while (true) {
    const auto made = book_->CreateFor(address, slice.vgpu_type, workload, replica);
    if (!made) return tl::unexpected(misplaced.value_or(made.error()));
    const auto in_place = IsInPlace(*made, slice);
    if (!in_place) return tl::unexpected(in_place.error());
    if (*in_place) return *made;
    misplaced = Error{
        ErrorCode::kFailed,
        fmt::format("the driver put {} into GPU instance {}, not into {} at {}", made->device.id,
                    *made->device.gpu_instance, slice.profile, SlotsText(*slice.placement)),
        "another instance of that size is free: give it a tenant, or take it away"};
    if (const Status held = book_->HoldPlace(workload, replica); !held)
      return tl::unexpected(held.error());
  }
}

Result<std::string> VgpuSteps::Create(const std::string& workload, int replica,
                                      const Slice& slice) {
  const auto address = AddressOf(slice.gpu_uuid);
  if (!address) return tl::unexpected(address.error());
  // What a crash left of an earlier attempt.
  if (const Status free = book_->ReleasePlaces(workload, replica); !free)
    return tl::unexpected(free.error());
  const auto made = MakeInPlace(*address, workload, replica, slice);
  if (!made) {
    (void)book_->DestroyFor(workload, replica);
    return tl::unexpected(made.error());
  }
  if (const Status free = book_->ReleasePlaces(workload, replica); !free)
    return tl::unexpected(free.error());
  return fmt::format("{}; for libvirt: tranche vgpu xml {}", made->device.id, made->device.id);
}

Status VgpuSteps::SetHost(const std::string& gpu_uuid, const VgpuHostState& state) {
  const auto address = AddressOf(gpu_uuid);
  if (!address) return tl::unexpected(address.error());
  // Without functions there is nothing that the rest could hold for.
  if (!state.functions) return host_->DisableFunctions(*address);
  if (const Status made = host_->EnableFunctions(*address); !made) return made;
  const auto mixed = host_->Mixed(*address);
  const bool as_is = mixed ? *mixed == state.mixed : !state.mixed;
  if (!as_is) {
    if (const Status set = host_->SetMixed(*address, state.mixed); !set) return set;
  }
  if (!state.scheduler) return {};
  const auto scheduler = host_->Scheduler(*address);
  if (scheduler && *scheduler == *state.scheduler) return {};
  return host_->SetScheduler(*address, *state.scheduler);
}

Result<bool> VgpuSteps::HostIs(const std::string& gpu_uuid, const VgpuHostState& state) {
  const auto address = AddressOf(gpu_uuid);
  if (!address) return tl::unexpected(address.error());
  const auto gpu = host_->Read(*address);
  if (!gpu) return tl::unexpected(gpu.error());
  // A GPU whose mediated devices are its own has itself for a function, for good.
  const bool own = !gpu->functions.empty() && gpu->functions.front().address == gpu->address;
  if (own && !state.functions) return true;
  if (gpu->functions.empty() == state.functions) return false;
  if (!state.functions) return true;
  const auto mixed = host_->Mixed(*address);
  if (mixed ? *mixed != state.mixed : state.mixed) return false;
  if (!state.scheduler) return true;
  const auto scheduler = host_->Scheduler(*address);
  if (!scheduler) return tl::unexpected(scheduler.error());
  return *scheduler == *state.scheduler;
}

Result<std::string> VgpuSteps::Do(const Step& step) {
  if (host_ == nullptr) return NoHost();
  switch (step.kind) {
    case StepKind::kCreateVgpu:
      return Create(step.workload, step.replica, *step.slice);
    case StepKind::kDestroyVgpu: {
      if (const Status gone = book_->DestroyFor(step.workload, step.replica); !gone)
        return tl::unexpected(gone.error());
      return std::string();
    }
    default: {
      if (const Status set = SetHost(step.gpu_uuid, *step.vgpu_host); !set)
        return tl::unexpected(set.error());
      return std::string("virtual functions, sizes and turns are as wanted");
    }
  }
}

Result<bool> VgpuSteps::Holds(const Step& step) {
  if (host_ == nullptr) return NoHost();
  switch (step.kind) {
    case StepKind::kCreateVgpu: {
      const auto there = book_->FindFor(step.workload, step.replica);
      return there && ShortVgpuName(there->device.type.name) == step.slice->vgpu_type &&
             !book_->HoldsPlaces(step.workload, step.replica) &&
             IsInPlace(*there, *step.slice).value_or(false);
    }
    case StepKind::kDestroyVgpu:
      return !book_->FindFor(step.workload, step.replica);
    default:
      return HostIs(step.gpu_uuid, *step.vgpu_host);
  }
}

Status VgpuSteps::Undo(const Step& step) {
  if (host_ == nullptr) return NoHost();
  switch (step.kind) {
    case StepKind::kCreateVgpu:
      return book_->DestroyFor(step.workload, step.replica);
    case StepKind::kDestroyVgpu: {
      if (book_->FindFor(step.workload, step.replica)) return {};
      const auto again = Create(step.workload, step.replica, *step.slice);
      return again ? Status() : tl::unexpected(again.error());
    }
    default: {
      const Result<bool> before = HostIs(step.gpu_uuid, *step.vgpu_host_before);
      if (before && *before) return {};
      return SetHost(step.gpu_uuid, *step.vgpu_host_before);
    }
  }
}

}  // namespace tranche
