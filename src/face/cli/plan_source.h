#pragma once

#include <optional>
#include <string>

#include "base/result.h"
#include "catalog/catalog.h"
#include "face/cli/context.h"
#include "model/machine.h"
#include "model/plan.h"
#include "model/spec.h"

namespace tranche {

struct PlanSource {
  Plan plan;
  std::optional<Machine> machine;  // that it is for, where it is at hand
  std::string note = {};           // what its reader should know of it; "" for nothing
};

// A plan on the saved machine, else on the spec's own fleet, else on the daemon's machine, else on
// this machine as its driver shows it.
// `coefficients`: a file; "" = as configured where the plan is made.
Result<PlanSource> MakePlanFor(Context& context, const Catalog& catalog, const Spec& spec,
                               const std::string& machine_file, bool adopt,
                               const std::string& coefficients = "");

// The daemon's machine, else this one as its driver shows it.
Result<Machine> MachineAtHand(Context& context, const Catalog& catalog);

}  // namespace tranche
