#pragma once

#include <map>
#include <string>

#include "catalog/catalog.h"
#include "model/deployment.h"
#include "model/machine.h"
#include "model/plan.h"
#include "model/spec.h"

namespace tranche {

struct PlanOptions {
  // May destroy instances that Tranche did not make, where they are in the way and not busy.
  bool adopt = false;
  // Of the time of each GPU, by UUID, what programs outside any spec have been promised (leases).
  std::map<std::string, double> compute_promised = {};
};

// Fits every replica of `spec` onto `machine`, changing as little of what runs (`deployment`) as it
// can. Pure: the same inputs give the same plan, byte for byte. Always succeeds; what does not fit
// is in `unplaced` with the reason and the nearest thing that would fit, and then `steps` is empty.
Plan MakePlan(const Machine& machine, const Spec& spec, const Deployment& deployment,
              const Catalog& catalog, const PlanOptions& options);

// The plan that takes everything down again: stops all replicas, destroys what Tranche made, and
// goes back to the baselines.
Plan MakeDownPlan(const Machine& machine, const Deployment& deployment, const Catalog& catalog);

}  // namespace tranche
