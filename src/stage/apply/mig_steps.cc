#include "stage/apply/mig_steps.h"

#include <fmt/format.h>

namespace tranche {
namespace {

Status CheckSlice(const Step& step) {
  if (step.slice && step.slice->placement && !step.slice->profile.empty()) return {};
  return Fail(ErrorCode::kInvalid, fmt::format("step {} names no MIG slice", step.id));
}

Result<const Gpu*> FindGpu(const Machine& machine, const std::string& uuid) {
  if (const Gpu* gpu = machine.FindGpu(uuid)) return gpu;
  return Fail(ErrorCode::kNotFound, fmt::format("GPU {} is not on this machine", uuid));
}

std::string DeviceUuid(const MigInstance& instance) {
  return instance.compute_instances.empty() ? "" : instance.compute_instances.front().uuid;
}

}  // namespace

Status MigSteps::SwitchMig(const std::string& gpu_uuid, bool enabled) {
  const Result<MigMode> mode = driver_.SetMigMode(gpu_uuid, enabled);
  if (!mode) return tl::unexpected(mode.error());
  if (mode->current == enabled) return {};
  const Result<Machine> machine = driver_.Read();
  const Gpu* gpu = machine ? machine->FindGpu(gpu_uuid) : nullptr;
  const int index = gpu != nullptr ? gpu->index : 0;
  return Fail(ErrorCode::kFailed,
              fmt::format("GPU {}: MIG mode turns {} only with a reset of the GPU", index,
                          enabled ? "on" : "off"),
              fmt::format("with nothing running on it: `nvidia-smi -i {0} -mig {1} && nvidia-smi "
                          "-i {0} --gpu-reset` (or reboot), then plan and apply again",
                          index, enabled ? 1 : 0));
}

Result<std::string> MigSteps::Do(const Step& step) {
  switch (step.kind) {
    case StepKind::kEnableMig:
    case StepKind::kDisableMig: {
      const bool enabled = step.kind == StepKind::kEnableMig;
      if (const Status done = SwitchMig(step.gpu_uuid, enabled); !done) {
        return tl::unexpected(done.error());
      }
      return std::string(enabled ? "MIG mode is on" : "MIG mode is off");
    }
    case StepKind::kCreateInstance: {
      if (const Status valid = CheckSlice(step); !valid) return tl::unexpected(valid.error());
      const Result<MigInstance> made =
          driver_.CreateInstance(step.gpu_uuid, step.slice->profile, *step.slice->placement);
      if (!made) return tl::unexpected(made.error());
      return DeviceUuid(*made);
    }
    case StepKind::kDestroyInstance: {
      if (const Status valid = CheckSlice(step); !valid) return tl::unexpected(valid.error());
      const Status gone = driver_.DestroyInstance(step.gpu_uuid, *step.slice->placement);
      if (!gone) return tl::unexpected(gone.error());
      return std::string();
    }
    default:
      return Fail(ErrorCode::kInvalid, fmt::format("step {} is not of the GPU", step.id));
  }
}

Result<bool> MigSteps::Holds(const Step& step) {
  const Result<Machine> machine = driver_.Read();
  if (!machine) return tl::unexpected(machine.error());
  const Result<const Gpu*> gpu = FindGpu(*machine, step.gpu_uuid);
  if (!gpu) return tl::unexpected(gpu.error());
  const bool mig = (*gpu)->mig_mode && (*gpu)->mig_mode->current;
  if (step.kind == StepKind::kEnableMig) return mig;
  if (step.kind == StepKind::kDisableMig) return !mig;
  if (const Status valid = CheckSlice(step); !valid) return tl::unexpected(valid.error());
  const MigInstance* instance = (*gpu)->FindInstance(*step.slice->placement);
  if (step.kind == StepKind::kDestroyInstance) return instance == nullptr;
  return instance != nullptr && instance->profile == step.slice->profile &&
         !instance->compute_instances.empty();
}

Status MigSteps::Undo(const Step& step, const std::string& made) {
  const Result<Machine> machine = driver_.Read();
  if (!machine) return tl::unexpected(machine.error());
  const Result<const Gpu*> gpu = FindGpu(*machine, step.gpu_uuid);
  if (!gpu) return tl::unexpected(gpu.error());
  switch (step.kind) {
    case StepKind::kEnableMig:
    case StepKind::kDisableMig: {
      const bool before = step.kind == StepKind::kDisableMig;
      const Reading<MigMode>& mode = (*gpu)->mig_mode;
      if (mode && mode->current == before && mode->pending == before) return {};
      return SwitchMig(step.gpu_uuid, before);
    }
    case StepKind::kCreateInstance: {
      if (const Status valid = CheckSlice(step); !valid) return valid;
      const MigInstance* instance = (*gpu)->FindInstance(*step.slice->placement);
      if (instance == nullptr || instance->profile != step.slice->profile) return {};
      const std::string device = DeviceUuid(*instance);
      if (!made.empty() && !device.empty() && device != made) return {};  // somebody else's
      return driver_.DestroyInstance(step.gpu_uuid, *step.slice->placement);
    }
    case StepKind::kDestroyInstance: {
      if (const Status valid = CheckSlice(step); !valid) return valid;
      const Result<std::string> device =
          Establish(step.gpu_uuid, step.slice->profile, *step.slice->placement);
      return device ? Status() : tl::unexpected(device.error());
    }
    default:
      return Fail(ErrorCode::kInvalid, fmt::format("step {} is not of the GPU", step.id));
  }
}

Result<std::string> MigSteps::Establish(const std::string& gpu_uuid, const std::string& profile,
                                        MigPlacement placement) {
  const Result<Machine> machine = driver_.Read();
  if (!machine) return tl::unexpected(machine.error());
  const Result<const Gpu*> gpu = FindGpu(*machine, gpu_uuid);
  if (!gpu) return tl::unexpected(gpu.error());
  // A reboot takes MIG mode from Hopper and newer, whatever it was before.
  if (!(*gpu)->mig_mode || !(*gpu)->mig_mode->current) {
    if (const Status on = SwitchMig(gpu_uuid, true); !on) return tl::unexpected(on.error());
  }
  if (const MigInstance* there = (*gpu)->FindInstance(placement)) {
    if (there->profile != profile) {
      return Fail(ErrorCode::kBusy,
                  fmt::format("gpu{} slot {}: a {} of somebody else is where our {} was",
                              (*gpu)->index, placement.start, there->profile, profile),
                  "destroy it, or plan again");
    }
    if (!there->compute_instances.empty()) return DeviceUuid(*there);
    // Half of it, as a destruction that was cut short leaves it.
    if (const Status gone = driver_.DestroyInstance(gpu_uuid, placement); !gone) {
      return tl::unexpected(gone.error());
    }
  }
  const Result<MigInstance> made = driver_.CreateInstance(gpu_uuid, profile, placement);
  if (!made) return tl::unexpected(made.error());
  return DeviceUuid(*made);
}

}  // namespace tranche
