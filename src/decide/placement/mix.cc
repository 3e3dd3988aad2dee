#include "decide/placement/mix.h"

#include <algorithm>
#include <cmath>

namespace tranche::placement {
namespace {

constexpr int64_t kSeldomest = 4096;  // between two Takes, at most

}  // namespace

void Mix::Add(const TaskClass& task) {
  const size_t id = static_cast<size_t>(task.id);
  if (place_.size() <= id) place_.resize(id + 1, -1);
  if (place_[id] < 0) {
    place_[id] = static_cast<int>(seen_.size());
    seen_.push_back({task.request});
  }
  seen_[static_cast<size_t>(place_[id])].recent += 1;
  ++arrivals_;
  ++since_;
}

void Mix::Know(const std::vector<WeightedRequest>& mix) {
  for (const auto& [request, weight] : mix) seen_.push_back({request, weight, 0});
}

std::vector<WeightedRequest> Mix::Take() {
  const double fade = std::exp2(-static_cast<double>(since_) / options_.half_life);
  const double slow = std::exp2(-static_cast<double>(since_) / options_.long_half_life);
  std::vector<WeightedRequest> mix;
  mix.reserve(seen_.size());
  for (Seen& seen : seen_) {
    seen.weight = seen.weight * (seen.request.gpus > 1 ? slow : fade) + seen.recent;
    seen.recent = 0;
    if (seen.weight > 1e-3) mix.push_back({seen.request, seen.weight});
  }
  since_ = 0;
  next_ = std::clamp<int64_t>(arrivals_, 8, kSeldomest);
  return mix;
}

}  // namespace tranche::placement
