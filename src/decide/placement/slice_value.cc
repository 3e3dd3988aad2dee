#include "decide/placement/slice_value.h"

#include <algorithm>
#include <utility>

namespace tranche::placement {
namespace {

std::vector<double> WithPrior(int slots, int compute, const std::vector<MigShape>& shapes,
                              std::vector<double> weights) {
  const std::vector<double> prior = PriorOf(slots, compute, shapes);
  for (size_t i = 0; i < weights.size(); ++i) weights[i] += prior[i];
  return weights;
}

}  // namespace

SliceValue::Distinct SliceValue::DistinctOf(const std::vector<MigShape>& profiles,
                                            const std::vector<double>& asked) {
  Distinct distinct;
  for (size_t p = 0; p < profiles.size(); ++p) {
    const auto found = std::find(distinct.shapes.begin(), distinct.shapes.end(), profiles[p]);
    const auto at = found - distinct.shapes.begin();
    if (found == distinct.shapes.end()) {
      distinct.shapes.push_back(profiles[p]);
      distinct.weights.push_back(0);
    }
    distinct.weights[static_cast<size_t>(at)] += asked[p];
    distinct.shape_of.push_back(static_cast<int>(at));
  }
  return distinct;
}

SliceValue::SliceValue(int slots, int compute, const std::vector<MigShape>& profiles,
                       const std::vector<double>& asked)
    : SliceValue(slots, compute, DistinctOf(profiles, asked)) {}

SliceValue::SliceValue(int slots, int compute, Distinct distinct)
    : shape_of_(std::move(distinct.shape_of)),
      valuation_(slots, compute, distinct.shapes,
                 WithPrior(slots, compute, distinct.shapes, std::move(distinct.weights))) {}

}  // namespace tranche::placement
