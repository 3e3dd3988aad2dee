#include "stage/simulate/timeline.h"

#include <algorithm>
#include <cmath>
#include <list>
#include <queue>
#include <set>

#include "decide/placement/random.h"

namespace tranche::simulate {
namespace {

using placement::Placement;

enum class What { kEnd, kRepair, kFailure, kGiveUp, kArrival };  // in this order at one time

struct Event {
  double at = 0;
  What what = What::kArrival;
  int subject = 0;  // a workload or a node
  int attempt = 0;  // of an end: which run of the workload it ends
  // The earliest first.
  bool operator<(const Event& other) const {
    if (at != other.at) return at > other.at;
    if (what != other.what) return what > other.what;
    return subject > other.subject;
  }
};

enum class State { kComing, kWaiting, kRunning, kGone };

struct Workload {
  State state = State::kComing;
  int task = 0;
  int attempt = 0;
  double waits_since = 0;
  Placement at;
};

class Run {
 public:
  Run(placement::Scheduler& scheduler, const std::vector<TimedWorkload>& workloads,
      const placement::Fragmentation& fragmentation, const TimelineOptions& options)
      : scheduler_(scheduler),
        timed_(workloads),
        fragmentation_(fragmentation),
        options_(options),
        random_(options.seed ^ 0x6661696c73u),
        workloads_(workloads.size()),
        on_node_(static_cast<size_t>(scheduler.cluster().size())) {}

  TimelineResult Go() {
    double last_arrival = 0;
    double longest = 0;
    for (size_t i = 0; i < timed_.size(); ++i) {
      events_.push({timed_[i].arrives, What::kArrival, static_cast<int>(i), 0});
      last_arrival = std::max(last_arrival, timed_[i].arrives);
      longest = std::max(longest, timed_[i].arrives + timed_[i].runs);
    }
    left_ = timed_.size();
    if (options_.mtbf) {
      for (int node = 0; node < scheduler_.cluster().size(); ++node) PlanFailure(node);
    }
    const double step = std::max(longest, 1.0) / std::max(1, options_.samples);
    double next_sample = 0;
    while (!events_.empty() && left_ > 0) {
      const Event event = events_.top();
      events_.pop();
      for (; next_sample <= event.at; next_sample += step) {
        Advance(next_sample);
        Sample();
      }
      Advance(event.at);
      Handle(event);
    }
    Sample();
    Finish();
    return std::move(result_);
  }

 private:
  void Handle(const Event& event) {
    const size_t i = static_cast<size_t>(event.subject);
    switch (event.what) {
      case What::kArrival:
        Arrive(event.subject);
        break;
      case What::kEnd:
        if (workloads_[i].state == State::kRunning && workloads_[i].attempt == event.attempt) {
          Leave(event.subject, true);
          workloads_[i].state = State::kGone;
          ++result_.finished;
          --left_;
          ServeWaiting();
        }
        break;
      case What::kGiveUp:
        if (workloads_[i].state == State::kWaiting && workloads_[i].attempt == event.attempt) {
          waiting_.erase(std::find(waiting_.begin(), waiting_.end(), event.subject));
          workloads_[i].state = State::kGone;
          ++result_.gave_up;
          // Whoever gives up has waited too long, if that means anything.
          if (options_.wait_slo && *options_.patience > *options_.wait_slo) ++result_.slo_misses;
          --left_;
        }
        break;
      case What::kFailure:
        Fail(event.subject);
        break;
      case What::kRepair:
        scheduler_.SetUp(event.subject, true);
        --down_;
        PlanFailure(event.subject);
        ServeWaiting();
        break;
    }
  }

  void Arrive(int index) {
    Workload& workload = workloads_[static_cast<size_t>(index)];
    const placement::Request& request = timed_[static_cast<size_t>(index)].request;
    workload.task = scheduler_.Intern(request);
    if (!EverFits(request)) {
      workload.state = State::kGone;
      ++result_.never_fits;
      --left_;
      return;
    }
    workload.waits_since = now_;
    if (const auto at = scheduler_.Place(workload.task)) {
      Start(index, *at);
    } else {
      Wait(index);
    }
  }

  bool EverFits(const placement::Request& request) const {
    for (const placement::NodeShape& type : scheduler_.cluster().types()) {
      if (type.cpu_milli >= request.cpu_milli && type.memory_mib >= request.memory_mib &&
          type.gpus >= request.gpus &&
          (request.cpu_only() || (request.models >> type.model & 1) != 0)) {
        return true;
      }
    }
    return false;
  }

  void Wait(int index) {
    Workload& workload = workloads_[static_cast<size_t>(index)];
    workload.state = State::kWaiting;
    waiting_.push_back(index);
    if (options_.patience) {
      events_.push({now_ + *options_.patience, What::kGiveUp, index, workload.attempt});
    }
  }

  void Start(int index, const Placement& at) {
    Workload& workload = workloads_[static_cast<size_t>(index)];
    workload.state = State::kRunning;
    workload.at = at;
    on_node_[static_cast<size_t>(at.node)].insert(index);
    ++running_;
    ++result_.started;
    const double waited = now_ - workload.waits_since;
    waits_.push_back(waited);
    if (options_.wait_slo && waited > *options_.wait_slo) ++result_.slo_misses;
    events_.push(
        {now_ + timed_[static_cast<size_t>(index)].runs, What::kEnd, index, workload.attempt});
  }

  void Leave(int index, bool departed) {
    Workload& workload = workloads_[static_cast<size_t>(index)];
    scheduler_.Remove(workload.task, workload.at, departed);
    on_node_[static_cast<size_t>(workload.at.node)].erase(index);
    --running_;
  }

