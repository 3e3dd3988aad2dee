#include "decide/fleet/fluid_bound.h"

#include <algorithm>
#include <map>

#include "decide/fleet/linear_program.h"

namespace tranche::fleet {
namespace {

constexpr double kInfinity = LinearProgram::kInfinity;

// The rows that the ways of a kind draw on.
struct KindRows {
  int count = 0;
  std::map<int, int> shapes;
  int memory = -1, compute = -1;
};

class Fluid {
 public:
  Fluid(const Problem& problem, int64_t left_out) : problem_(problem) {
    const std::vector<size_t> counted = CountedBy(problem);
    for (size_t k = 0; k < problem.kinds.size(); ++k) {
      KindRows rows;
      rows.count = counted[k] < k
                       ? kinds_[counted[k]].count
                       : program_.AddRow(-kInfinity, static_cast<double>(problem.kinds[k].count));
      kinds_.push_back(std::move(rows));
    }
    const int left_out_row = program_.AddRow(-kInfinity, static_cast<double>(left_out));
    for (const ItemClass& item : problem.classes) {
      const int demand = program_.AddRow(static_cast<double>(item.count), kInfinity);
      program_.AddColumn(0, 0, kInfinity, {{demand, 1}, {left_out_row, 1}});
      for (const Way& way : item.ways) AddFlow(demand, item, way);
    }
    for (size_t k = 0; k < problem.kinds.size(); ++k) AddGpus(k);
  }

  FluidAnswer Solve() {
    FluidAnswer answer;
    if (!program_.Solve()) return answer;
    answer.bound = std::max(0.0, program_.objective());
    for (const ItemClass& item : problem_.classes) {
      answer.parts.emplace_back();
      for (const Way& way : item.ways) answer.parts.back().push_back(PartPrice(item, way));
    }
    return answer;
  }

 private:
  static double PartOf(int64_t some, int64_t all) {
    return static_cast<double>(some) / static_cast<double>(std::max<int64_t>(1, all));
  }

  double PartPrice(const ItemClass& item, const Way& way) const {
    const GpuKind& kind = problem_.kinds[static_cast<size_t>(way.kind)];
    const KindRows& rows = kinds_[static_cast<size_t>(way.kind)];
    switch (way.use) {
      case Way::Use::kWhole:
        return (static_cast<double>(kind.price) - program_.price(rows.count)) * item.gpus;
      case Way::Use::kInstance:
        return kind.layouts.empty() ? 0 : program_.price(rows.shapes.at(way.shape));
      case Way::Use::kShare:
        if (rows.memory < 0) return 0;
        return program_.price(rows.memory) * PartOf(way.share.memory, kind.memory) +
               program_.price(rows.compute) * PartOf(way.share.compute, kind.compute);
    }
    return 0;
  }

  void AddFlow(int demand, const ItemClass& item, const Way& way) {
    const GpuKind& kind = problem_.kinds[static_cast<size_t>(way.kind)];
    KindRows& rows = kinds_[static_cast<size_t>(way.kind)];
    switch (way.use) {
      case Way::Use::kWhole:
        program_.AddColumn(static_cast<double>(kind.price * item.gpus), 0, kInfinity,
                           {{demand, 1}, {rows.count, static_cast<double>(item.gpus)}});
        return;
      case Way::Use::kInstance: {
        if (kind.layouts.empty()) return;
        const auto [row, is_new] = rows.shapes.emplace(way.shape, 0);
        if (is_new) row->second = program_.AddRow(0, kInfinity);
        program_.AddColumn(0, 0, kInfinity, {{demand, 1}, {row->second, -1}});
        return;
      }
      case Way::Use::kShare:
        if (kind.memory <= 0) return;
        if (rows.memory < 0) {
          rows.memory = program_.AddRow(0, kInfinity);
          rows.compute = program_.AddRow(0, kInfinity);
        }
        program_.AddColumn(0, 0, kInfinity,
                           {{demand, 1},
                            {rows.memory, -PartOf(way.share.memory, kind.memory)},
                            {rows.compute, -PartOf(way.share.compute, kind.compute)}});
        return;
    }
  }

  void AddGpus(size_t k) {
    const GpuKind& kind = problem_.kinds[k];
    const KindRows& rows = kinds_[k];
    const double price = static_cast<double>(kind.price);
    for (const std::vector<int>& layout : kind.layouts) {
      std::vector<LinearProgram::Entry> entries = {{rows.count, 1}};
      for (const auto& [shape, row] : rows.shapes) {
        const int count = layout[static_cast<size_t>(shape)];
        if (count > 0) entries.push_back({row, static_cast<double>(count)});
      }
      if (entries.size() > 1) program_.AddColumn(price, 0, kInfinity, entries);
    }
    if (rows.memory >= 0) {
      program_.AddColumn(price, 0, kInfinity,
                         {{rows.count, 1}, {rows.memory, 1}, {rows.compute, 1}});
    }
  }

  const Problem& problem_;
  LinearProgram program_;
  std::vector<KindRows> kinds_;
};

}  // namespace

FluidAnswer SolveFluid(const Problem& problem, int64_t left_out) {
  return Fluid(problem, left_out).Solve();
}

}  // namespace tranche::fleet
