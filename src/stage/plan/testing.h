#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "catalog/catalog.h"
#include "model/deployment.h"
#include "model/machine.h"
#include "model/plan.h"
#include "model/spec.h"

namespace tranche::planning {

const Catalog& TestCatalog();

// A machine with these GPUs of the catalog, MIG off, nothing on it, all of MIG, exclusive and
// time-slicing on offer.
Machine MachineWith(const std::vector<std::string>& gpus);
void OfferMps(Machine* machine);
// Puts an instance there (and MIG on), with an id of its own.
MigInstance& PutInstance(Machine& machine, size_t gpu, const std::string& profile, int start);
void PutProcess(Machine& machine, size_t gpu, int pid, const std::string& command,
                std::optional<int> gpu_instance = std::nullopt);

// Workloads in one line each.
Workload Hardware(const std::string& name, Bytes memory, int replicas = 1);
Workload Shared(const std::string& name, Bytes memory, int replicas = 1);  // isolation: none
// Process isolation, and a share of the GPU's time where `compute` is not 0.
Workload Limited(const std::string& name, Share<Bytes> memory, double compute, int replicas = 1);
Workload Model(const std::string& name, const std::string& model, const std::string& precision,
               int context, int concurrency, ServingEngine engine = ServingEngine::kModelServer);
Spec SpecOf(std::vector<Workload> workloads);
Spec ThreeModels();

// The machine and deployment after every step of `plan` has been done, one by one. Fails the test
// on a step that could not be: an instance over another or without MIG mode, a destruction of what
// runs, ...
struct World {
  Machine machine;
  Deployment deployment;
};
World Applied(const Machine& machine, const Deployment& deployment, const Plan& plan);

// Holds a feasible plan to everything it promises; fails the test otherwise.
void ExpectSound(const Machine& machine, const Spec& spec, const Deployment& deployment,
                 const Plan& plan);

// The plan in short: one line per step, "+ gpu0 2g.20gb@0".
std::vector<std::string> Lines(const Plan& plan);
// Steps of one kind.
int Count(const Plan& plan, StepKind kind);

}  // namespace tranche::planning
