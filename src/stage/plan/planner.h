#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>

#include "catalog/catalog.h"
#include "catalog/performance.h"
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
  // Profiles of MIG that were asked for before, and how often: what will be asked for again, beside
  // what the spec asks for. Decides between places that are as good otherwise.
  std::map<std::string, double> slices_seen = {};
  // How long a plan of very many replicas is improved, in steps (fleet::SolverLimits), so that it
  // does not depend on how fast the machine is. The default is for about a second.
  int64_t fleet_steps = 30000;
  // What speeds are predicted with, and the file that it is from, for reasons; absent and "": the
  // built-in coefficients.
  std::shared_ptr<const PerformanceCoefficients> coefficients = {};
  std::string coefficients_from = {};
};

// Fits every replica of `spec` onto `machine`, changing as little of what runs (`deployment`) as it
// can. Pure: the same inputs give the same plan, byte for byte. Always succeeds; what does not fit
// is in `unplaced` with the reason and the nearest thing that would fit, and then `steps` is empty.
Plan MakePlan(const Machine& machine, const Spec& spec, const Deployment& deployment,
              const Catalog& catalog, const PlanOptions& options);

// How many workloads each tier of the spec holds, in its order; `used` is left at 0.
std::vector<TierCapacity> TierCapacities(const Machine& machine, const Spec& spec,
                                         const Deployment& deployment, const Catalog& catalog);

// What tenants that take turns on a GPU have to do without, in one sentence.
std::string NotGuaranteedByTurns(bool memory_capped);

// The plan that takes everything down again: stops all replicas, destroys what Tranche made, and
// goes back to the baselines.
Plan MakeDownPlan(const Machine& machine, const Deployment& deployment, const Catalog& catalog);

}  // namespace tranche
