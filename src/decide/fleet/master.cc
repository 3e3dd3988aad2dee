#include "decide/fleet/master.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>

#include "decide/fleet/best_load.h"
#include "decide/fleet/transport.h"

namespace tranche::fleet {
namespace {

constexpr double kTolerance = 1e-7;
constexpr double kInfinity = LinearProgram::kInfinity;
// Leaving an item out must never pay; much larger numbers would only cost precision.
constexpr int64_t kLeftOutGpus = 1000;
constexpr int kMostRounds = 200;
// Of branch and bound, for one load.
constexpr int64_t kQuickNodes = 1000;
constexpr int64_t kAllNodes = 20000;

using Shape = std::pair<int, int>;  // kind, shape

int64_t Items(const Problem& problem) {
  int64_t items = 0;
  for (const ItemClass& item : problem.classes) items += item.count;
  return items;
}

// Fills GPUs of one kind with what flows to its shapes.
class Filler {
 public:
  explicit Filler(const std::vector<Arc>& arcs, const std::vector<Shape>& sinks,
                  const std::vector<int>& ways) {
    for (size_t a = 0; a < arcs.size(); ++a) {
      if (arcs[a].flow == 0) continue;
      waiting_[sinks[static_cast<size_t>(arcs[a].sink)]].push_back(
          {arcs[a].source, ways[a], arcs[a].flow});
    }
  }

  Used Fill(int kind, int layout, const std::vector<int>& shapes) {
    Used used;
    used.kind = kind;
    used.layout = layout;
    for (size_t s = 0; s < shapes.size(); ++s) {
      int64_t room = shapes[s];
      std::vector<Used::Content>& waiting = waiting_[{kind, static_cast<int>(s)}];
      while (room > 0 && !waiting.empty()) {
        Used::Content& one = waiting.back();
        const int64_t some = std::min(room, one.count);
        used.contents.push_back({one.item_class, one.way, some});
        room -= some;
        one.count -= some;
        if (one.count == 0) waiting.pop_back();
      }
    }
    return used;
  }

