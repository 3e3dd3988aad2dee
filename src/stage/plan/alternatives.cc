#include "stage/plan/alternatives.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/suggest.h"
#include "base/units.h"

namespace tranche {
namespace {

constexpr double kSame = 1e-9;

std::set<std::string> ModelsOf(const Machine& machine) {
  std::set<std::string> models;
  for (const Gpu& gpu : machine.gpus) models.insert(gpu.model.empty() ? gpu.name : gpu.model);
  return models;
}

// GPUs in use: what is compared where prices are not known.
size_t GpusOf(const Plan& plan) {
  std::set<std::string> gpus;
  for (const Assignment& assignment : plan.assignments) {
    gpus.insert(assignment.slice.gpu_uuid);
    gpus.insert(assignment.slice.more_gpu_uuids.begin(), assignment.slice.more_gpu_uuids.end());
  }
  return gpus.size();
}

std::string WhyNot(const Plan& other, const std::string& workload) {
  const Unplaced* whose = &other.unplaced.front();
  for (const Unplaced& one : other.unplaced) {
    if (one.workload == workload) {
      whose = &one;
      break;
    }
  }
  return whose->workload == workload
             ? whose->reason
             : fmt::format("then {} would not fit: {}", whose->workload, whose->reason);
}

Alternative Compare(const Plan& plan, const Plan& other, const std::string& workload,
                    Alternative alternative) {
  if (!other.feasible()) {
    alternative.because = WhyNot(other, workload);
    return alternative;
  }
  alternative.cost_per_hour = other.cost_per_hour;
  if (plan.cost_per_hour && other.cost_per_hour) {
    const double more = *other.cost_per_hour - *plan.cost_per_hour;
    alternative.more_per_hour = more;
    alternative.because =
        more > kSame    ? fmt::format("{} more per hour", FormatMoney(more, plan.spec.currency))
        : more < -kSame ? fmt::format("{} less per hour: the plan is not the cheapest there is",
                                      FormatMoney(-more, plan.spec.currency))
                        : "costs the same; what was chosen takes less of the GPU or changes less";
    return alternative;
  }
  const size_t here = GpusOf(plan), there = GpusOf(other);
  alternative.because =
      there > here
          ? fmt::format("{} more {} in use", there - here, there - here == 1 ? "GPU" : "GPUs")
          : "no fewer GPUs; what was chosen takes less of one or changes less";
  return alternative;
}

}  // namespace

Result<std::vector<Alternative>> AlternativesTo(
    const Plan& plan, const std::string& workload,
    const std::function<Result<Plan>(const Spec&)>& plan_for) {
  std::vector<std::string> names;
  for (const Workload& one : plan.spec.workloads) names.push_back(one.name);
  const auto found = std::find(names.begin(), names.end(), workload);
  if (found == names.end()) {
    const std::string meant = DidYouMean(workload, names);
    return Fail(
        ErrorCode::kNotFound, fmt::format("the spec has no workload '{}'", workload),
        meant.empty() ? "its workloads are: " + fmt::format("{}", fmt::join(names, ", ")) : meant);
  }
  const size_t index = static_cast<size_t>(found - names.begin());
  std::set<std::pair<std::string, Mechanism>> chosen;
  for (const Assignment& assignment : plan.assignments) {
    if (assignment.workload != workload) continue;
    chosen.emplace(assignment.gpu_model, assignment.slice.mechanism);
  }
  std::vector<Alternative> alternatives;
  for (const std::string& gpu : ModelsOf(plan.machine_layout)) {
    for (const Mechanism mechanism : kAllMechanisms) {
      if (mechanism == Mechanism::kVgpu) continue;  // made for virtual machines, not for processes
      Alternative alternative;
      alternative.gpu = gpu;
      alternative.mechanism = mechanism;
      if (chosen.count({gpu, mechanism}) > 0) {
        alternative.chosen = true;
        alternative.cost_per_hour = plan.cost_per_hour;
        alternative.because = "chosen";
        alternatives.push_back(std::move(alternative));
        continue;
      }
      Spec spec = plan.spec;
      spec.workloads[index].gpu = gpu;
      spec.workloads[index].mechanism = mechanism;
      const Result<Plan> other = plan_for(spec);
      if (!other) return tl::unexpected<Error>(other.error());
      alternatives.push_back(Compare(plan, *other, workload, std::move(alternative)));
    }
  }
  const auto rank = [](const Alternative& one) {
    return std::tuple(!one.chosen, !one.cost_per_hour, one.cost_per_hour.value_or(0));
  };
  std::stable_sort(alternatives.begin(), alternatives.end(),
                   [&](const Alternative& a, const Alternative& b) { return rank(a) < rank(b); });
  return alternatives;
}

}  // namespace tranche
