#include "stage/plan/quota.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

namespace tranche::planning {
namespace {

const Team* TeamOf(const Spec& spec, const std::string& name) {
  for (const Team& team : spec.teams) {
    if (team.name == name) return &team;
  }
  return nullptr;
}

}  // namespace

std::vector<Unplaced> TakeOutOverQuota(const Spec& spec, std::vector<ReplicaNeed>* needs) {
  std::vector<Unplaced> over;
  std::vector<ReplicaNeed> within;
  std::map<std::string, Bytes> used;
  for (ReplicaNeed& need : *needs) {
    const Team* team = TeamOf(spec, need.workload->team);
    if (team == nullptr || !team->memory_quota) {
      within.push_back(std::move(need));
      continue;
    }
    Bytes& sum = used[team->name];
    if (sum + need.least > *team->memory_quota) {
      over.push_back(
          {need.workload->name, need.replica,
           fmt::format("needs {}, and team {} has {} of its quota of {} left",
                       FormatBytes(need.least), team->name, FormatBytes(*team->memory_quota - sum),
                       FormatBytes(*team->memory_quota)),
           fmt::format("a memory quota of {} for team {}", FormatBytes(sum + need.least),
                       team->name)});
      continue;
    }
    sum += need.least;
    within.push_back(std::move(need));
  }
  *needs = std::move(within);
  return over;
}

std::vector<Unplaced> TakeOutOverGpuQuota(const Spec& spec, const std::vector<ReplicaNeed>& needs,
                                          NodeLayout* layout) {
  std::vector<Unplaced> over;
  std::vector<Placed> within;
  std::map<std::string, double> used;
  for (Placed& placed : layout->placed) {
    const ReplicaNeed& need = needs[placed.need];
    const Team* team = TeamOf(spec, need.workload->team);
    if (team != nullptr && team->gpu_quota) {
      const double share = placed.option.memory_share * static_cast<double>(placed.gpus.size());
      double& sum = used[team->name];
      if (sum + share > *team->gpu_quota + 1e-9) {
        over.push_back(
            {need.workload->name, need.replica,
             fmt::format("takes {:.2f} GPUs, and team {} has {:.2f} of its quota of {:.2f} left",
                         share, team->name, *team->gpu_quota - sum, *team->gpu_quota),
             fmt::format("a quota of {:.2f} GPUs for team {}", sum + share, team->name)});
        continue;
      }
      sum += share;
    }
    within.push_back(std::move(placed));
  }
  layout->placed = std::move(within);
  return over;
}

}  // namespace tranche::planning
