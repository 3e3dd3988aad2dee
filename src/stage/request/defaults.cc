#include "stage/request/defaults.h"

#include <algorithm>

#include "stage/request/tiers.h"

namespace tranche {
namespace {

bool ServesRequests(const YamlNode& node, const Workload& workload) {
  if (workload.model || workload.engine != ServingEngine::kCommand) return true;
  for (const char* key : {"port", "route", "traffic", "slo"}) {
    if (node.Find(key) != nullptr) return true;
  }
  return false;
}

bool LoadsWeights(ServingEngine engine) {
  return engine == ServingEngine::kVllm || engine == ServingEngine::kTriton ||
         engine == ServingEngine::kLlamaCpp;
}

bool IsPrecision(const std::string& word) {
  return std::find(kPrecisions.begin(), kPrecisions.end(), word) != kPrecisions.end();
}

void FillInModel(const YamlNode& node, const Catalog& catalog, ModelAsk* model) {
  const Result<const CatalogModel*> known = catalog.FindModel(model->name);
  if (model->name.empty() || !known) return;
  const auto given = [&](const char* key) { return node.IsMap() && node.Find(key) != nullptr; };
  if (!given("precision") && IsPrecision((*known)->dtype)) model->precision = (*known)->dtype;
  if (!given("context") && (*known)->max_position > 0) {
    model->context = std::min(model->context, (*known)->max_position);
  }
}

}  // namespace

void FillInDefaults(const YamlNode& node, const Spec& spec, const Catalog& catalog,
                    Workload* workload) {
  const auto given = [&](const char* key) { return node.Find(key) != nullptr; };
  if (workload->model) FillInModel(*node.Find("model"), catalog, &*workload->model);
  if (!given("engine") && workload->model && !given("command") && !given("image")) {
    workload->engine = ServingEngine::kVllm;
  }
  if (!given("kind") && ServesRequests(node, *workload)) workload->kind = WorkloadKind::kInference;
  // Memory that somebody asks for is worth nothing when the neighbour may take it, so limits hold
  // unless the spec says that they need not.
  if (!given("isolation")) workload->isolation = {"process", *IsolationWordAxes("process"), false};
  FillInFromTier(node, spec, catalog, workload);
  if (!given("startup_grace") && LoadsWeights(workload->engine)) {
    workload->startup_grace = std::chrono::minutes(10);
  }
  // With all that a prediction needs, the plan works out what is not stated.
  const std::optional<Traffic>& traffic = workload->traffic;
  if (workload->kind == WorkloadKind::kInference && workload->model && workload->slo && traffic &&
      traffic->prompt_tokens > 0 && traffic->output_tokens > 0) {
    const YamlNode& model = *node.Find("model");
    // Each replica takes a port from `port` on, and how far that may go is checked before the plan.
    workload->by_traffic = {!given("replicas") && !given("port"),
                            !model.IsMap() || model.Find("concurrency") == nullptr,
                            !given("compute")};
  }
  // A container starts where its image says.
  if (!given("working_directory") && workload->image.empty())
    workload->working_directory = spec.directory;
  if (!given("allow_root")) workload->allow_root = spec.allow_root;
}

}  // namespace tranche
