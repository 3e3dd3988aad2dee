#include "stage/plan/planner.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "stage/plan/by_traffic.h"
#include "stage/plan/compute_modes.h"
#include "stage/plan/explain.h"
#include "stage/plan/quota.h"
#include "stage/plan/steps.h"
#include "stage/plan/tiers.h"
#include "stage/plan/vgpu.h"

namespace tranche {
namespace {

using planning::GpuView;
using planning::LayoutSolver;
using planning::NodeLayout;
using planning::Placed;
using planning::ReplicaNeed;
using planning::SpeedSource;

// Whether a GPU is to be had for less because all on it may be taken away.
bool IsSpot(size_t gpu, const NodeLayout& layout, const std::vector<ReplicaNeed>& needs,
            const std::vector<GpuView>& views) {
  const GpuView& view = views[gpu];
  if (!view.spot_price_per_hour) return false;
  if (view.price_per_hour && *view.price_per_hour <= *view.spot_price_per_hour) return false;
  return std::all_of(layout.placed.begin(), layout.placed.end(), [&](const Placed& placed) {
    return std::find(placed.gpus.begin(), placed.gpus.end(), static_cast<int>(gpu)) ==
               placed.gpus.end() ||
           needs[placed.need].workload->preemptible;
  });
}

// A MIG slice costs its share of the memory slots, a shared one its share of the memory, a whole
// GPU all.
std::optional<double> CostOf(const Placed& placed,
                             const std::vector<std::optional<double>>& prices) {
  double cost = 0;
  for (const int gpu : placed.gpus) {
    const std::optional<double>& price = prices[static_cast<size_t>(gpu)];
    if (!price) return std::nullopt;
    cost += *price * placed.option.memory_share;
  }
  return cost;
}

Assignment AssignmentOf(const Placed& placed, const ReplicaNeed& need, const NodeLayout& layout,
                        const std::vector<GpuView>& views,
                        const std::vector<std::optional<double>>& prices) {
  const GpuView& view = views[static_cast<size_t>(placed.gpus.front())];
  const Workload& workload = *need.workload;
  Assignment assignment;
  assignment.workload = workload.name;
  assignment.replica = need.replica;
  assignment.team = workload.team;
  assignment.slice = SliceOf(placed, need, views);
  assignment.gpu_model = view.gpu->model.empty() ? view.gpu->name : view.gpu->model;
  assignment.gpu_index = view.gpu->index;
  const Bytes per_gpu{assignment.slice.memory.value / placed.gpus.size()};
  const Bytes room = planning::RoomIn(view, placed.option, per_gpu);
  assignment.needed = NeededIn(need, room);
  assignment.guarantee = placed.option.guarantees;
  assignment.reasons = ReasonsFor(placed, need, assignment.slice, layout, views);
  assignment.cost_per_hour = CostOf(placed, prices);
  if (workload.model) {
    const bool alone = placed.option.own_instance() || placed.option.vgpu >= 0 ||
                       placed.option.mechanism == Mechanism::kExclusive;
    // A shared tenant sees the whole GPU and is told its part of it.
    const Bytes seen = alone ? room : view.gpu->memory_total;
    const MemoryNeed sized =
        SizeToFit(*workload.model, workload.engine, need.model,
                  placed.option.vgpu >= 0 ? room : assignment.slice.memory, workload.gpus);
    assignment.engine_flags = EngineFlags(workload, sized, seen, alone);
  }
  return assignment;
}

// What each GPU costs in this layout.
std::vector<std::optional<double>> PricesIn(const NodeLayout& layout,
                                            const std::vector<ReplicaNeed>& needs,
                                            const std::vector<GpuView>& views, Plan* plan) {
  std::vector<std::optional<double>> prices;
  std::map<std::string, int> spot;
  for (size_t v = 0; v < views.size(); ++v) {
    prices.push_back(views[v].price_per_hour);
    if (!IsSpot(v, layout, needs, views)) continue;
    prices.back() = views[v].spot_price_per_hour;
    const bool used =
        std::any_of(layout.placed.begin(), layout.placed.end(), [&](const Placed& placed) {
          return std::find(placed.gpus.begin(), placed.gpus.end(), static_cast<int>(v)) !=
                 placed.gpus.end();
        });
    if (!used) continue;
    ++spot[fmt::format("{} at {} per hour{}", views[v].gpu->model,
                       FormatMoney(*views[v].spot_price_per_hour, plan->spec.currency),
                       views[v].price_per_hour
                           ? fmt::format(" instead of {}",
                                         FormatMoney(*views[v].price_per_hour, plan->spec.currency))
                           : std::string())];
  }
  for (const auto& [what, count] : spot) {
    plan->notes.push_back(fmt::format("{} x spot {}: only preemptible workloads are on {}", count,
                                      what, count == 1 ? "it" : "them"));
  }
  return prices;
}

// Of the GPUs used, where every price is known.
void AddCost(const NodeLayout& layout, const std::vector<GpuView>& views,
             const std::vector<std::optional<double>>& prices, Plan* plan) {
  std::set<int> used;
  for (const Placed& placed : layout.placed) used.insert(placed.gpus.begin(), placed.gpus.end());
  double cost = 0;
  int known = 0;
  std::set<std::string> unknown;
  for (const int gpu : used) {
    const GpuView& view = views[static_cast<size_t>(gpu)];
    if (prices[static_cast<size_t>(gpu)]) {
      cost += *prices[static_cast<size_t>(gpu)];
      ++known;
    } else {
      unknown.insert(view.gpu->model.empty() ? view.gpu->name : view.gpu->model);
    }
  }
  if (unknown.empty() && !used.empty()) plan->cost_per_hour = cost;
  const bool priced = std::all_of(views.begin(), views.end(), [](const GpuView& view) {
    return view.price_per_hour.has_value();
  });
  if (priced && plan->cost_per_hour && layout.lower_bound) {
    plan->cost_lower_bound_per_hour = std::min(cost, *layout.lower_bound);
  }
  for (const std::string& model : unknown) {
    plan->notes.push_back(
        fmt::format("the cost per hour is not known: no price for {}; "
                    "add it to the spec, for example prices: {{{}: 2.40}}",
                    model, model));
  }
  if (!unknown.empty() && known > 0) {
    plan->notes.push_back(fmt::format("the {} GPUs whose prices are known cost {} per hour", known,
                                      FormatMoney(cost, plan->spec.currency)));
  }
  std::set<std::string> passed_over;
  for (const GpuView& view : views) {
    const std::string& model = view.gpu->model.empty() ? view.gpu->name : view.gpu->model;
    if (!view.price_per_hour && unknown.count(model) == 0) passed_over.insert(model);
  }
  const bool some = std::any_of(views.begin(), views.end(),
                                [](const GpuView& view) { return view.price_per_hour; });
  for (const std::string& model : passed_over) {
    if (!some) break;
    plan->notes.push_back(fmt::format(
        "no price for {}, so it was used only where nothing with a price would do", model));
  }
}

// The most that the GPUs used may draw, where that is known of all of them.
void AddPower(const NodeLayout& layout, const std::vector<GpuView>& views, Plan* plan) {
  std::set<int> used;
  for (const Placed& placed : layout.placed) used.insert(placed.gpus.begin(), placed.gpus.end());
  double watts = 0;
  for (const int gpu : used) {
    const std::optional<int>& of_gpu = views[static_cast<size_t>(gpu)].watts;
    if (!of_gpu) return;
    watts += *of_gpu;
  }
  if (!used.empty()) plan->peak_power_watts = watts;
}

void AddNotes(const NodeLayout& layout, const std::vector<GpuView>& views,
              const Deployment& deployment, Plan* plan) {
  for (const GpuView& view : views) {
    if (!view.unusable.empty()) {
      plan->notes.push_back(fmt::format("{} is left out: {}", view.name(), view.unusable));
      continue;
    }
    for (const MigInstance& instance : view.gpu->mig_instances) {
      if (deployment.Owns(view.gpu->uuid, instance.placement)) continue;
      const bool removable =
          std::find(view.removable.begin(), view.removable.end(), instance) != view.removable.end();
      plan->notes.push_back(fmt::format(
          "{} on {} is not Tranche's{}", DescribePlacement(instance.profile, instance.placement),
          view.name(), removable ? "; --adopt lets it be replaced" : " and stays where it is"));
    }
    if (!view.foreign_processes.empty()) {
      plan->notes.push_back(fmt::format("{} is used by {}, outside what is planned here",
                                        view.name(), planning::WhoIs(view.foreign_processes)));
    }
  }
  for (const Workload& workload : plan->spec.workloads) {
    if (std::string why = planning::Speed::WhyUnknown(workload); !why.empty())
      plan->notes.push_back(std::move(why));
  }
  if (!layout.exact && layout.unplaced.empty() && !plan->cost_lower_bound_per_hour) {
    plan->notes.push_back(
        "everything fits; whether it could be cheaper was not proven within the limit "
        "of the search");
  }
}

void AddTiers(const Machine& machine, const std::vector<GpuView>& views, Plan* plan) {
  if (plan->spec.tiers.empty()) return;
  plan->tiers = planning::CapacitiesOf(plan->spec, views);
  for (TierCapacity& capacity : plan->tiers) {
    for (const Assignment& assignment : plan->assignments) {
      const auto workload =
          std::find_if(plan->spec.workloads.begin(), plan->spec.workloads.end(),
                       [&](const Workload& w) { return w.name == assignment.workload; });
      if (workload != plan->spec.workloads.end() && workload->tier == capacity.tier) {
        ++capacity.used;
      }
    }
  }
  for (std::string& problem : planning::ResolveTiers(machine, plan->spec).problems) {
    plan->notes.push_back(std::move(problem));
  }
}

// Says of each GPU that several take turns on what they do without.
void AddOversubscription(const NodeLayout& layout, const std::vector<ReplicaNeed>& needs,
                         const std::vector<GpuView>& views, Plan* plan) {
  std::map<int, std::pair<int, bool>> tenants;  // how many, and whether all are capped
  for (const Placed& placed : layout.placed) {
    if (placed.option.mechanism != Mechanism::kTimeSlicing) continue;
    auto& [count, capped] = tenants.emplace(placed.gpus.front(), std::pair(0, true)).first->second;
    ++count;
    capped = capped && needs[placed.need].workload->memory_cap;
  }
  for (const auto& [gpu, who] : tenants) {
    if (who.first < 2) continue;
    plan->notes.push_back(fmt::format("{} is time-sliced among {}: {}",
                                      views[static_cast<size_t>(gpu)].name(), who.first,
                                      NotGuaranteedByTurns(who.second)));
  }
}

// Says of each GPU on which a program may go past its MPS server that it may.
void AddMps(const NodeLayout& layout, const std::vector<GpuView>& views, Plan* plan) {
  for (size_t v = 0; v < views.size(); ++v) {
    const planning::MpsAccess access = planning::MpsAccessOn(v, layout, views[v]);
    if (access.fails_open.empty()) continue;
    plan->notes.push_back(
        fmt::format("MPS on {} fails open: a program there that does not find the server runs "
                    "beside it, held by its limiter alone ({})",
                    views[v].name(), access.fails_open));
  }
}

void Finish(const Machine& machine, Plan* plan) {
  plan->machine_fingerprint =
      machine.fingerprint.empty() ? MachineFingerprint(machine) : machine.fingerprint;
  plan->simulated_fleet = machine.simulated_fleet;
  plan->machine_layout = MachineLayout(machine);
  plan->machine_layout.read_at = {};  // when it was looked at changes nothing
  plan->id = PlanDigest(*plan);
}

NodeLayout Solve(const std::vector<GpuView>& views, const std::vector<ReplicaNeed>& needs,
                 const Deployment& deployment, const Catalog& catalog, const PlanOptions& options) {
  return LayoutSolver(views, needs, deployment, catalog, {.steps = options.fleet_steps},
                      options.slices_seen)
      .Solve();
}

SpeedSource SourceOf(const PlanOptions& options) {
  if (options.coefficients != nullptr) return {options.coefficients, options.coefficients_from};
  // That the built-in ones can be read is held by a test.
  static const Result<PerformanceCoefficients> built_in = DefaultPerformance();
  if (!built_in) return {};
  return {std::make_shared<const PerformanceCoefficients>(*built_in), ""};
}

void SortAsInSpec(const Spec& spec, std::vector<Unplaced>* unplaced) {
  const auto rank = [&](const Unplaced& one) {
    const auto found = std::find_if(spec.workloads.begin(), spec.workloads.end(),
                                    [&](const Workload& w) { return w.name == one.workload; });
    return std::pair(found - spec.workloads.begin(), one.replica);
  };
  std::stable_sort(unplaced->begin(), unplaced->end(),
                   [&](const Unplaced& a, const Unplaced& b) { return rank(a) < rank(b); });
}

}  // namespace

Plan MakePlan(const Machine& machine, const Spec& spec, const Deployment& deployed,
              const Catalog& catalog, const PlanOptions& options) {
  // Nothing runs on a fleet that exists on paper only.
  const Deployment deployment = machine.simulated_fleet ? Deployment{} : deployed;
  Plan plan;
  plan.spec = spec;
  plan.adopts = options.adopt;
  const SpeedSource source = SourceOf(options);

  // How many replicas of what, where traffic decides that.
  planning::ChooseByTraffic(planning::ViewsOf(machine, deployment, spec, catalog, options, false),
                            deployment, catalog, source, &plan.spec);

  // What each replica needs.
  std::vector<ReplicaNeed> needs = planning::NeedsOf(plan.spec, catalog, source);
  plan.unplaced = planning::TakeOutOverQuota(plan.spec, &needs);

  // Where each goes. What is not ours is planned around first, and only then taken.
  std::vector<GpuView> views =
      planning::ViewsOf(machine, deployment, spec, catalog, options, false);
  NodeLayout layout = Solve(views, needs, deployment, catalog, options);
  if (options.adopt && !layout.unplaced.empty()) {
    views = planning::ViewsOf(machine, deployment, spec, catalog, options, true);
    layout = Solve(views, needs, deployment, catalog, options);
  }

  // What did not fit, and what would.
  const LayoutSolver solver(views, needs, deployment, catalog, {.steps = options.fleet_steps},
                            options.slices_seen);
  std::string last_name;
  for (const size_t need : layout.unplaced) {
    // Replicas of one workload fail alike.
    if (needs[need].workload->name == last_name) {
      Unplaced same = plan.unplaced.back();
      same.replica = needs[need].replica;
      plan.unplaced.push_back(std::move(same));
    } else {
      plan.unplaced.push_back(ExplainUnplaced(needs[need], layout, solver, views, catalog, source));
    }
    last_name = needs[need].workload->name;
  }
  const std::vector<Unplaced> over = planning::TakeOutOverGpuQuota(plan.spec, needs, &layout);
  plan.unplaced.insert(plan.unplaced.end(), over.begin(), over.end());
  if (!over.empty()) layout.lower_bound.reset();  // it was of what quotas took out again, too
  SortAsInSpec(plan.spec, &plan.unplaced);

  // What that is in slices, money and steps.
  const std::vector<std::optional<double>> prices = PricesIn(layout, needs, views, &plan);
  for (const Placed& placed : layout.placed) {
    plan.assignments.push_back(AssignmentOf(placed, needs[placed.need], layout, views, prices));
  }
  AddCost(layout, views, prices, &plan);
  AddPower(layout, views, &plan);
  AddNotes(layout, views, deployment, &plan);
  AddTiers(machine, views, &plan);
  AddOversubscription(layout, needs, views, &plan);
  DescribeVgpus(layout, needs, views, &plan);
  AddMps(layout, views, &plan);
  if (plan.feasible()) plan.steps = StepsTo(layout, needs, views, deployment, plan.spec);
  Finish(machine, &plan);
  return plan;
}

Plan MakeDownPlan(const Machine& machine, const Deployment& deployment, const Catalog&) {
  Plan plan;
  plan.steps = planning::StepsDown(machine, deployment);
  Finish(machine, &plan);
  return plan;
}

}  // namespace tranche
