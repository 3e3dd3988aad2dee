#include "stage/plan/by_traffic.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <memory>
#include <set>
#include <tuple>

#include "decide/serving/replicas.h"
#include "stage/plan/fleet_search.h"
#include "stage/plan/layout.h"
#include "stage/plan/needs.h"

namespace tranche::planning {
namespace {

constexpr int kBatches[] = {1, 2, 4, 8, 16, 32, 64, 128, 256};
constexpr double kShares[] = {0.125, 0.25, 0.5, 0.75};
// A larger batch has to bear so much more to be worth its memory.
constexpr double kWorthMore = 1.02;
constexpr int kMostReplicas = 10000;

// A workload as it would be with one choice of what is open.
struct Trial {
  size_t workload = 0;  // of the spec
  Workload changed;
  ReplicaNeed need;
};

bool SharesWork(const std::vector<GpuView>& views, const Workload& workload) {
  return std::any_of(views.begin(), views.end(), [&](const GpuView& view) {
    for (const Mechanism mechanism : {Mechanism::kFraction, Mechanism::kMps}) {
      const Capability* capability = view.Find(mechanism);
      if (capability != nullptr && capability->available &&
          GivenBy(*capability, workload).Satisfies(workload.isolation.axes)) {
        return true;
      }
    }
    return false;
  });
}

class Chooser {
 public:
  Chooser(const std::vector<GpuView>& views, const Deployment& deployment, const Catalog& catalog,
          const SpeedSource& source, Spec* spec)
      : views_(views),
        catalog_(catalog),
        source_(source),
        spec_(*spec),
        solver_(views, none_, deployment, catalog) {}

  void Run() {
    for (size_t w = 0; w < spec_.workloads.size(); ++w) {
      const Workload& workload = spec_.workloads[w];
      if (workload.by_traffic.any() && Speed::IsKnown(workload)) AddTrials(w);
    }
    if (trials_.empty()) return;
    LeaveOutOpen();
    fixed_ = NeedsOf(rest_, catalog_, source_);
    KeepUsefulBatches();
    Decide();
  }

 private:
  void AddTrials(size_t w) {
    const Workload& workload = spec_.workloads[w];
    std::vector<int> batches(std::begin(kBatches), std::end(kBatches));
    if (!workload.by_traffic.batch) batches = {workload.model->concurrency};
    std::vector<double> shares = {0};
    if (!workload.by_traffic.compute) {
      shares = {workload.compute ? workload.compute->request.value : 0};
    } else if (workload.gpus == 1 && SharesWork(views_, workload)) {
      shares.insert(shares.end(), std::begin(kShares), std::end(kShares));
    }
    for (const double share : shares) {
      for (const int batch : batches) {
        auto trial = std::make_unique<Trial>(Trial{w, workload, {}});
        trial->changed.model->concurrency = batch;
        if (workload.by_traffic.compute) {
          trial->changed.compute.reset();
          if (share > 0) trial->changed.compute = Share<Fraction>{{share}, {1}};
        }
        trial->need = NeedOf(trial->changed, 0, catalog_, source_);
        trial->need.per_second = 0;
        trial->need.every_slice = true;
        trials_.push_back(std::move(trial));
      }
    }
  }

  // The spec without what is decided here.
  void LeaveOutOpen() {
    rest_ = spec_;
    for (Workload& workload : rest_.workloads) {
      if (workload.by_traffic.any() && Speed::IsKnown(workload)) workload.replicas = 0;
    }
  }

  SearchProblem ProblemOf(bool with_fixed) const {
    std::vector<const ReplicaNeed*> items;
    for (const std::unique_ptr<Trial>& trial : trials_) items.push_back(&trial->need);
    if (with_fixed) {
      for (const ReplicaNeed& need : fixed_) items.push_back(&need);
    }
    return solver_.ProblemOf(items);
  }

  // The view of the first bin of a type.
  const GpuView& ExampleOf(const SearchProblem& problem, int type) const {
    for (size_t b = 0; b < problem.bins.size(); ++b) {
      if (problem.bins[b].type == type) return views_[b];
    }
    return views_.front();
  }

