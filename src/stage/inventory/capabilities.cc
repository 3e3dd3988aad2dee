#include "stage/inventory/capabilities.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "model/mps_chunk.h"

namespace tranche {
namespace {

struct Verdict {
  bool available = false;
  std::string reason;
};

Verdict No(std::string reason) { return {false, std::move(reason)}; }
Verdict Yes(std::string reason) { return {true, std::move(reason)}; }

bool MigOn(const Gpu& gpu) { return gpu.mig_mode && gpu.mig_mode->current; }

// The driver may hide where instances can go from ordinary users.
bool PlacementsKnown(const Gpu& gpu) {
  return std::any_of(gpu.mig_profiles.begin(), gpu.mig_profiles.end(),
                     [](const MigProfile& profile) { return !profile.placements.empty(); });
}

// Whether a plan may be made does not depend on who asks; whether it can be applied does, so that
// is said.
std::string Needing(const std::string& what, const HostAbilities& host) {
  const bool may = host.administrator || host.mig_config.value_or(false);
  return may ? what : what + "; changing it needs root";
}

// Compute capability as a number, 7.5; absent when not known.
std::optional<double> CapabilityNumber(const Gpu& gpu) {
  if (!gpu.compute_capability) return std::nullopt;
  const std::string& text = *gpu.compute_capability;
  double number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || end == text.data()) return std::nullopt;
  return number;
}

Verdict JudgeExclusive(const Gpu& gpu, const HostAbilities& host) {
  if (gpu.compute_mode && *gpu.compute_mode == ComputeMode::kProhibited) {
    return No("compute mode is 'prohibited'");
  }
  if (!MigOn(gpu)) return Yes("the whole GPU, with no second tenant");
  return Yes(Needing("MIG mode must be switched off first", host));
}

Verdict JudgeMig(const Gpu& gpu, const CatalogGpu* known, const Machine& machine,
                 const HostAbilities& host) {
  if (!gpu.mig_mode) {
    if (known != nullptr && known->mig_capable && machine.driver_version &&
        !known->mig_min_driver.empty() &&
        !DriverAtLeast(*machine.driver_version, known->mig_min_driver)) {
      return No(fmt::format("needs driver {} or newer; this is {}", known->mig_min_driver,
                            *machine.driver_version));
    }
    if (known != nullptr && !known->mig_capable) return No("this GPU has no MIG");
    return No(gpu.mig_mode.reason());
  }
  if (gpu.virtualization && *gpu.virtualization == "vgpu_guest") {
    return No("MIG is set up on the host of this virtual machine, not in it");
  }
  if (gpu.mig_profiles.empty()) return No("the driver offers no MIG profiles");
  if (!PlacementsKnown(gpu)) {
    return No("the driver does not tell this user where instances can be placed: ask as root");
  }
  if (gpu.mig_mode->current) return Yes(Needing("MIG mode is on", host));
  if (gpu.mig_mode->pending) return Yes(Needing("MIG mode is on after the next GPU reset", host));
  return Yes(Needing("MIG mode must be switched on first", host));
}

Verdict JudgeMps(const Gpu& gpu, const HostAbilities& host) {
  const std::optional<double> capability = CapabilityNumber(gpu);
  if (capability && *capability < 7.0) {
    return No("MPS keeps clients apart from compute capability 7.0 on; this GPU has " +
              *gpu.compute_capability);
  }
  if (!host.no_mps.empty()) return No(host.no_mps);
  for (const MpsDaemon& daemon : gpu.mps_daemons) {
    if (daemon.ours) continue;
    return No(fmt::format("an MPS daemon that is not Tranche's serves it (pid {}{}{})", daemon.pid,
                          daemon.pipe_directory.empty() ? "" : ", ", daemon.pipe_directory));
  }
  if (gpu.compute_mode && *gpu.compute_mode == ComputeMode::kProhibited)
    return No("compute mode is 'prohibited'");
  if (MigOn(gpu)) return Yes(Needing("MIG mode must be switched off first", host));
  return Yes(
      "programs run at the same time through one server, and share each other's faults; a limiter "
      "in each "
      "process holds it to its memory and time");
}

// Why several processes cannot be on it, each for itself. What was set for MPS goes as MPS goes.
std::string KeepsOthersOut(const Gpu& gpu, const HostAbilities& host) {
  if (!gpu.compute_mode || *gpu.compute_mode == ComputeMode::kDefault) return "";
  if (*gpu.compute_mode == ComputeMode::kExclusiveProcess &&
      host.exclusive_for_mps.count(gpu.uuid) != 0)
    return "";
  return fmt::format("compute mode is '{}'; several processes need 'default'",
                     ComputeModeName(*gpu.compute_mode));
}

// Why a program that does not find its MPS server cannot be kept off the GPU.
std::string WhyMpsFailsOpen(const Gpu& gpu, const HostAbilities& host) {
  if (gpu.compute_mode && *gpu.compute_mode == ComputeMode::kExclusiveProcess) return "";
  if (!gpu.compute_mode) return "its compute mode cannot be read: " + gpu.compute_mode.reason();
  return host.administrator ? "" : "its compute mode is root's to set";
}

int PartitionSms(const Gpu& gpu, const HostAbilities& host) {
  constexpr int kFirstVersion = 13010;  // CUDA 13.1
  if (!gpu.compute_capability || host.mps_version.value_or(0) < kFirstVersion) return 0;
  return MpsChunkSms(*gpu.compute_capability);
}

Verdict JudgeTimeSlicing(const Gpu& gpu, const HostAbilities& host) {
  if (const std::string why = KeepsOthersOut(gpu, host); !why.empty()) return No(why);
  if (!MigOn(gpu)) return Yes("processes take turns; nothing limits their memory");
  return Yes(Needing("MIG mode must be switched off first", host));
}

bool KernelHoldsMemory(const Gpu& gpu, const HostAbilities& host) {
  const auto why_not = host.no_kernel_memory.find(gpu.uuid);
  return why_not != host.no_kernel_memory.end() && why_not->second.empty();
}

Verdict JudgeFraction(const Gpu& gpu, const HostAbilities& host) {
  if (const std::string why = KeepsOthersOut(gpu, host); !why.empty()) return No(why);
  if (!MigOn(gpu) && KernelHoldsMemory(gpu, host)) {
    return Yes(
        "a limiter in each process holds it to its memory and time, and the kernel to all of its "
        "memory but what is managed");
  }
  if (!MigOn(gpu)) return Yes("a limiter in each process holds it to its memory and time");
  return Yes(Needing("MIG mode must be switched off first", host));
}

Verdict JudgeVgpu(const Gpu& gpu) {
  if (gpu.vgpu && !gpu.vgpu->offers.empty()) {
    return Yes("virtual GPUs for virtual machines, by NVIDIA's host driver; each needs a licence");
  }
  if (gpu.virtualization && *gpu.virtualization == "vgpu_host")
    return No("the kernel's files of this host driver show no virtual GPUs for it");
  return No("needs NVIDIA's vGPU host driver and licence; this driver is another");
}

Verdict Judge(Mechanism mechanism, const Gpu& gpu, const CatalogGpu* known, const Machine& machine,
              const HostAbilities& host) {
  if (!gpu.health.usable) {
    return No("the GPU is not usable" +
              (gpu.health.problems.empty() ? "" : ": " + gpu.health.problems.front()));
  }
  switch (mechanism) {
    case Mechanism::kExclusive:
      return JudgeExclusive(gpu, host);
    case Mechanism::kMig:
      return JudgeMig(gpu, known, machine, host);
    case Mechanism::kMps:
      return JudgeMps(gpu, host);
    case Mechanism::kTimeSlicing:
      return JudgeTimeSlicing(gpu, host);
    case Mechanism::kFraction:
      return JudgeFraction(gpu, host);
    case Mechanism::kVgpu:
      return JudgeVgpu(gpu);
  }
  return No("");
}

}  // namespace

