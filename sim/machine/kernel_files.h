#pragma once

#include <string>

#include "sim/machine/spec.h"
#include "sim/machine/state.h"

// What the kernel and its driver show of a machine in /proc, /sys and /dev, as files below
// DIR/root, for those who see them in place of their own (`tranche-sim exec --root`). They follow
// the machine: whoever changes it writes them anew, under the machine's lock.
namespace tranche::sim {

// Major numbers of the nodes. The first is NVIDIA's own; the others the kernel gives out.
inline constexpr uint32_t kNvidiaMajor = 195, kCapabilitiesMajor = 235, kUvmMajor = 508;

// The minor number of a capability in /dev/nvidia-caps: of a GPU instance, or with `ci` of one of
// its compute instances. By ids; the first GPU's instance 0 has 3.
uint32_t CapabilityMinor(uint32_t gpu_minor, uint32_t gi, uint32_t ci = kNoId);

// The address of a GPU as sysfs writes it: "0000:18:00.0".
std::string PciAddress(const GpuSpec& gpu);

// Everything, where there is a folder DIR/root. What cannot be written stays as it was: the files
// show the machine and are not it.
void WriteKernelFiles(const std::string& dir, const MachineSpec& spec, const MachineState& state);
// Whether the two differ in what those files say.
bool KernelFilesDiffer(const MachineSpec& spec, const MachineState& a, const MachineState& b);

}  // namespace tranche::sim
