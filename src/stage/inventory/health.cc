#include "stage/inventory/health.h"

#include <fmt/format.h>

namespace tranche {
namespace {

struct Recovery {
  const char* action;
  const char* sentence;
  bool usable;  // may something be put on the GPU before that was done
};

constexpr Recovery kRecoveries[] = {
    {"gpu_reset",
     "the driver asks for a reset of this GPU: stop what runs on it, then 'nvidia-smi --gpu-reset'",
     false},
    {"node_reboot", "the driver asks for a reboot of this machine", false},
    {"drain_and_reset",
     "the driver asks to let running work end and then to reset this GPU with 'nvidia-smi "
     "--gpu-reset'",
     false},
    {"drain_p2p", "the driver asks to stop work that spans several GPUs", true},
    {"recover_imex_domain", "the driver asks to recover the IMEX domain of this GPU", true},
};

}  // namespace

void JudgeHealth(Gpu* gpu) {
  GpuHealth& health = gpu->health;
  const auto problem = [&health](std::string text) { health.problems.push_back(std::move(text)); };
  if (health.recovery_action) {
    for (const Recovery& recovery : kRecoveries) {
      if (*health.recovery_action != recovery.action) continue;
      problem(recovery.sentence);
      health.usable = health.usable && recovery.usable;
    }
  }
  if (health.remapped_rows && health.remapped_rows->pending) {
    problem("a faulty row of its memory waits to be replaced: reset the GPU when it is idle");
  }
  if (health.remapped_rows && health.remapped_rows->failed) {
    problem("faulty rows of its memory can no longer be replaced: have the GPU exchanged");
  }
  if (health.uncorrectable_ecc_errors && *health.uncorrectable_ecc_errors > 0) {
    problem(fmt::format("{} uncorrectable memory errors since the driver was loaded",
                        *health.uncorrectable_ecc_errors));
  }
  if (gpu->mig_mode && gpu->mig_mode->current != gpu->mig_mode->pending) {
    problem(fmt::format("MIG mode will be switched {} by the next reset of this GPU",
                        gpu->mig_mode->pending ? "on" : "off"));
  }
  if (gpu->compute_mode && *gpu->compute_mode == ComputeMode::kProhibited) {
    problem("its compute mode is 'prohibited', so nothing can run on it: 'nvidia-smi -c DEFAULT'");
  }
}

}  // namespace tranche
