#pragma once

#include "model/spec.h"
#include "stage/request/values.h"

namespace tranche {

// What a tier gives its workloads where they do not say. `node` is the workload's.
void FillInFromTier(const YamlNode& node, const Spec& spec, const Catalog& catalog,
                    Workload* workload);

// The rules of tiers, of their workloads, and of maintenance windows.
void CheckTiers(ReadContext& context, const YamlNode& root, const Spec& spec);

}  // namespace tranche
