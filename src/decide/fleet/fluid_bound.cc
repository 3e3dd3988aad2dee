#include "decide/fleet/fluid_bound.h"

#include <algorithm>
#include <map>

#include "decide/fleet/linear_program.h"

namespace tranche::fleet {
namespace {

constexpr double kInfinity = LinearProgram::kInfinity;

// What there is of a room that tenants share: a part of 1 of each. -1: nobody asked for it.
struct RoomRows {
  int memory = -1, compute = -1, clients = -1;
};

// The rows that the ways of a kind draw on.
struct KindRows {
  int count = 0;
  std::map<int, int> shapes;
  RoomRows whole;
  std::map<int, RoomRows> rooms;  // of instances that are shared, by shape
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
      columns_.emplace_back();
      for (const Way& way : item.ways) columns_.back().push_back(AddFlow(demand, item, way));
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
    for (const std::vector<int>& columns : columns_) {
      answer.flows.emplace_back();
      for (const int column : columns) {
        answer.flows.back().push_back(column >= 0 ? program_.value(column) : 0);
      }
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
        return rows.whole.memory < 0 ? 0 : PriceIn(kind.whole(), rows.whole, way.share);
      case Way::Use::kInstanceShare:
        if (kind.layouts.empty()) return 0;
        return PriceIn(kind.rooms[static_cast<size_t>(way.shape)], rows.rooms.at(way.shape),
                       way.share);
    }
    return 0;
  }

  double PriceIn(const Share& room, const RoomRows& rows, const Share& share) const {
    double price = program_.price(rows.memory) * PartOf(share.memory, room.memory) +
                   program_.price(rows.compute) * PartOf(share.compute, room.compute);
    if (rows.clients >= 0)
      price += program_.price(rows.clients) * PartOf(share.clients, room.clients);
    return price;
  }

  RoomRows AddRoom(const Share& room) {
    RoomRows rows;
    rows.memory = program_.AddRow(0, kInfinity);
    rows.compute = program_.AddRow(0, kInfinity);
    if (room.clients < kAnyClients) rows.clients = program_.AddRow(0, kInfinity);
    return rows;
  }

  int AddTenant(int demand, const Share& room, const RoomRows& rows, const Share& share) {
    std::vector<LinearProgram::Entry> entries = {
        {demand, 1},
        {rows.memory, -PartOf(share.memory, room.memory)},
        {rows.compute, -PartOf(share.compute, room.compute)}};
    if (rows.clients >= 0) entries.push_back({rows.clients, -PartOf(share.clients, room.clients)});
    return program_.AddColumn(0, 0, kInfinity, entries);
  }

  // Beside what else the use of a room draws on.
  static void Offer(const RoomRows& rows, std::vector<LinearProgram::Entry>* entries) {
    entries->push_back({rows.memory, 1});
    entries->push_back({rows.compute, 1});
    if (rows.clients >= 0) entries->push_back({rows.clients, 1});
  }

  // The column of what goes by the way, or -1 when nothing can.
  int AddFlow(int demand, const ItemClass& item, const Way& way) {
    const GpuKind& kind = problem_.kinds[static_cast<size_t>(way.kind)];
    KindRows& rows = kinds_[static_cast<size_t>(way.kind)];
    switch (way.use) {
      case Way::Use::kWhole:
        return program_.AddColumn(static_cast<double>(kind.price * item.gpus), 0, kInfinity,
                                  {{demand, 1}, {rows.count, static_cast<double>(item.gpus)}});
      case Way::Use::kInstance:
        if (kind.layouts.empty()) return -1;
        return program_.AddColumn(0, 0, kInfinity, {{demand, 1}, {ShapeRow(way.shape, &rows), -1}});
      case Way::Use::kInstanceShare: {
        if (kind.layouts.empty()) return -1;
        const Share& all = kind.rooms[static_cast<size_t>(way.shape)];
        const auto [room, is_new] = rows.rooms.emplace(way.shape, RoomRows{});
        if (is_new) {
          room->second = AddRoom(all);
          std::vector<LinearProgram::Entry> entries = {{ShapeRow(way.shape, &rows), -1}};
          Offer(room->second, &entries);
          program_.AddColumn(0, 0, kInfinity, entries);
        }
        return AddTenant(demand, all, room->second, way.share);
      }
      case Way::Use::kShare:
        if (kind.memory <= 0) return -1;
        if (rows.whole.memory < 0) rows.whole = AddRoom(kind.whole());
        return AddTenant(demand, kind.whole(), rows.whole, way.share);
    }
    return -1;
  }

  int ShapeRow(int shape, KindRows* rows) {
    const auto [row, is_new] = rows->shapes.emplace(shape, 0);
    if (is_new) row->second = program_.AddRow(0, kInfinity);
    return row->second;
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
    if (rows.whole.memory >= 0) {
      std::vector<LinearProgram::Entry> entries = {{rows.count, 1}};
      Offer(rows.whole, &entries);
      program_.AddColumn(price, 0, kInfinity, entries);
    }
  }

  const Problem& problem_;
  LinearProgram program_;
  std::vector<KindRows> kinds_;
  std::vector<std::vector<int>> columns_;  // of each class, by way
};

}  // namespace

FluidAnswer SolveFluid(const Problem& problem, int64_t left_out) {
  return Fluid(problem, left_out).Solve();
}

}  // namespace tranche::fleet
