#include "stage/simulate/repack.h"

#include <algorithm>
#include <climits>

namespace tranche::simulate {
namespace {

using placement::Node;
using placement::Placement;
using placement::Request;

// A gain below this is noise; a point is 20 milli-GPU or so.
constexpr int kWorthMoving = 3;
constexpr double kForImproving = 0.6;  // of the moves; the rest makes room
constexpr size_t kMostTried = 32;      // workloads in the way, per request

}  // namespace

Repacker::Repacker(placement::Scheduler& scheduler, double most)
    : scheduler_(scheduler),
      most_(most),
      on_node_(static_cast<size_t>(scheduler.cluster().size())) {}

int Repacker::Started(int task, const Placement& at) {
  const int workload = static_cast<int>(running_.size());
  running_.push_back({task, at, true, 0});
  PutOn(workload, at);
  ++started_;
  return workload;
}

void Repacker::Ended(int workload) {
  Running& ended = running_[static_cast<size_t>(workload)];
  TakeOff(workload);
  ended.runs = false;
  scheduler_.Remove(ended.task, ended.at);
}

void Repacker::PutOn(int workload, const Placement& at) {
  std::vector<int>& there = on_node_[static_cast<size_t>(at.node)];
  running_[static_cast<size_t>(workload)].at = at;
  running_[static_cast<size_t>(workload)].place_on_node = there.size();
  there.push_back(workload);
}

void Repacker::TakeOff(int workload) {
  const Running& gone = running_[static_cast<size_t>(workload)];
  std::vector<int>& there = on_node_[static_cast<size_t>(gone.at.node)];
  const int last = there.back();
  there[gone.place_on_node] = last;
  running_[static_cast<size_t>(last)].place_on_node = gone.place_on_node;
  there.pop_back();
}

bool Repacker::MayMove(double share) const {
  return static_cast<double>(moved_ + 1) <= share * most_ * static_cast<double>(started_);
}

bool Repacker::Move(int workload, int points) {
  const Running mover = running_[static_cast<size_t>(workload)];
  const placement::TaskClass& task = scheduler_.task(mover.task);
  scheduler_.Remove(mover.task, mover.at, false);
  const auto found = scheduler_.Find(mover.task, mover.at.node);
  bool better = found.has_value();
  if (better && points != INT_MIN) {
    placement::Policy& policy = scheduler_.policy();
    const auto score = [&](int node) {
      return policy.Score(scheduler_.cluster().node(node), node, task);
    };
    better = score(found->node) - score(mover.at.node) >= points;
  }
  scheduler_.Add(mover.task, better ? *found : mover.at);
  if (!better) return false;
  TakeOff(workload);
  PutOn(workload, *found);
  ++moved_;
  return true;
}

bool Repacker::WouldFit(const Request& request, const Running& gone) const {
  const Node& node = scheduler_.cluster().node(gone.at.node);
  const Request& freed = scheduler_.task(gone.task).request;
  if (request.mig != 0 || freed.mig != 0) {
    Node after = node;
    Take(&after, freed, gone.at.gpus, gone.at.place, -1);
    return Fits(after, request);
  }
  if (!node.up || node.cpu_free + freed.cpu_milli < request.cpu_milli ||
      node.memory_free + freed.memory_mib < request.memory_mib ||
      (request.models >> node.model & 1) == 0) {
    return false;
  }
  int enough = 0;
  for (size_t g = 0; g < node.gpus; ++g) {
    const int more = (gone.at.gpus >> g & 1) != 0 ? freed.gpu_milli : 0;
    enough += node.gpu_free[g] + more >= request.gpu_milli ? 1 : 0;
  }
  return enough >= request.gpus;
}

bool Repacker::MakeRoom(int task) {
  if (!MayMove(1)) return false;
  const Request request = scheduler_.task(task).request;
  if (request.cpu_only()) return false;
  // The smallest first: they find another place most easily.
  std::vector<std::pair<int, int>> in_the_way;  // (milli-GPU, workload)
  for (const std::vector<int>& there : on_node_) {
    for (const int workload : there) {
      const Running& running = running_[static_cast<size_t>(workload)];
      const int milli = scheduler_.task(running.task).request.total_milli();
      // Moving what is as large as the newcomer gains nothing.
      if (milli >= request.total_milli() || !WouldFit(request, running)) continue;
      in_the_way.emplace_back(milli, workload);
    }
  }
  const size_t tried = std::min(in_the_way.size(), kMostTried);
  std::partial_sort(in_the_way.begin(), in_the_way.begin() + static_cast<ptrdiff_t>(tried),
                    in_the_way.end());
  int last_task = -1;
  for (size_t i = 0; i < tried; ++i) {
    // Of equals that stand on different nodes, one that finds no place speaks for all but few.
    const int of = running_[static_cast<size_t>(in_the_way[i].second)].task;
    if (of == last_task) continue;
    if (Move(in_the_way[i].second, INT_MIN)) return true;
    last_task = of;
  }
  return false;
}

void Repacker::Improve() {
  // Class by class, which keeps the scores of one class at hand.
  std::vector<int> order;
  for (size_t i = 0; i < running_.size(); ++i) {
    if (running_[i].runs) order.push_back(static_cast<int>(i));
  }
  std::stable_sort(order.begin(), order.end(), [this](int a, int b) {
    return running_[static_cast<size_t>(a)].task < running_[static_cast<size_t>(b)].task;
  });
  for (const int workload : order) {
    if (!MayMove(kForImproving)) return;
    const int task = running_[static_cast<size_t>(workload)].task;
    if (!scheduler_.task(task).request.cpu_only()) Move(workload, kWorthMoving);
  }
}

}  // namespace tranche::simulate
