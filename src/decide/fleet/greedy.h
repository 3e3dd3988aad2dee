#pragma once

#include "decide/fleet/problem.h"

namespace tranche::fleet {

// First fit, decreasing: the largest item first, each on the first GPU in use that it fits on, else
// on a new one of the kind of which it takes the cheapest part. Its lower bound is 0. Milliseconds
// for thousands of items; what the better answer is measured against.
Answer FirstFitDecreasing(const Problem& problem);

// The price of the part of a GPU that an item takes by a way: of an instance, the GPU's price
// divided by how many such fit on it.
double PriceOfPart(const GpuKind& kind, const Way& way);

}  // namespace tranche::fleet
