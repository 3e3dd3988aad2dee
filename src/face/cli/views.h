#pragma once

#include <string>
#include <vector>

#include "face/cli/render/answer.h"
#include "model/deployment.h"
#include "model/machine.h"
#include "model/plan.h"
#include "model/receipt.h"
#include "model/status.h"
#include "model/tier_capacity.h"
#include "stage/plan/alternatives.h"

namespace tranche {

// How each document looks to people. Pure; one file per document.

// `deployment`: to tell ours from others'; nullptr when nobody can say.
Answer ViewMachine(const Machine& machine, const Deployment* deployment, bool wide);
// `explain`: with every reason. `terminal` paints the symbols.
Answer ViewPlan(const Plan& plan, bool explain, const Terminal& terminal);
// One workload of the plan, with what else it could be on.
Answer ViewAlternatives(const Plan& plan, const std::string& workload,
                        const std::vector<Alternative>& alternatives, const Terminal& terminal);
Answer ViewStatus(const SystemStatus& status, Time now);
// How many workloads each tier holds.
Table TierTable(const std::vector<TierCapacity>& tiers);
std::string TierNotes(const std::vector<TierCapacity>& tiers);
// What applying did, and where the routes are.
Answer ViewReceipt(const Receipt& receipt, const SystemStatus* status, const Terminal& terminal);

// "gpu0 2g.20gb@0", "gpu1 (exclusive)".
std::string SliceName(const Slice& slice, int gpu_index);
// "hardware", or the axes where they differ: "mem cooperative, sm none, fault none".
std::string GuaranteesText(const Guarantees& guarantees);
// "Plan: 3 to create, 1 to keep, 0 to change, 0 to destroy. Cost 2.40 USD per hour."
std::string PlanTotals(const Plan& plan);
// "  + workload phi/0    why", without a newline.
std::string StepLine(const Step& step, size_t target_width, const Terminal& terminal);
// "3 healthy, 1 starting".
std::string ReplicaCounts(const SystemStatus& status);

}  // namespace tranche