  // Of each way to place each workload only batches that bear more than smaller ones do.
  void KeepUsefulBatches() {
    const SearchProblem problem = ProblemOf(false);
    using Way = std::tuple<size_t, std::string, int, int, double>;
    std::map<Way, double> most;
    std::set<size_t> kept;
    for (size_t t = 0; t < trials_.size(); ++t) {
      const Trial& trial = *trials_[t];
      const ItemClass& item = problem.classes[static_cast<size_t>(problem.items[t])];
      for (const auto& [type, options] : item.options) {
        const GpuView& view = ExampleOf(problem, type);
        for (const Option& option : options) {
          const bool mig = option.mechanism == Mechanism::kMig;
          const Way way{trial.workload, view.gpu->model, static_cast<int>(option.mechanism),
                        option.profile, mig ? 0 : option.compute_share};
          double& so_far = most[way];
          // One replica is enough already, or this batch could not bear more.
          if (so_far >= trial.changed.traffic->requests_per_second ||
              trial.need.speed->MostIn(view, option).value_or(0) <= so_far * kWorthMore) {
            continue;
          }
          const double bears = trial.need.speed->CapacityIn(view, option).value_or(0);
          if (bears <= so_far * kWorthMore) continue;
          so_far = bears;
          kept.insert(t);
          useful_.emplace(&trial, view.gpu->model, KeyOf(option));
        }
      }
    }
    std::vector<std::unique_ptr<Trial>> trials;
    std::set<size_t> borne;
    for (const size_t t : kept) borne.insert(trials_[t]->workload);
    for (size_t t = 0; t < trials_.size(); ++t) {
      if (kept.count(t) > 0) {
        trials.push_back(std::move(trials_[t]));
      } else if (borne.insert(trials_[t]->workload).second) {
        Fill(trials_[t]->changed, 1);  // nothing bears it; the plan will say why
      }
    }
    trials_ = std::move(trials);
  }

  static std::pair<int, int> KeyOf(const Option& option) {
    return {static_cast<int>(option.mechanism), option.profile};
  }

  void Fill(const Workload& chosen, int64_t replicas) {
    for (Workload& workload : spec_.workloads) {
      if (workload.name != chosen.name) continue;
      if (workload.by_traffic.batch) workload.model->concurrency = chosen.model->concurrency;
      if (workload.by_traffic.compute) workload.compute = chosen.compute;
      if (workload.by_traffic.replicas) {
        workload.replicas = static_cast<int>(std::clamp<int64_t>(replicas, 1, kMostReplicas));
      }
    }
  }