 private:
  std::map<Shape, std::vector<Used::Content>> waiting_;
};

}  // namespace

Master::Master(const Problem& problem) : problem_(problem) {
  int64_t dearest = 1;
  for (const GpuKind& kind : problem.kinds) dearest = std::max(dearest, kind.price);
  int most_gpus = 1;
  for (const ItemClass& item : problem.classes) most_gpus = std::max(most_gpus, item.gpus);
  left_out_price_ = dearest * most_gpus * kLeftOutGpus;

  for (const ItemClass& item : problem.classes) {
    demand_rows_.push_back(program_.AddRow(static_cast<double>(item.count), kInfinity));
  }
  const std::vector<size_t> counted = CountedBy(problem);
  for (size_t k = 0; k < problem.kinds.size(); ++k) {
    count_rows_.push_back(
        counted[k] < k ? count_rows_[counted[k]]
                       : program_.AddRow(-kInfinity, static_cast<double>(problem.kinds[k].count)));
  }
  const int left_out_row = program_.AddRow(0, 0);
  left_out_column_ =
      program_.AddColumn(static_cast<double>(left_out_price_), 0, kInfinity, {{left_out_row, -1}});
  for (size_t c = 0; c < problem.classes.size(); ++c) {
    program_.AddColumn(0, 0, kInfinity, {{demand_rows_[c], 1}, {left_out_row, 1}});
  }

  std::map<Shape, int> shape_rows;
  for (size_t c = 0; c < problem.classes.size(); ++c) {
    const ItemClass& item = problem.classes[c];
    for (size_t w = 0; w < item.ways.size(); ++w) {
      const Way& way = item.ways[w];
      const GpuKind& kind = problem.kinds[static_cast<size_t>(way.kind)];
      if (way.use == Way::Use::kInstance) {
        auto row = shape_rows.find({way.kind, way.shape});
        if (row == shape_rows.end()) {
          row = shape_rows.emplace(Shape{way.kind, way.shape}, program_.AddRow(0, kInfinity)).first;
        }
        program_.AddColumn(0, 0, kInfinity, {{demand_rows_[c], 1}, {row->second, -1}});
      } else if (way.use == Way::Use::kShare) {
        if (kind.memory <= 0 || kind.count == 0) continue;
        auto circle = circles_.find({way.kind, way.circle});
        if (circle == circles_.end()) {
          circle = circles_.emplace(std::pair(way.kind, way.circle), Circle{}).first;
          circle->second.row = AddTally(way.kind);
        }
        circle->second.candidates.push_back({static_cast<int>(c), static_cast<int>(w), item.count});
        circle->second.rows.push_back(AddTally(way.kind));
      } else if (way.use == Way::Use::kWhole) {
        Use use;
        use.kind = way.kind;
        use.gpus = item.gpus;
        use.item_class = static_cast<int>(c);
        use.way = static_cast<int>(w);
        use.column = program_.AddColumn(
            static_cast<double>(kind.price * item.gpus), 0, kInfinity,
            {{demand_rows_[c], 1},
             {count_rows_[static_cast<size_t>(way.kind)], static_cast<double>(item.gpus)}});
        uses_.push_back(std::move(use));
      }
    }
  }
  for (size_t k = 0; k < problem.kinds.size(); ++k) {
    const GpuKind& kind = problem.kinds[k];
    const int divided_row = kind.layouts.empty() ? -1 : AddTally(static_cast<int>(k));
    for (size_t l = 0; l < kind.layouts.size(); ++l) {
      std::vector<LinearProgram::Entry> entries = {{count_rows_[k], 1}, {divided_row, 1}};
      for (size_t s = 0; s < kind.layouts[l].size(); ++s) {
        const auto row = shape_rows.find({static_cast<int>(k), static_cast<int>(s)});
        if (row == shape_rows.end() || kind.layouts[l][s] == 0) continue;
        entries.push_back({row->second, static_cast<double>(kind.layouts[l][s])});
      }
      if (entries.size() == 2) continue;  // nobody wants any of its shapes
      Use use;
      use.kind = static_cast<int>(k);
      use.layout = static_cast<int>(l);
      use.column = program_.AddColumn(static_cast<double>(kind.price), 0, kInfinity, entries);
      uses_.push_back(std::move(use));
    }
  }
}

int Master::AddTally(int kind) {
  const int row = program_.AddRow(0, 0);
  Use tally;
  tally.kind = kind;
  tally.gpus = 0;
  tally.column = program_.AddColumn(0, 0, kInfinity, {{row, -1}});
  uses_.push_back(std::move(tally));
  return row;
}

bool Master::Solve(Loads loads) {
  not_proven_ = 0;
  for (int round = 0;; ++round) {
    if (!program_.Solve()) return false;
    if (round == kMostRounds) {
      not_proven_ = program_.objective();  // nothing is known
      break;
    }
    if (AddLoads(kQuickNodes)) continue;
    if (loads == Loads::kQuickly || not_proven_ <= kTolerance || !AddLoads(kAllNodes)) break;
  }
  if (not_proven_ > kTolerance) passed_over_ = true;
  bound_ = std::max(0.0, program_.objective() - not_proven_);
  return true;
}

double Master::left_out() const { return program_.value(left_out_column_); }

bool Master::AddLoads(int64_t nodes) {
  bool added = false;
  not_proven_ = 0;
  double scale = 1;
  for (const auto& [key, circle] : circles_) {
    const size_t k = static_cast<size_t>(key.first);
    const GpuKind& kind = problem_.kinds[k];
    const double worth = static_cast<double>(kind.price) - program_.price(count_rows_[k]) -
                         program_.price(circle.row) + kTolerance;
    std::vector<LoadItem> items;
    for (size_t i = 0; i < circle.candidates.size(); ++i) {
      const Used::Content& content = circle.candidates[i];
      const size_t c = static_cast<size_t>(content.item_class);
      const Share& share = problem_.classes[c].ways[static_cast<size_t>(content.way)].share;
      items.push_back({share.memory, share.compute,
                       program_.price(demand_rows_[c]) + program_.price(circle.rows[i]),
                       content.count, share.clients});
    }
    const BestLoad load = FindBestLoad(kind.memory, kind.compute, items, nodes, kind.clients);
    load_nodes_ += load.nodes;
    if (load.value > worth + kTolerance && AddLoad(key.first, circle, load.counts)) added = true;
    if (load.bound > load.value + kTolerance && load.bound > worth) {
      not_proven_ +=
          (load.bound - worth) * static_cast<double>(std::min(kind.count, Items(problem_)));
      scale = std::min(scale, worth / load.bound);
    }
  }
  // Two ways to make prices of items that no load is worth more than its GPU: GPUs that are dearer,
  // or items that are all cheaper (Farley's bound). The better one counts.
  double of_items = 0;
  for (size_t c = 0; c < demand_rows_.size(); ++c) {
    of_items += program_.price(demand_rows_[c]) * static_cast<double>(problem_.classes[c].count);
  }
  not_proven_ = std::min(not_proven_, (1 - std::max(0.0, scale)) * of_items);
  return added;
}

bool Master::AddLoad(int kind, const Circle& circle, const std::vector<int64_t>& counts) {
  Use use;
  use.kind = kind;
  std::vector<LinearProgram::Entry> entries = {{count_rows_[static_cast<size_t>(kind)], 1},
                                               {circle.row, 1}};
  std::vector<std::tuple<int, int, int64_t>> load;
  for (size_t i = 0; i < counts.size(); ++i) {
    if (counts[i] == 0) continue;
    const Used::Content content{circle.candidates[i].item_class, circle.candidates[i].way,
                                counts[i]};
    use.contents.push_back(content);
    load.emplace_back(content.item_class, content.way, content.count);
    const double count = static_cast<double>(content.count);
    entries.push_back({demand_rows_[static_cast<size_t>(content.item_class)], count});
    entries.push_back({circle.rows[i], count});
  }
  if (!loads_.emplace(kind, std::move(load)).second) {
    passed_over_ = true;
    return false;
  }
  use.column = program_.AddColumn(
      static_cast<double>(problem_.kinds[static_cast<size_t>(kind)].price), 0, kInfinity, entries);
  uses_.push_back(std::move(use));
  return true;
}

void Master::SetBounds(size_t use, double lower, double upper) {
  program_.SetBounds(uses_[use].column, lower, upper);
}

void Master::AllowLeftOut(int64_t most) {
  program_.SetCost(left_out_column_, 0);
  program_.SetBounds(left_out_column_, 0, static_cast<double>(most));
}

Answer Master::AnswerOf(const std::vector<int64_t>& counts) const {
  Answer answer;
  for (const ItemClass& item : problem_.classes) answer.left_out.push_back(item.count);
  std::vector<const Use*> divided;
  for (size_t u = 0; u < counts.size(); ++u) {
    const Use& use = uses_[u];
    if (use.gpus == 0) continue;
    for (int64_t n = 0; n < counts[u]; ++n) {
      if (use.layout >= 0) {
        divided.push_back(&use);
        continue;
      }
      Used used;
      used.kind = use.kind;
      used.gpus = use.gpus;
      std::vector<Used::Content> contents = use.contents;
      if (use.item_class >= 0) contents = {{use.item_class, use.way, 1}};
      for (Used::Content& content : contents) {
        int64_t& left = answer.left_out[static_cast<size_t>(content.item_class)];
        content.count = std::min(content.count, left);
        left -= content.count;
        if (content.count > 0) used.contents.push_back(content);
      }
      if (!used.contents.empty()) answer.used.push_back(std::move(used));
    }
  }

  std::map<Shape, int64_t> rooms;
  for (const Use* use : divided) {
    const auto& shapes =
        problem_.kinds[static_cast<size_t>(use->kind)].layouts[static_cast<size_t>(use->layout)];
    for (size_t s = 0; s < shapes.size(); ++s) {
      if (shapes[s] > 0) rooms[{use->kind, static_cast<int>(s)}] += shapes[s];
    }
  }
  std::vector<Shape> sinks;
  std::vector<int64_t> room;
  for (const auto& [shape, n] : rooms) {
    sinks.push_back(shape);
    room.push_back(n);
  }
  std::vector<Arc> arcs;
  std::vector<int> ways;
  for (size_t c = 0; c < problem_.classes.size(); ++c) {
    const ItemClass& item = problem_.classes[c];
    for (size_t w = 0; w < item.ways.size(); ++w) {
      if (item.ways[w].use != Way::Use::kInstance) continue;
      const Shape shape{item.ways[w].kind, item.ways[w].shape};
      const auto sink = std::lower_bound(sinks.begin(), sinks.end(), shape);
      if (sink == sinks.end() || *sink != shape) continue;
      arcs.push_back({static_cast<int>(c), static_cast<int>(sink - sinks.begin()), 0});
      ways.push_back(static_cast<int>(w));
    }
  }
  Transport(answer.left_out, room, &arcs);
  for (const Arc& arc : arcs) answer.left_out[static_cast<size_t>(arc.source)] -= arc.flow;
  Filler filler(arcs, sinks, ways);
  for (const Use* use : divided) {
    Used used = filler.Fill(
        use->kind, use->layout,
        problem_.kinds[static_cast<size_t>(use->kind)].layouts[static_cast<size_t>(use->layout)]);
    if (!used.contents.empty()) answer.used.push_back(std::move(used));
  }
  for (const Used& used : answer.used) {
    answer.cost += used.gpus * problem_.kinds[static_cast<size_t>(used.kind)].price;
  }
  return answer;
}

}  // namespace tranche::fleet
