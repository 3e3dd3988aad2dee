#pragma once

#include <memory>
#include <string>
#include <vector>

#include "catalog/catalog.h"
#include "decide/sizing/sizing.h"
#include "model/spec.h"
#include "stage/plan/speed.h"

namespace tranche::planning {

// What one replica needs, wherever it goes.
struct ReplicaNeed {
  const Workload* workload = nullptr;   // of the spec that is planned
  const CatalogModel* model = nullptr;  // nullptr: none, or one the catalog does not know
  int replica = 0;
  std::string digest;
  // With the smallest tuning of its engine, over all of its GPUs. A slice that holds this will do.
  Bytes least;
  // What a slice without walls of hardware keeps for it: the most that it may hold, unless what is
  // above its request is only lent to it.
  Bytes reserved;
  // Says nothing of its memory: only a whole GPU can be meant.
  bool whole_gpu = false;
  // Likewise, but names the MIG profile that it wants: all of such a slice is meant.
  bool whole_slice = false;
  double compute = 0;  // of one GPU's SMs; 0 = not asked
  // With an SLO and all that a prediction needs: how fast it is, and how many requests come to it.
  std::shared_ptr<const Speed> speed;
  double per_second = 0;
  // Larger slices than the least that will do are of interest too.
  bool every_slice = false;

  Bytes least_per_gpu() const;
  std::string name() const;  // "phi/0"
};

// One per replica, in the order of the spec.
std::vector<ReplicaNeed> NeedsOf(const Spec& spec, const Catalog& catalog,
                                 const SpeedSource& source);
ReplicaNeed NeedOf(const Workload& workload, int replica, const Catalog& catalog,
                   const SpeedSource& source);

// What the replica needs of `slice` (of one GPU, times its GPUs) once its engine is told to use it.
Bytes NeededIn(const ReplicaNeed& need, Bytes slice);
// How that number came about, a sentence. Empty when the spec states it.
std::string WhyNeeded(const ReplicaNeed& need, Bytes slice);

}  // namespace tranche::planning
