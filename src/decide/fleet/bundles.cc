#include "decide/fleet/bundles.h"

#include <algorithm>
#include <map>
#include <tuple>

namespace tranche::fleet {
namespace {

double PartOf(int64_t some, int64_t all) {
  return static_cast<double>(some) / static_cast<double>(std::max<int64_t>(1, all));
}

// Of a room, by what it takes most of.
double SizeIn(const Share& room, const Share& share) {
  return std::max(PartOf(share.memory, room.memory), PartOf(share.compute, room.compute));
}

}  // namespace

bool SharesInstances(const Problem& problem) {
  return std::any_of(problem.classes.begin(), problem.classes.end(), [](const ItemClass& item) {
    return std::any_of(item.ways.begin(), item.ways.end(),
                       [](const Way& way) { return way.use == Way::Use::kInstanceShare; });
  });
}

Bundles::Bundles(const Problem& problem, const std::vector<std::vector<int64_t>>& wanted)
    : problem_(problem) {
  bundled_.kinds = problem.kinds;
  std::vector<int64_t> single;
  for (const ItemClass& item : problem.classes) single.push_back(item.count);
  // Who goes together, by kind, shape and circle.
  std::map<std::tuple<int, int, int>, Parts> groups;
  for (size_t c = 0; c < wanted.size(); ++c) {
    for (size_t w = 0; w < wanted[c].size(); ++w) {
      const int64_t some = std::min(wanted[c][w], single[c]);
      const Way& way = problem.classes[c].ways[w];
      if (some <= 0 || way.use != Way::Use::kInstanceShare) continue;
      groups[{way.kind, way.shape, way.circle}].push_back(
          {static_cast<int>(c), static_cast<int>(w), some});
      single[c] -= some;
    }
  }
  std::vector<std::pair<Parts, int64_t>> bundles;
  for (const auto& [key, parts] : groups) {
    const GpuKind& kind = problem.kinds[static_cast<size_t>(std::get<0>(key))];
    const Share& room = kind.rooms[static_cast<size_t>(std::get<1>(key))];
    for (Parts& bundle : Fill(room, parts)) {
      if (bundle.size() == 1 && bundle.front().count == 1) {
        ++single[static_cast<size_t>(bundle.front().item_class)];
        continue;
      }
      const auto same = std::find_if(bundles.begin(), bundles.end(),
                                     [&](const auto& known) { return known.first == bundle; });
      if (same != bundles.end()) {
        ++same->second;
      } else {
        bundles.emplace_back(std::move(bundle), 1);
      }
    }
  }
  for (size_t c = 0; c < problem.classes.size(); ++c) AddSingles(c, single[c]);
  for (const auto& [bundle, count] : bundles) AddBundle(bundle, count);
}

const Way& Bundles::WayOf(const Part& part) const {
  return problem_.classes[static_cast<size_t>(part.item_class)].ways[static_cast<size_t>(part.way)];
}

// First fit, decreasing. What no instance holds by itself is in none of them.
std::vector<Bundles::Parts> Bundles::Fill(const Share& room, Parts waiting) const {
  std::stable_sort(waiting.begin(), waiting.end(), [&](const Part& a, const Part& b) {
    return SizeIn(room, WayOf(a).share) > SizeIn(room, WayOf(b).share);
  });
  struct Open {
    Share left;
    Parts parts;
  };
  std::vector<Open> open;
  for (const Part& part : waiting) {
    const Share& share = WayOf(part).share;
    size_t first = 0;
    for (int64_t n = 0; n < part.count; ++n) {
      while (first < open.size() && !open[first].left.Holds(share)) ++first;
      if (first == open.size()) open.push_back({room, {}});
      Open& here = open[first];
      here.left -= share;
      if (!here.parts.empty() && here.parts.back().item_class == part.item_class) {
        ++here.parts.back().count;
      } else {
        here.parts.push_back({part.item_class, part.way, 1});
      }
    }
  }
  std::vector<Parts> bundles;
  for (Open& one : open) bundles.push_back(std::move(one.parts));
  return bundles;
}

void Bundles::AddSingles(size_t c, int64_t count) {
  const ItemClass& item = problem_.classes[c];
  ItemClass single;
  single.count = count;
  single.gpus = item.gpus;
  parts_.emplace_back();
  for (size_t w = 0; w < item.ways.size(); ++w) {
    Way way = item.ways[w];
    if (way.use == Way::Use::kInstanceShare) {
      const bool known = std::any_of(single.ways.begin(), single.ways.end(), [&](const Way& other) {
        return other.use == Way::Use::kInstance && other.kind == way.kind &&
               other.shape == way.shape;
      });
      if (known) continue;
      way.use = Way::Use::kInstance;
      way.circle = 0;
      way.share = {};
    }
    single.ways.push_back(way);
    parts_.back().push_back({{static_cast<int>(c), static_cast<int>(w), 1}});
  }
  bundled_.classes.push_back(std::move(single));
}

void Bundles::AddBundle(const Parts& bundle, int64_t count) {
  any_ = true;
  ItemClass item;
  item.count = count;
  parts_.emplace_back();
  // Every way of its first tenant that all of them have.
  const Part& first = bundle.front();
  for (const Way& of_first : problem_.classes[static_cast<size_t>(first.item_class)].ways) {
    const bool in_instance = of_first.use == Way::Use::kInstanceShare;
    if (!in_instance && of_first.use != Way::Use::kShare) continue;
    const GpuKind& kind = problem_.kinds[static_cast<size_t>(of_first.kind)];
    Parts parts;
    Share sum;
    for (const Part& part : bundle) {
      const std::vector<Way>& ways = problem_.classes[static_cast<size_t>(part.item_class)].ways;
      const auto way = std::find_if(ways.begin(), ways.end(), [&](const Way& other) {
        return other.use == of_first.use && other.kind == of_first.kind &&
               other.circle == of_first.circle && (!in_instance || other.shape == of_first.shape);
      });
      if (way == ways.end()) break;
      sum += way->share.Times(part.count);
      parts.push_back({part.item_class, static_cast<int>(way - ways.begin()), part.count});
    }
    const Share room = in_instance ? kind.rooms[static_cast<size_t>(of_first.shape)] : kind.whole();
    if (parts.size() < bundle.size() || !room.Holds(sum)) continue;
    Way way;
    way.kind = of_first.kind;
    if (in_instance) {
      way.shape = of_first.shape;
    } else {
      way.use = Way::Use::kShare;
      way.circle = of_first.circle;
      way.share = sum;
    }
    item.ways.push_back(way);
    parts_.back().push_back(std::move(parts));
  }
  bundled_.classes.push_back(std::move(item));
}

Answer Bundles::Unfold(const Answer& answer) const {
  Answer out;
  out.cost = answer.cost;
  out.lower_bound = answer.lower_bound;
  for (const Used& used : answer.used) {
    Used unfolded = used;
    unfolded.contents.clear();
    int instances = 0;
    for (const Used::Content& content : used.contents) {
      const size_t c = static_cast<size_t>(content.item_class);
      const Parts& parts = parts_[c][static_cast<size_t>(content.way)];
      const bool shared = WayOf(parts.front()).use == Way::Use::kInstanceShare;
      for (int64_t n = 0; n < (shared ? content.count : 1); ++n) {
        for (const Part& part : parts) {
          unfolded.contents.push_back({part.item_class, part.way,
                                       shared ? part.count : part.count * content.count,
                                       shared ? instances : -1});
        }
        ++instances;
      }
    }
    out.used.push_back(std::move(unfolded));
  }
  out.left_out.assign(problem_.classes.size(), 0);
  for (size_t c = 0; c < answer.left_out.size(); ++c) {
    if (answer.left_out[c] == 0) continue;
    // A class without any way has no parts either; then it is its own.
    if (parts_[c].empty()) {
      if (c < problem_.classes.size()) out.left_out[c] += answer.left_out[c];
      continue;
    }
    for (const Part& part : parts_[c].front()) {
      out.left_out[static_cast<size_t>(part.item_class)] += part.count * answer.left_out[c];
    }
  }
  return out;
}

}  // namespace tranche::fleet
