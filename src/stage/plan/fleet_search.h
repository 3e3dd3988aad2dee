#pragma once

#include <vector>

#include "decide/fleet/problem.h"
#include "decide/fleet/solver.h"
#include "stage/plan/search.h"

namespace tranche::planning {

// The same question as Search, for so many items that trying them one by one would not end: as a
// linear program over whole GPUs (decide/fleet). Places as many items as it can: the choice of one
// that is left out has no bins. What goes together on a GPU is chosen by cost alone; on which GPU,
// also of another type that costs the same, and by which of their options, in Search's order:
// changes, what is taken, what is to set up, energy. Deterministic.
SearchAnswer SearchFleet(const SearchProblem& problem, const fleet::SolverLimits& limits = {});

// What no answer costs less than that leaves nothing out; 0 when that is not known. Knows of shared
// instances, which Search does not.
double FleetBound(const SearchProblem& problem);

// The same problem as decide/fleet sees it.
struct FleetView {
  // What a way of a class is: an option of that class for that type of bin.
  struct WayOf {
    int type = 0;
    int option = 0;
  };
  fleet::Problem problem;
  std::vector<std::vector<WayOf>> ways;  // of each class
};
FleetView FleetOf(const SearchProblem& problem);
// Money in a FleetView's prices.
constexpr double kFleetPriceUnits = 10000;

// More items than this are for SearchFleet.
constexpr size_t kMostForSearch = 96;

}  // namespace tranche::planning
