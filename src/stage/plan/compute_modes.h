#pragma once

#include <string>

#include "stage/plan/layout.h"

namespace tranche::planning {

// MPS fails open: a program that does not find its server runs beside it, without its limits. Under
// the compute mode exclusive_process the driver refuses it, as the server is the one process there.

// What a layout makes of one GPU's compute mode.
struct MpsAccess {
  bool shared = false;     // tenants of the layout share it, or an instance of it, through MPS
  bool exclusive = false;  // nobody but their server is to be let in
  std::string fails_open;  // why not; "" unless shared and not exclusive
};
MpsAccess MpsAccessOn(size_t gpu, const NodeLayout& layout, const GpuView& view);

// Whether the deployed tenants of its MPS server seem to have static partitions: each holds whole
// chunks of its SMs.
bool WasPartitioned(const GpuView& view, const Deployment& deployment);

// What the mode was before Tranche first set it.
ComputeMode ComputeModeBefore(const Deployment& deployment, const std::string& gpu_uuid);

}  // namespace tranche::planning