  // In order; a class that finds no room now is not asked for again.
  void ServeWaiting() {
    std::set<int> full;
    for (auto at = waiting_.begin(); at != waiting_.end();) {
      const int index = *at;
      const int task = workloads_[static_cast<size_t>(index)].task;
      const auto placed = full.count(task) == 0 ? scheduler_.Find(task) : std::nullopt;
      if (!placed) {
        full.insert(task);
        ++at;
        continue;
      }
      scheduler_.Add(task, *placed);
      at = waiting_.erase(at);
      Start(index, *placed);
    }
  }

  void PlanFailure(int node) {
    events_.push({now_ + *options_.mtbf * random_.Exponential(), What::kFailure, node, 0});
  }

  void Fail(int node) {
    scheduler_.SetUp(node, false);
    ++down_;
    events_.push({now_ + options_.repair, What::kRepair, node, 0});
    const std::set<int> lost = on_node_[static_cast<size_t>(node)];
    for (const int index : lost) {
      Leave(index, false);
      Workload& workload = workloads_[static_cast<size_t>(index)];
      ++workload.attempt;
      ++result_.restarted;
      workload.waits_since = now_;
      if (const auto at = scheduler_.Find(workload.task)) {
        scheduler_.Add(workload.task, *at);
        Start(index, *at);
      } else {
        Wait(index);
      }
    }
  }

  double Allocation() const {
    const placement::Cluster& cluster = scheduler_.cluster();
    return static_cast<double>(cluster.used_gpu_milli()) /
           std::max(1.0, static_cast<double>(cluster.total_gpu_milli()));
  }

  void Advance(double to) {
    const double seconds = to - now_;
    if (seconds <= 0) return;
    const double gpus = static_cast<double>(scheduler_.cluster().total_gpu_milli()) / 1000;
    busy_ += seconds * Allocation();
    if (options_.price_per_hour) cost_ += seconds / 3600 * gpus * *options_.price_per_hour;
    if (options_.idle_watts) {
      const double watts = gpus * (*options_.idle_watts + Allocation() * options_.busy_watts);
      kwh_ += seconds / 3600 * watts / 1000;
    }
    now_ = to;
  }

  void Sample() {
    TimelineSample sample;
    sample.at = now_;
    sample.allocation_percent = 100 * Allocation();
    sample.fragmentation_percent =
        100 * fragmentation_.OfCluster(scheduler_.cluster()) /
        std::max(1.0, static_cast<double>(scheduler_.cluster().total_gpu_milli()));
    sample.running = running_;
    sample.waiting = static_cast<int64_t>(waiting_.size());
    sample.nodes_down = down_;
    sample.slo_misses = result_.slo_misses;
    if (options_.price_per_hour) sample.cost = cost_;
    if (options_.idle_watts) sample.energy_kwh = kwh_;
    result_.samples.push_back(sample);
  }

  void Finish() {
    result_.duration = now_;
    result_.allocation_percent_mean = now_ > 0 ? 100 * busy_ / now_ : 0;
    if (options_.price_per_hour) result_.cost = cost_;
    if (options_.idle_watts) result_.energy_kwh = kwh_;
    if (waits_.empty()) return;
    double sum = 0;
    for (const double wait : waits_) sum += wait;
    result_.wait_mean = sum / static_cast<double>(waits_.size());
    std::sort(waits_.begin(), waits_.end());
    result_.wait_p95 = waits_[(waits_.size() - 1) * 95 / 100];
    result_.wait_most = waits_.back();
  }

  placement::Scheduler& scheduler_;
  const std::vector<TimedWorkload>& timed_;
  const placement::Fragmentation& fragmentation_;
  const TimelineOptions& options_;
  placement::Random random_;
  std::vector<Workload> workloads_;
  std::vector<std::set<int>> on_node_;
  std::priority_queue<Event> events_;
  std::list<int> waiting_;
  std::vector<double> waits_;
  size_t left_ = 0;  // workloads that are not gone
  int64_t running_ = 0;
  int64_t down_ = 0;
  double now_ = 0;
  double busy_ = 0;  // seconds of a whole cluster
  double cost_ = 0;
  double kwh_ = 0;
  TimelineResult result_;
};

}  // namespace

std::vector<TimedWorkload> TimesOf(const std::vector<TracePod>& pods) {
  std::vector<TimedWorkload> workloads;
  for (const TracePod& pod : pods) {
    if (!pod.created || !pod.deleted || *pod.deleted < *pod.created) continue;
    workloads.push_back({pod.request, *pod.created, *pod.deleted - *pod.created});
  }
  std::stable_sort(workloads.begin(), workloads.end(),
                   [](const auto& a, const auto& b) { return a.arrives < b.arrives; });
  if (!workloads.empty()) {
    const double first = workloads.front().arrives;
    for (TimedWorkload& workload : workloads) workload.arrives -= first;
  }
  return workloads;
}

std::vector<TimedWorkload> Paced(const std::vector<Arrival>& arrivals, double mean_runs) {
  double ticks = 0;
  for (const Arrival& arrival : arrivals) ticks += arrival.lifetime;
  const double tick =
      ticks > 0 ? mean_runs * static_cast<double>(arrivals.size()) / ticks : mean_runs;
  std::vector<TimedWorkload> workloads;
  for (size_t i = 0; i < arrivals.size(); ++i) {
    workloads.push_back(
        {arrivals[i].request, static_cast<double>(i) * tick, arrivals[i].lifetime * tick});
  }
  return workloads;
}

TimelineResult Simulate(placement::Scheduler& scheduler,
                        const std::vector<TimedWorkload>& workloads,
                        const placement::Fragmentation& fragmentation,
                        const TimelineOptions& options) {
  return Run(scheduler, workloads, fragmentation, options).Go();
}

}  // namespace tranche::simulate
