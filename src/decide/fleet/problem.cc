#include "decide/fleet/problem.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <numeric>

namespace tranche::fleet {
namespace {

// What is wrong with one GPU's contents, or "".
std::string WrongWithin(const Problem& problem, const Used& used) {
  const GpuKind& kind = problem.kinds[static_cast<size_t>(used.kind)];
  std::vector<int64_t> of_shape;
  if (used.layout >= 0) {
    for (const int n : kind.layouts[static_cast<size_t>(used.layout)]) of_shape.push_back(n);
  }
  Share left = kind.whole();
  int64_t items = 0;
  int circle = -1;
  struct Instance {
    int shape;
    int circle;
    Share left;
  };
  std::map<int, Instance> instances;  // that are shared
  for (const Used::Content& content : used.contents) {
    const ItemClass& item = problem.classes[static_cast<size_t>(content.item_class)];
    const Way& way = item.ways[static_cast<size_t>(content.way)];
    items += content.count;
    if (content.count < 1) return "contents of none";
    if (way.kind != used.kind) return "an item on a kind that its way does not name";
    if (item.gpus != used.gpus) return "an item on another number of GPUs than it asks";
    const bool of_instance = way.use == Way::Use::kInstance || way.use == Way::Use::kInstanceShare;
    if (of_instance != (used.layout >= 0)) return "an instance without a layout";
    switch (way.use) {
      case Way::Use::kInstance:
        of_shape[static_cast<size_t>(way.shape)] -= content.count;
        if (of_shape[static_cast<size_t>(way.shape)] < 0)
          return "more instances than the layout has";
        break;
      case Way::Use::kWhole:
        if (items != 1) return "a whole GPU for several";
        break;
      case Way::Use::kShare:
        left -= way.share.Times(content.count);
        if (!left.Holds({})) return "a GPU that is fuller than it can be";
        if (circle >= 0 && circle != way.circle) return "tenants that may not share";
        circle = way.circle;
        break;
      case Way::Use::kInstanceShare: {
        if (content.instance < 0) return "a tenant of no instance";
        const size_t shape = static_cast<size_t>(way.shape);
        const auto [at, is_new] =
            instances.emplace(content.instance, Instance{way.shape, way.circle, kind.rooms[shape]});
        if (is_new && --of_shape[shape] < 0) return "more instances than the layout has";
        Instance& instance = at->second;
        instance.left -= way.share.Times(content.count);
        if (instance.shape != way.shape) return "an instance of two shapes";
        if (instance.circle != way.circle) return "tenants that may not share an instance";
        if (!instance.left.Holds({})) return "an instance that is fuller than it can be";
        break;
      }
    }
  }
  return items == 0 ? "a GPU that nobody uses" : "";
}

}  // namespace

std::vector<size_t> CountedBy(const Problem& problem) {
  std::vector<size_t> counted;
  for (size_t k = 0; k < problem.kinds.size(); ++k) {
    size_t first = k;
    for (size_t other = 0; other < k && problem.kinds[k].pool >= 0; ++other) {
      if (problem.kinds[other].pool != problem.kinds[k].pool) continue;
      first = other;
      break;
    }
    counted.push_back(first);
  }
  return counted;
}

int64_t Answer::LeftOut() const {
  return std::accumulate(left_out.begin(), left_out.end(), int64_t{0});
}

std::string WhatIsWrong(const Problem& problem, const Answer& answer) {
  std::vector<int64_t> gpus(problem.kinds.size(), 0), placed(problem.classes.size(), 0);
  const std::vector<size_t> counted = CountedBy(problem);
  int64_t cost = 0;
  for (const Used& used : answer.used) {
    const std::string wrong = WrongWithin(problem, used);
    if (!wrong.empty()) return wrong;
    gpus[counted[static_cast<size_t>(used.kind)]] += used.gpus;
    cost += used.gpus * problem.kinds[static_cast<size_t>(used.kind)].price;
    for (const Used::Content& content : used.contents) {
      placed[static_cast<size_t>(content.item_class)] += content.count;
    }
  }
  for (size_t k = 0; k < gpus.size(); ++k) {
    if (gpus[k] > problem.kinds[k].count)
      return fmt::format("more GPUs of kind {} than there are", k);
  }
  for (size_t c = 0; c < placed.size(); ++c) {
    if (placed[c] + answer.left_out[c] != problem.classes[c].count) {
      return fmt::format("{} of class {} placed and {} left out of {}", placed[c], c,
                         answer.left_out[c], problem.classes[c].count);
    }
  }
  if (cost != answer.cost) return "another cost than it says";
  return answer.lower_bound <= answer.cost ? "" : "a bound above its cost";
}

}  // namespace tranche::fleet
