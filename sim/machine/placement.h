#pragma once

#include <cstdint>
#include <vector>

#include "sim/machine/spec.h"

// Where the driver puts GPU and compute instances. The simulator's own reading of the recorded
// behaviour; it shares nothing with the planner's geometry, so that the two cannot be wrong
// together. Pure.
namespace tranche::sim {

// What stands on a GPU already, as the placement rules see it.
struct Placed {
  uint32_t profile_id = 0;
  uint32_t start = 0;
  uint32_t size = 0;
};

// The starts at which one more instance of the profile can be put, in rising order. Empty when its
// number or the engines that it would need are used up.
std::vector<uint32_t> FreeStarts(const GpuSpec& gpu, const std::vector<Placed>& placed,
                                 const GiProfileSpec& profile);

// The start that the driver picks on its own: the one after which most (profile, placement) pairs
// stay possible; the lowest of those that tie. -1 when nothing is free.
int PickStart(const GpuSpec& gpu, const std::vector<Placed>& placed, const GiProfileSpec& profile);

// How many more instances of the profile could be created now.
uint32_t RemainingCapacity(const GpuSpec& gpu, const std::vector<Placed>& placed,
                           const GiProfileSpec& profile);

// The instance id of a placement: 0 for the whole GPU, 1-2 halves, 3-6 quarters, 7-14 eighths; on
// mirrored boards that of the placement's mirror image.
uint32_t GpuInstanceId(const GpuSpec& gpu, uint32_t start, uint32_t size);

// The same three for the compute instances of one GPU instance.
std::vector<uint32_t> FreeStarts(const GiProfileSpec& gi, const std::vector<Placed>& placed,
                                 const CiProfileSpec& profile);
int PickStart(const GiProfileSpec& gi, const std::vector<Placed>& placed,
              const CiProfileSpec& profile);
uint32_t RemainingCapacity(const GiProfileSpec& gi, const std::vector<Placed>& placed,
                           const CiProfileSpec& profile);

}  // namespace tranche::sim
