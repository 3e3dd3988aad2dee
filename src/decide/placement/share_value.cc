#include "decide/placement/share_value.h"

#include <algorithm>
#include <cmath>

namespace tranche::placement {
namespace {

// CPU and memory play no part.
const NodeShape kOneGpu{0, 0, 1, 0};

std::vector<WeightedRequest> MixOf(const std::vector<ShareWeight>& shares) {
  std::vector<WeightedRequest> mix;
  for (const auto& [milli, weight] : shares) {
    if (milli > 0 && milli <= kGpuMilli) mix.push_back({{0, 0, 1, milli, kAnyModel}, weight});
  }
  return mix;
}

}  // namespace

ShareValue::ShareValue(const std::vector<ShareWeight>& shares) {
  const Valuation valuation({kOneGpu}, {1}, MixOf(shares));
  Node node;
  node.gpus = 1;
  for (size_t i = 0; i < worth_.size(); ++i) {
    node.gpu_free[0] = static_cast<int16_t>(10 * i);
    worth_[i] = valuation.Of(node).value;
  }
}

float ShareValue::WorthOf(int free_milli) const {
  return worth_[static_cast<size_t>(std::clamp(free_milli, 0, kGpuMilli) / 10)];
}

float ShareValue::GainOf(int placed, int before, int after) const {
  return static_cast<float>(placed) + WorthOf(after) - WorthOf(before);
}

int ShareValue::PointsOf(int placed, int before, int after) const {
  return static_cast<int>(std::floor(GainOf(placed, before, after) / 100 + 0.5f));
}

}  // namespace tranche::placement
