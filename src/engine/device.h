#pragma once

#include <string>
#include <vector>

#include "edge/driver/driver.h"
#include "edge/runtime/runtime.h"
#include "model/deployment.h"
#include "model/machine.h"

namespace tranche {

// The device behind a slice, as it is on the machine now.
struct SliceDevice {
  std::string uuid;  // for CUDA_VISIBLE_DEVICES: MIG-..., or GPU-... (several: with commas)
  int gpu_index = 0;
  std::vector<DeviceGrant> grants;  // empty where the minor number of the GPU is not known
};

// kNotFound, saying what is missing, when the slice is not there (any more).
Result<SliceDevice> FindDevice(const Machine& machine, const Slice& slice);

// What the slice's memory holds, where that can be told.
Reading<Bytes> MemoryUsed(const Machine& machine, const Slice& slice);

// Whether an event speaks of this slice. An event that names no instance speaks of the whole GPU.
bool Concerns(const DriverEvent& event, const Machine& machine, const Slice& slice);

// Instances that we made and that are not on the machine any more (a reset, a reboot, somebody's
// hand).
std::vector<OwnedInstance> MissingInstances(const Deployment& deployment, const Machine& machine);

// "gpu0 2g.20gb@0"
std::string InstanceText(const Machine& machine, const std::string& gpu_uuid,
                         const std::string& profile, MigPlacement placement);

}  // namespace tranche
