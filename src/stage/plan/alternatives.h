#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "model/plan.h"

namespace tranche {

// Another way to place a workload than the plan chose: on GPUs of this model, by this mechanism.
struct Alternative {
  std::string gpu;  // catalog key, or the NVML name
  Mechanism mechanism = Mechanism::kExclusive;
  bool chosen = false;  // for at least one replica
  // Of the whole plan with all replicas of the workload placed so, everything else as cheap as can
  // be; absent when that does not fit or prices are not known.
  std::optional<double> cost_per_hour;
  std::optional<double> more_per_hour;  // than the plan
  std::string because;                  // why it lost, or that it was chosen; a sentence's end
};

// Every model of GPU that the plan was made on with every mechanism, the chosen first, then by
// cost. `plan_for` makes a plan as `plan` was made. kNotFound when the spec has no such workload.
Result<std::vector<Alternative>> AlternativesTo(
    const Plan& plan, const std::string& workload,
    const std::function<Result<Plan>(const Spec&)>& plan_for);

}  // namespace tranche
