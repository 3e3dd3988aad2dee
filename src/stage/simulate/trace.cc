#include "stage/simulate/trace.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/suggest.h"
#include "stage/simulate/csv.h"

namespace tranche::simulate {
namespace {

using placement::kGpuMilli;
using placement::kMaxGpusPerNode;
using placement::kMaxModels;

constexpr int64_t kMostCpuMilli = 1'000'000'000;
constexpr int64_t kMostMemoryMib = int64_t{1} << 40;
constexpr size_t kMostNodes = 1'000'000;
constexpr size_t kMostTypes = 60'000;

// The index of a model's name, new ones at the end; absent when there are too many.
std::optional<int> ModelIndex(std::vector<std::string>* models, const std::string& name) {
  const auto at = std::find(models->begin(), models->end(), name);
  if (at != models->end()) return static_cast<int>(at - models->begin());
  if (models->size() == static_cast<size_t>(kMaxModels)) return std::nullopt;
  models->push_back(name);
  return static_cast<int>(models->size()) - 1;
}

// "A|B" as a set of models. Those that the fleet does not have cannot help.
placement::ModelSet ModelsOf(const std::string& spec, const Fleet& fleet) {
  if (spec.empty()) return placement::kAnyModel;
  placement::ModelSet models = 0;
  for (size_t begin = 0; begin <= spec.size();) {
    const size_t end = std::min(spec.find('|', begin), spec.size());
    const std::string name = spec.substr(begin, end - begin);
    for (size_t i = 0; i < fleet.models.size(); ++i) {
      if (fleet.models[i] == name) models |= placement::ModelSet{1} << i;
    }
    begin = end + 1;
  }
  return models;
}

// Makes it a request for an instance of that profile, on one of the models it may run on. What is
// wrong with that; "" if nothing.
std::string AskForInstance(const Fleet& fleet, const std::string& profile,
                           placement::Request* request) {
  const auto& names = fleet.mig_profiles;
  const auto at = std::find(names.begin(), names.end(), profile);
  if (at == names.end()) {
    const std::string meant =
        names.empty() ? "" : DidYouMean(profile, {names.begin() + 1, names.end()});
    return fmt::format("mig_profile: no GPU of the nodes has {}{}", Quoted(profile),
                       meant.empty() ? "" : ", " + meant);
  }
  request->mig = static_cast<int>(at - names.begin());
  placement::ModelSet models = 0;
  for (size_t model = 0; model < fleet.kinds.size(); ++model) {
    const placement::MigKind& kind = fleet.kinds[model];
    const int index = kind.Find(request->mig);
    if (index < 0 || (request->models >> model & 1) == 0) continue;
    models |= placement::ModelSet{1} << model;
    const int compute = kind.profiles[static_cast<size_t>(index)].compute;
    request->gpu_milli = (kGpuMilli * compute + kind.compute - 1) / kind.compute;
  }
  request->models = models;
  return models != 0 ? "" : fmt::format("no GPU of its gpu_spec has {}", Quoted(profile));
}

}  // namespace

Result<Fleet> ParseNodes(std::string_view text, const std::string& name) {
  CsvReader csv(text, name);
  const auto cpu = csv.Column("cpu_milli", true);
  const auto memory = csv.Column("memory_mib", true);
  const auto gpu = csv.Column("gpu", true);
  const auto model = csv.Column("model", true);
  const std::string hint = "a list of nodes has the columns sn,cpu_milli,memory_mib,gpu,model";
  if (const Status status = csv.status(hint); !status) return tl::unexpected<Error>(status.error());
  Fleet fleet;
  while (csv.Next()) {
    placement::NodeShape node;
    node.cpu_milli = static_cast<int>(csv.Number(cpu, 0, kMostCpuMilli));
    node.memory_mib = csv.Number(memory, 0, kMostMemoryMib);
    node.gpus = static_cast<int>(csv.Number(gpu, 0, kMaxGpusPerNode));
    const auto index = ModelIndex(&fleet.models, csv.Text(model));
    if (!index) csv.Mistake(fmt::format("more than {} models of GPU", kMaxModels));
    node.model = index.value_or(0);
    fleet.nodes.push_back(node);
    if (fleet.nodes.size() > kMostNodes) {
      csv.Mistake(fmt::format("more than {} nodes", kMostNodes));
      break;
    }
  }
  if (fleet.nodes.empty()) csv.Mistake("no node");
  std::vector<placement::NodeShape> types = fleet.nodes;
  std::sort(types.begin(), types.end());
  if (static_cast<size_t>(std::unique(types.begin(), types.end()) - types.begin()) > kMostTypes) {
    csv.Mistake(fmt::format("more than {} kinds of nodes", kMostTypes));
  }
  if (const Status status = csv.status(hint); !status) return tl::unexpected<Error>(status.error());
  return fleet;
}

Result<std::vector<TracePod>> ParsePods(std::string_view text, const std::string& name,
                                        const Fleet& fleet) {
  CsvReader csv(text, name);
  const auto pod_name = csv.Column("name", true);
  const auto cpu = csv.Column("cpu_milli", true);
  const auto memory = csv.Column("memory_mib", true);
  const auto gpus = csv.Column("num_gpu", true);
  const auto milli = csv.Column("gpu_milli", true);
  const auto spec = csv.Column("gpu_spec", false);
  const auto created = csv.Column("creation_time", false);
  const auto deleted = csv.Column("deletion_time", false);
  const auto profile = csv.Column("mig_profile", false);
  const auto preemptible = csv.Column("preemptible", false);
  const std::string hint =
      "a list of pods has the columns name,cpu_milli,memory_mib,num_gpu,gpu_milli[,gpu_spec]";
  if (const Status status = csv.status(hint); !status) return tl::unexpected<Error>(status.error());
  std::vector<std::pair<std::string, TracePod>> named;
  while (csv.Next()) {
    TracePod pod;
    placement::Request& request = pod.request;
    request.cpu_milli = static_cast<int>(csv.Number(cpu, 0, kMostCpuMilli));
    request.memory_mib = csv.Number(memory, 0, kMostMemoryMib);
    request.gpus = static_cast<int>(csv.Number(gpus, 0, 1'000'000));
    const std::string instance = csv.Text(profile);
    // Of no meaning beside an instance, and often not filled in.
    const int64_t share = instance.empty() ? csv.Number(milli, 0, kGpuMilli) : kGpuMilli;
    if (request.gpus > kMaxGpusPerNode) {
      csv.Mistake(
          fmt::format("num_gpu is {}: no node has more than {}", request.gpus, kMaxGpusPerNode));
    }
    if (request.gpus > 0) {
      if (share == 0) csv.Mistake("gpu_milli is 0 although num_gpu is not");
      request.gpu_milli = static_cast<int>(share);
      request.models = ModelsOf(csv.Text(spec), fleet);
    }
    if (!instance.empty()) {
      if (request.gpus != 1) csv.Mistake("num_gpu is not 1 although there is a mig_profile");
      const std::string wrong = AskForInstance(fleet, instance, &request);
      if (!wrong.empty()) csv.Mistake(wrong);
    }
    const std::string borrows = csv.Text(preemptible);
    pod.preemptible = borrows == "1" || borrows == "true";
    if (!pod.preemptible && !borrows.empty() && borrows != "0" && borrows != "false") {
      csv.Mistake("preemptible is neither true nor false");
    }
    pod.created = csv.Seconds(created);
    pod.deleted = csv.Seconds(deleted);
    named.emplace_back(csv.Text(pod_name), pod);
  }
  if (named.empty()) csv.Mistake("no pod");
  if (const Status status = csv.status(hint); !status) return tl::unexpected<Error>(status.error());
  std::stable_sort(named.begin(), named.end(),
                   [](const auto& a, const auto& b) { return a.first < b.first; });
  std::vector<TracePod> pods;
  pods.reserve(named.size());
  for (const auto& [unused, pod] : named) pods.push_back(pod);
  return pods;
}

}  // namespace tranche::simulate
