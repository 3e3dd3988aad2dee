#pragma once

#include <vector>

#include "catalog/catalog.h"
#include "model/deployment.h"
#include "model/spec.h"
#include "stage/plan/candidates.h"

namespace tranche::planning {

// Fills in what workloads leave to their traffic: how many replicas, how many sequences at once in
// each, which share of a GPU's time. Of all workloads together the cheapest that keeps every SLO,
// as far as that is predicted, on the GPUs at hand; what no GPU bears gets the least that could, so
// that the plan says why it does not fit. Everything else of the spec stays as it is.
void ChooseByTraffic(const std::vector<GpuView>& views, const Deployment& deployment,
                     const Catalog& catalog, const SpeedSource& source, Spec* spec);

}  // namespace tranche::planning
