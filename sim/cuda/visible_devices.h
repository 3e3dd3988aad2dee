#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "sim/machine/machine.h"

// Which devices a process gets, and in which order. Pure.
namespace tranche::sim::cuda {

// By CUDA_VISIBLE_DEVICES (absent when it is not set), a list of
//   an index          of a GPU, in NVML's order
//   GPU-...           a UUID, or enough of its beginning to be the only one
//   MIG-...           likewise, of a MIG device; the older MIG-GPU-<uuid>/<gi>/<ci>, too
// which ends before the first entry that names nothing, or something for the second time.
//
// A process gets either GPUs or one MIG device: the first compute instance in the list (without a
// list: on the machine) is alone what is seen. A GPU whose MIG mode is on stands for its first
// compute instance. GPUs that are lost or may not be opened are not seen.
std::vector<Target> VisibleDevices(const MachineSpec& spec, const MachineState& state,
                                   const std::optional<std::string>& list);

}  // namespace tranche::sim::cuda