bool DriverAtLeast(const std::string& have, const std::string& need) {
  const char* a = have.data();
  const char* b = need.data();
  const char* a_end = a + have.size();
  const char* b_end = b + need.size();
  while (b < b_end) {
    int64_t has = 0;
    int64_t needs = 0;
    const auto read_a = std::from_chars(a, a_end, has);
    const auto read_b = std::from_chars(b, b_end, needs);
    if (read_b.ec != std::errc()) return true;
    if (has != needs) return has > needs;
    a = read_a.ptr < a_end ? read_a.ptr + 1 : a_end;
    b = read_b.ptr < b_end ? read_b.ptr + 1 : b_end;
  }
  return true;
}

std::vector<Capability> JudgeCapabilities(const Machine& machine, const Catalog& catalog,
                                          const HostAbilities& host) {
  const bool own_nodes_only = host.administrator && host.device_nodes;
  std::vector<Capability> capabilities;
  for (const Gpu& gpu : machine.gpus) {
    const CatalogGpu* known = catalog.IdentifyGpu(gpu.name, gpu.pci_device_id);
    for (const Mechanism mechanism : kAllMechanisms) {
      Verdict verdict = Judge(mechanism, gpu, known, machine, host);
      Capability capability;
      capability.gpu_uuid = gpu.uuid;
      capability.mechanism = mechanism;
      capability.available = verdict.available;
      capability.reason = std::move(verdict.reason);
      if (verdict.available) {
        capability.guarantees = catalog.FindMechanism(mechanism).floor;
        if (own_nodes_only) capability.guarantees.access = Guarantee::kKernel;
        const bool limited = mechanism == Mechanism::kFraction || mechanism == Mechanism::kMps;
        if (limited && KernelHoldsMemory(gpu, host))
          capability.guarantees.memory = Guarantee::kKernel;
        if (mechanism == Mechanism::kMps) {
          capability.fails_open = WhyMpsFailsOpen(gpu, host);
          capability.partition_sms = PartitionSms(gpu, host);
        }
      }
      capabilities.push_back(std::move(capability));
    }
  }
  return capabilities;
}

}  // namespace tranche
