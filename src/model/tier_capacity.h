#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/json_fwd.h"
#include "base/result.h"

namespace tranche {

// What one tier holds, counted as tenants see it: effective slices, not GPUs.
struct TierCapacity {
  std::string tier;
  std::vector<std::string> gpu_uuids;  // by index
  std::optional<int> slices;           // absent: nothing says how many may share a GPU
  int used = 0;                        // replicas placed there
  std::string how;                     // "8 GPUs, 4g.40gb on each"
  std::vector<std::string> notes;      // what is not guaranteed, what would hold more; sentences

  bool operator==(const TierCapacity&) const = default;
};

Json ToJson(const TierCapacity& capacity);
Result<TierCapacity> TierCapacityFromJson(const Json& json);

}  // namespace tranche
