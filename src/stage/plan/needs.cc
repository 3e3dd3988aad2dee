#include "stage/plan/needs.h"

#include <fmt/format.h>

#include <algorithm>

namespace tranche::planning {
namespace {

bool IsSized(const Workload& workload) { return !workload.memory && workload.model; }

MemoryNeed Fitted(const ReplicaNeed& need, Bytes slice) {
  return SizeToFit(*need.workload->model, need.workload->engine, need.model,
                   slice * static_cast<uint64_t>(need.workload->gpus), need.workload->gpus);
}

}  // namespace

Bytes ReplicaNeed::least_per_gpu() const {
  const auto gpus = static_cast<uint64_t>(std::max(1, workload->gpus));
  return Bytes{(least.value + gpus - 1) / gpus};
}

std::string ReplicaNeed::name() const { return fmt::format("{}/{}", workload->name, replica); }

ReplicaNeed NeedOf(const Workload& workload, int replica, const Catalog& catalog,
                   const SpeedSource& source) {
  ReplicaNeed need;
  need.workload = &workload;
  need.replica = replica;
  need.digest = WorkloadDigest(workload);
  if (workload.model && !workload.model->name.empty()) {
    const Result<const CatalogModel*> model = catalog.FindModel(workload.model->name);
    if (model) need.model = *model;
  }
  if (workload.memory) {
    need.least = workload.memory->request;
    if (!workload.preemptible) need.reserved = workload.memory->limit;
  } else if (workload.model) {
    need.least =
        SizeToFit(*workload.model, workload.engine, need.model, Bytes{0}, workload.gpus).total();
  } else {
    need.whole_gpu = workload.profile.empty();
    need.whole_slice = !need.whole_gpu;
  }
  need.reserved = std::max(need.reserved, need.least);
  if (workload.compute) need.compute = workload.compute->request.value;
  if (Speed::IsKnown(workload) && source.coefficients != nullptr) {
    need.speed = std::make_shared<Speed>(workload, need.model, catalog, source);
    need.per_second = workload.traffic->requests_per_second / std::max(1, workload.replicas);
  }
  return need;
}

std::vector<ReplicaNeed> NeedsOf(const Spec& spec, const Catalog& catalog,
                                 const SpeedSource& source) {
  std::vector<ReplicaNeed> needs;
  for (const Workload& workload : spec.workloads) {
    if (workload.replicas < 1) continue;
    ReplicaNeed need = NeedOf(workload, 0, catalog, source);
    for (need.replica = 0; need.replica < workload.replicas; ++need.replica) needs.push_back(need);
  }
  return needs;
}

Bytes NeededIn(const ReplicaNeed& need, Bytes slice) {
  if (need.whole_gpu || need.whole_slice) return slice * static_cast<uint64_t>(need.workload->gpus);
  return IsSized(*need.workload) ? Fitted(need, slice).total() : need.least;
}

std::string WhyNeeded(const ReplicaNeed& need, Bytes slice) {
  if (!IsSized(*need.workload)) return "";
  const MemoryNeed sized = Fitted(need, slice);
  std::string terms;
  for (const MemoryTerm& term : sized.terms) {
    std::string name = term.name;
    std::replace(name.begin(), name.end(), '_', ' ');
    terms += fmt::format("{}{} {}", terms.empty() ? "" : " + ", name, FormatBytes(term.bytes));
  }
  std::string text = fmt::format("{} needs {} (+/- {}): {}", need.workload->name,
                                 FormatBytes(sized.total()), FormatBytes(sized.error()), terms);
  if (!sized.architecture_known) {
    text +=
        "; its architecture is not known, so the KV cache is that of a typical model of its size";
  }
  return text;
}

}  // namespace tranche::planning
