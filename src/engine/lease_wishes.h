#pragma once

#include <deque>
#include <map>
#include <vector>

#include "decide/placement/share_value.h"
#include "model/lease.h"

namespace tranche {

// What leases were asked for lately, and by that, which GPU suits the next one best: the policy of
// `tranche simulate`, for parts of a GPU in memory and time. Not thread-safe.
class LeaseWishes {
 public:
  // Granted or not.
  void Add(const LeaseRequest& request);

  // How good it would be on a GPU of so much memory, of which that much memory and time are free:
  // the more points, the better; of equals, the GPU that is fullest. `leases` are those that run,
  // which after a restart are all that is known.
  int PointsOn(Bytes usable, Bytes free, double time_free, const LeaseRequest& request,
               const std::vector<Lease>& leases) const;

 private:
  static constexpr size_t kMost = 512;
  std::deque<LeaseRequest> lately_;
};

}  // namespace tranche
