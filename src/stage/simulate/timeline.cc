#include "stage/simulate/timeline.h"

#include <algorithm>
#include <cmath>
#include <list>
#include <queue>
#include <set>

#include "decide/placement/random.h"
#include "stage/simulate/layouts.h"

namespace tranche::simulate {
namespace {

using placement::Placement;

// In this order at one time.
enum class What { kEnd, kRepair, kGpuRepair, kFailure, kGpuFailure, kLayouts, kGiveUp, kArrival };

struct Event {
  double at = 0;
  What what = What::kArrival;
  int subject = 0;  // a workload, a node, or a GPU by its number over all nodes
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
  double started = 0;
  double left = 0;  // of its work, in seconds, when it last started
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
        on_node_(static_cast<size_t>(scheduler.cluster().size())),
        borrowers_(on_node_.size()) {}

  TimelineResult Go() {
    double longest = 0;
    for (size_t i = 0; i < timed_.size(); ++i) {
      events_.push({timed_[i].arrives, What::kArrival, static_cast<int>(i), 0});
      longest = std::max(longest, timed_[i].arrives + timed_[i].runs);
    }
    left_ = timed_.size();
    CountGpus();
    if (options_.mtbf) {
      for (int node = 0; node < scheduler_.cluster().size(); ++node) {
        Plan(What::kFailure, node, *options_.mtbf);
      }
    }
    if (options_.gpu_mtbf) {
      for (size_t gpu = 0; gpu < gpus_.size(); ++gpu) {
        Plan(What::kGpuFailure, static_cast<int>(gpu), *options_.gpu_mtbf);
      }
    }
    if (options_.layouts_for) {
      // Of the first period nobody knows more than what comes on the whole.
      for (const TimedWorkload& workload : timed_) Count(workload);
      DecideLayouts(std::max(longest, *options_.layouts_for));
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
  struct GpuAt {
    int node = 0;
    int gpu = 0;
  };

  void CountGpus() {
    const placement::Cluster& cluster = scheduler_.cluster();
    for (int node = 0; node < cluster.size(); ++node) {
      const size_t model = cluster.node(node).model;
      if (gpus_of_.size() <= model) gpus_of_.resize(model + 1, 0);
      for (int gpu = 0; gpu < cluster.node(node).gpus; ++gpu) gpus_.push_back({node, gpu});
      gpus_of_[model] += cluster.node(node).gpus;
    }
    used_milli_.assign(gpus_of_.size(), 0);
    const auto all_have = [this](auto&& known) {
      for (size_t model = 0; model < gpus_of_.size(); ++model) {
        if (gpus_of_[model] == 0) continue;
        if (model >= options_.costs.size() || !known(options_.costs[model])) return false;
      }
      return !gpus_.empty();
    };
    prices_known_ =
        all_have([](const GpuCosts& costs) { return costs.price_per_hour.has_value(); });
    watts_known_ = all_have([](const GpuCosts& costs) { return costs.idle_watts.has_value(); });
  }

  void Handle(const Event& event) {
    const size_t i = static_cast<size_t>(event.subject);
    switch (event.what) {
      case What::kArrival:
        Arrive(event.subject);
        break;
      case What::kEnd:
        if (workloads_[i].state == State::kRunning && workloads_[i].attempt == event.attempt) {
          End(event.subject);
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
        FailNode(event.subject);
        break;
      case What::kRepair:
        scheduler_.SetUp(event.subject, true);
        --down_;
        Plan(What::kFailure, event.subject, *options_.mtbf);
        ServeWaiting();
        break;
      case What::kGpuFailure:
        FailGpu(event.subject);
        break;
      case What::kGpuRepair:
        scheduler_.SetGpuUp(gpus_[i].node, gpus_[i].gpu, true);
        --gpus_down_;
        Plan(What::kGpuFailure, event.subject, *options_.gpu_mtbf);
        ServeWaiting();
        break;
      case What::kLayouts:
        DecideLayouts(*options_.layouts_for);
        ServeWaiting();
        break;
    }
  }

  void Arrive(int index) {
    Workload& workload = workloads_[static_cast<size_t>(index)];
    const placement::Request& request = timed_[static_cast<size_t>(index)].request;
    workload.task = scheduler_.Intern(request);
    workload.left = timed_[static_cast<size_t>(index)].runs;
    if (options_.layouts_for) Count(timed_[static_cast<size_t>(index)]);
    if (!EverFits(request)) {
      workload.state = State::kGone;
      ++result_.never_fits;
      --left_;
      return;
    }
    workload.waits_since = now_;
    if (const auto at = scheduler_.Place(workload.task)) {
      Start(index, *at);
    } else if (!MakeWay(index)) {
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
    workload.started = now_;
    on_node_[static_cast<size_t>(at.node)].insert(index);
    if (Borrows(index)) ++borrowers_[static_cast<size_t>(at.node)];
    used_milli_[scheduler_.cluster().node(at.node).model] += MilliOf(index);
    ++running_;
    ++result_.started;
    const double waited = now_ - workload.waits_since;
    waits_.push_back(waited);
    if (options_.wait_slo && waited > *options_.wait_slo) ++result_.slo_misses;
    const double stays = std::min(workload.left, options_.lease.value_or(workload.left));
    events_.push({now_ + stays, What::kEnd, index, workload.attempt});
  }

  void Leave(int index, bool departed) {
    Workload& workload = workloads_[static_cast<size_t>(index)];
    scheduler_.Remove(workload.task, workload.at, departed);
    on_node_[static_cast<size_t>(workload.at.node)].erase(index);
    if (Borrows(index)) --borrowers_[static_cast<size_t>(workload.at.node)];
    used_milli_[scheduler_.cluster().node(workload.at.node).model] -= MilliOf(index);
    --running_;
    ++workload.attempt;
  }

  // Of its work, or of its lease: it then waits for the next one, behind those who wait already.
  void End(int index) {
    Workload& workload = workloads_[static_cast<size_t>(index)];
    Leave(index, true);
    workload.left -= now_ - workload.started;
    if (workload.left > 1e-6) {
      ++result_.renewed;
      workload.waits_since = now_;
      Wait(index);
    } else {
      workload.state = State::kGone;
      ++result_.finished;
      --left_;
    }
    ServeWaiting();
  }

  // Takes its place away; what it did since its last checkpoint is lost.
  void Evict(int index) {
    Workload& workload = workloads_[static_cast<size_t>(index)];
    Leave(index, false);
    const double ran = now_ - workload.started;
    const double kept =
        options_.checkpoint ? std::floor(ran / *options_.checkpoint) * *options_.checkpoint : 0;
    workload.left -= kept;
    result_.lost_gpu_hours += (ran - kept) / 3600 * MilliOf(index) / placement::kGpuMilli;
    workload.waits_since = now_;
  }

  // After a failure: they look for another place at once.
  void Restart(const std::set<int>& lost) {
    for (const int index : lost) {
      const int task = workloads_[static_cast<size_t>(index)].task;
      ++result_.restarted;
      if (const auto at = scheduler_.Find(task)) {
        scheduler_.Add(task, *at);
        Start(index, *at);
      } else if (!MakeWay(index)) {
        Wait(index);
      }
    }
  }

  void FailNode(int node) {
    const std::set<int> lost = on_node_[static_cast<size_t>(node)];
    for (const int index : lost) Evict(index);
    scheduler_.SetUp(node, false);
    ++down_;
    Plan(What::kRepair, node);
    Restart(lost);
  }

  void FailGpu(int number) {
    const auto [node, gpu] = gpus_[static_cast<size_t>(number)];
    std::set<int> lost;
    for (const int index : on_node_[static_cast<size_t>(node)]) {
      if ((workloads_[static_cast<size_t>(index)].at.gpus >> gpu & 1) != 0) lost.insert(index);
    }
    for (const int index : lost) Evict(index);
    scheduler_.SetGpuUp(node, gpu, false);
    ++gpus_down_;
    Plan(What::kGpuRepair, number);
    Restart(lost);
  }

  bool Borrows(int index) const { return timed_[static_cast<size_t>(index)].preemptible; }
  int MilliOf(int index) const { return timed_[static_cast<size_t>(index)].request.total_milli(); }

  // Starts a workload where borrowers give way to it: as little of them as possible.
  bool MakeWay(int index) {
    if (Borrows(index)) return false;
    const int task = workloads_[static_cast<size_t>(index)].task;
    const std::vector<int> victims = FewestVictims(scheduler_.task(task).request);
    if (victims.empty()) return false;
    for (const int victim : victims) Evict(victim);
    const auto at = scheduler_.Find(task);
    if (at) {
      scheduler_.Add(task, *at);
      Start(index, *at);
    }
    for (const int victim : victims) {
      ++result_.preempted;
      Wait(victim);
    }
    return at.has_value();
  }

  std::vector<int> FewestVictims(const placement::Request& request) const {
    std::vector<int> fewest;
    int64_t least = INT64_MAX;
    for (size_t n = 0; n < borrowers_.size(); ++n) {
      if (borrowers_[n] == 0) continue;
      placement::Node node = scheduler_.cluster().node(static_cast<int>(n));
      // Who started last loses least.
      std::vector<int> order;
      for (const int index : on_node_[n]) {
        if (Borrows(index)) order.push_back(index);
      }
      std::stable_sort(order.begin(), order.end(), [this](int a, int b) {
        return workloads_[static_cast<size_t>(a)].started >
               workloads_[static_cast<size_t>(b)].started;
      });
      const auto take = [&](int index, int sign) {
        const Workload& workload = workloads_[static_cast<size_t>(index)];
        Take(&node, scheduler_.task(workload.task).request, workload.at.gpus, workload.at.place,
             sign);
      };
      std::vector<int> victims;
      for (const int index : order) {
        if (Fits(node, request)) break;
        take(index, -1);
        victims.push_back(index);
      }
      if (!Fits(node, request)) continue;
      // Not all of them were in the way.
      for (size_t i = 0; i < victims.size();) {
        take(victims[i], 1);
        if (Fits(node, request)) {
          victims.erase(victims.begin() + static_cast<ptrdiff_t>(i));
        } else {
          take(victims[i++], -1);
        }
      }
      int64_t milli = 0;
      for (const int index : victims) milli += 1 + MilliOf(index);
      if (milli >= least) continue;
      least = milli;
      fewest = std::move(victims);
    }
    return fewest;
  }

  // In order; a class that finds no room now is not asked for again.
  void ServeWaiting() {
    for (const bool borrowers : {false, true}) {
      std::set<int> full;
      for (auto at = waiting_.begin(); at != waiting_.end();) {
        const int index = *at;
        const int task = workloads_[static_cast<size_t>(index)].task;
        const bool asks = Borrows(index) == borrowers && full.count(task) == 0;
        const auto placed = asks ? scheduler_.Find(task) : std::nullopt;
        if (placed) {
          scheduler_.Add(task, *placed);
          at = waiting_.erase(at);
          Start(index, *placed);
        } else if (asks && MakeWay(index)) {
          at = waiting_.erase(at);
        } else {
          if (asks) full.insert(task);
          ++at;
        }
      }
    }
  }

  // `mean` 0: a repair, which takes as long as all of them.
  void Plan(What what, int subject, double mean = 0) {
    const double after = mean > 0 ? mean * random_.Exponential() : options_.repair;
    events_.push({now_ + after, what, subject, 0});
  }

  void Count(const TimedWorkload& workload) {
    const placement::Request& request = workload.request;
    const size_t id = static_cast<size_t>(request.mig);
    if (asked_.instances.size() <= id) asked_.instances.resize(id + 1, 0.0);
    if (id > 0) {
      asked_.instances[id] += workload.runs;
    } else {
      asked_.other_gpus += workload.runs * request.total_milli() / placement::kGpuMilli;
    }
  }

  // For the next period, from what was counted, which came within `seconds`.
  void DecideLayouts(double seconds) {
    for (double& instances : asked_.instances) instances /= seconds;
    asked_.other_gpus /= seconds;
    std::vector<std::vector<uint32_t>> in_use(on_node_.size());
    for (size_t n = 0; n < on_node_.size(); ++n) {
      in_use[n].assign(placement::kMaxGpusPerNode, 0);
      for (const int index : on_node_[n]) {
        const Placement& at = workloads_[static_cast<size_t>(index)].at;
        if (at.place < 0) continue;
        for (size_t g = 0; g < in_use[n].size(); ++g) {
          if ((at.gpus >> g & 1) != 0) in_use[n][g] |= uint32_t{1} << at.place;
        }
      }
    }
    FixLayouts(scheduler_, asked_, in_use);
    asked_ = {};
    events_.push({now_ + *options_.layouts_for, What::kLayouts, 0, 0});
  }

  double Allocation() const {
    const placement::Cluster& cluster = scheduler_.cluster();
    return static_cast<double>(cluster.used_gpu_milli()) /
           std::max(1.0, static_cast<double>(cluster.total_gpu_milli()));
  }

  void Advance(double to) {
    const double seconds = to - now_;
    if (seconds <= 0) return;
    busy_ += seconds * Allocation();
    for (size_t model = 0; model < gpus_of_.size(); ++model) {
      if (gpus_of_[model] == 0) continue;
      if (prices_known_) {
        cost_ += seconds / 3600 * gpus_of_[model] * *options_.costs[model].price_per_hour;
      }
      if (watts_known_) {
        const GpuCosts& costs = options_.costs[model];
        const double used = static_cast<double>(used_milli_[model]) / placement::kGpuMilli;
        kwh_ +=
            seconds / 3600 * (gpus_of_[model] * *costs.idle_watts + used * costs.busy_watts) / 1000;
      }
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
    sample.gpus_down = gpus_down_;
    sample.slo_misses = result_.slo_misses;
    if (waits_.size() > sampled_waits_) {
      double sum = 0;
      for (size_t i = sampled_waits_; i < waits_.size(); ++i) sum += waits_[i];
      sample.wait_seconds = sum / static_cast<double>(waits_.size() - sampled_waits_);
      sampled_waits_ = waits_.size();
    }
    if (prices_known_) sample.cost = cost_;
    if (watts_known_) sample.energy_kwh = kwh_;
    result_.samples.push_back(sample);
  }

  void Finish() {
    result_.duration = now_;
    result_.allocation_percent_mean = now_ > 0 ? 100 * busy_ / now_ : 0;
    if (prices_known_) result_.cost = cost_;
    if (watts_known_) result_.energy_kwh = kwh_;
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
  std::vector<int> borrowers_;  // on each node
  std::vector<GpuAt> gpus_;
  std::vector<int64_t> gpus_of_;     // by model
  std::vector<int64_t> used_milli_;  // by model
  bool prices_known_ = false;
  bool watts_known_ = false;
  std::priority_queue<Event> events_;
  std::list<int> waiting_;
  std::vector<double> waits_;
  size_t sampled_waits_ = 0;
  Demand asked_;     // seconds, since layouts were decided
  size_t left_ = 0;  // workloads that are not gone
  int64_t running_ = 0;
  int64_t down_ = 0;
  int64_t gpus_down_ = 0;
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
    workloads.push_back({pod.request, *pod.created, *pod.deleted - *pod.created, pod.preemptible});
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
    workloads.push_back({arrivals[i].request, static_cast<double>(i) * tick,
                         arrivals[i].lifetime * tick, arrivals[i].preemptible});
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