  void Decide() {
    if (trials_.empty()) return;
    const SearchProblem problem = ProblemOf(true);
    const FleetView fleet = FleetOf(problem);
    serving::ReplicasProblem asked;
    asked.kinds = fleet.problem.kinds;
    // What is given, class by class; classes of trials count no item here.
    const size_t classes = problem.classes.size();
    std::vector<int64_t> given(classes, 0);
    for (size_t i = trials_.size(); i < problem.items.size(); ++i) {
      ++given[static_cast<size_t>(problem.items[i])];
    }
    for (size_t c = 0; c < classes; ++c) {
      if (given[c] == 0) continue;
      serving::Service service;
      service.replicas = given[c];
      service.gpus = fleet.problem.classes[c].gpus;
      for (size_t w = 0; w < fleet.ways[c].size(); ++w) {
        if (SharesInstance(fleet, c, w)) continue;
        service.ways.push_back(WayOf(problem, fleet, c, w, 0, 0));
      }
      asked.services.push_back(std::move(service));
    }
    const size_t first = asked.services.size();
    // What is open: a group of ways for each trial.
    std::vector<size_t> workloads;
    for (size_t t = 0; t < trials_.size(); ++t) {
      const Trial& trial = *trials_[t];
      if (workloads.empty() || workloads.back() != trial.workload) {
        workloads.push_back(trial.workload);
        serving::Service service;
        service.even = true;
        service.per_second = trial.changed.traffic->requests_per_second;
        service.gpus = std::max(1, trial.changed.gpus);
        service.replicas = trial.changed.by_traffic.replicas ? 0 : trial.changed.replicas;
        asked.services.push_back(std::move(service));
      }
      const size_t c = static_cast<size_t>(problem.items[t]);
      for (size_t w = 0; w < fleet.ways[c].size(); ++w) {
        const FleetView::WayOf& of = fleet.ways[c][w];
        const Option& option =
            problem.classes[c].options.at(of.type)[static_cast<size_t>(of.option)];
        const GpuView& view = ExampleOf(problem, of.type);
        if (useful_.count({&trial, view.gpu->model, KeyOf(option)}) == 0) continue;
        const double bears = trial.need.speed->CapacityIn(view, option).value_or(0);
        asked.services.back().ways.push_back(
            WayOf(problem, fleet, c, w, bears, static_cast<int>(t)));
      }
    }
    const serving::ReplicasAnswer answer = serving::ChooseReplicas(asked);
    std::set<size_t> decided;
    for (const serving::ReplicasAnswer::Item& item : answer.items) {
      const size_t s = static_cast<size_t>(item.service);
      if (s < first) continue;
      const int trial = asked.services[s].ways[static_cast<size_t>(item.ways.front())].group;
      Fill(trials_[static_cast<size_t>(trial)]->changed, item.count);
      decided.insert(s);
    }
    for (size_t s = first; s < asked.services.size(); ++s) {
      if (decided.count(s) == 0) FillWithLeast(asked.services[s], workloads[s - first]);
    }
  }

  // What sits in an instance beside others leaves what it would take elsewhere free: so it counts
  // as that, and the plan may find it a better place.
  static bool SharesInstance(const FleetView& fleet, size_t c, size_t w) {
    return fleet.problem.classes[c].ways[w].use == fleet::Way::Use::kInstanceShare;
  }

  static serving::ReplicaWay WayOf(const SearchProblem& problem, const FleetView& fleet, size_t c,
                                   size_t w, double bears, int group) {
    const FleetView::WayOf& of = fleet.ways[c][w];
    const Option& option = problem.classes[c].options.at(of.type)[static_cast<size_t>(of.option)];
    serving::ReplicaWay way;
    way.way = fleet.problem.classes[c].ways[w];
    way.per_second = bears;
    // Of batches that all suffice the smallest: trials are in that order.
    way.takes = std::max(option.memory_share, option.compute_share) + 1e-6 * group;
    way.group = group;
    return way;
  }

  // There are not GPUs enough: the fewest replicas that would do.
  void FillWithLeast(const serving::Service& service, size_t w) {
    const serving::ReplicaWay* most = nullptr;
    for (const serving::ReplicaWay& way : service.ways) {
      if (most == nullptr || way.per_second > most->per_second) most = &way;
    }
    if (most == nullptr) return;
    const double needed = std::ceil(service.per_second / most->per_second - 1e-9);
    const Trial& trial = *trials_[static_cast<size_t>(most->group)];
    if (trial.workload == w) Fill(trial.changed, static_cast<int64_t>(std::min(needed, 1e9)));
  }

  const std::vector<GpuView>& views_;
  const Catalog& catalog_;
  const SpeedSource& source_;
  Spec& spec_;
  const std::vector<ReplicaNeed> none_;
  LayoutSolver solver_;
  std::vector<std::unique_ptr<Trial>> trials_;
  // Where a trial bears more than smaller batches.
  std::set<std::tuple<const Trial*, std::string, std::pair<int, int>>> useful_;
  Spec rest_;
  std::vector<ReplicaNeed> fixed_;
};

}  // namespace

void ChooseByTraffic(const std::vector<GpuView>& views, const Deployment& deployment,
                     const Catalog& catalog, const SpeedSource& source, Spec* spec) {
  if (views.empty()) return;
  Chooser(views, deployment, catalog, source, spec).Run();
}

}  // namespace tranche::planning
