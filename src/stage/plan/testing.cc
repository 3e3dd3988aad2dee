#include "stage/plan/testing.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/json.h"
#include "decide/geometry/mig_geometry.h"

namespace tranche::planning {
namespace {

// Absent when the spec has no such workload.
std::optional<DeployedReplica> DeployedBy(const Step& step, const Spec& spec) {
  const auto workload = std::find_if(spec.workloads.begin(), spec.workloads.end(),
                                     [&](const Workload& w) { return w.name == step.workload; });
  if (workload == spec.workloads.end()) return std::nullopt;
  DeployedReplica replica;
  replica.workload = step.workload;
  replica.replica = step.replica;
  replica.digest = WorkloadDigest(*workload);
  replica.slice = *step.slice;
  replica.route = workload->route;
  return replica;
}

Guarantees All(Guarantee guarantee) {
  return {guarantee, guarantee, guarantee, Guarantee::kKernel};
}

Gpu GpuFrom(const CatalogGpu& entry, int index) {
  Gpu gpu;
  gpu.uuid = fmt::format("GPU-{}", index);
  gpu.index = index;
  gpu.name = entry.nvml_names.empty() ? entry.key : entry.nvml_names.front();
  gpu.model = entry.key;
  gpu.architecture = entry.architecture;
  if (entry.sm_count) gpu.sm_count = *entry.sm_count;
  gpu.memory_total = entry.memory.value_or(Bytes{});
  if (entry.mig_capable) {
    gpu.mig_mode = MigMode{};
    gpu.memory_slots = entry.mig_memory_slots;
    gpu.mig_profiles = entry.mig_profiles;
  } else {
    gpu.mig_mode = Reading<MigMode>::Absent("this GPU has no MIG");
  }
  return gpu;
}

Gpu* FindGpu(Machine& machine, const std::string& uuid) {
  for (Gpu& gpu : machine.gpus) {
    if (gpu.uuid == uuid) return &gpu;
  }
  return nullptr;
}

bool Overlap(MigPlacement a, MigPlacement b) {
  return a.start < b.start + b.size && b.start < a.start + a.size;
}

bool ShareAnInstance(const Slice& a, const Slice& b) {
  const bool may = a.mechanism == Mechanism::kMps || a.mechanism == Mechanism::kVgpu;
  return may && a.mechanism == b.mechanism && a.placement && a.placement == b.placement &&
         a.profile == b.profile;
}

void Do(const Step& step, const Spec& spec, World& world) {
  SCOPED_TRACE(fmt::format("step {}: {} {}", step.id, StepKindName(step.kind), step.target));
  Gpu* gpu = FindGpu(world.machine, step.gpu_uuid);
  auto& instances = world.deployment.instances;
  auto& replicas = world.deployment.replicas;
  const auto runs_on = [&](const DeployedReplica& replica) {
    const auto& more = replica.slice.more_gpu_uuids;
    return replica.slice.gpu_uuid == step.gpu_uuid ||
           std::find(more.begin(), more.end(), step.gpu_uuid) != more.end();
  };
  switch (step.kind) {
    case StepKind::kEnableMig:
    case StepKind::kDisableMig:
      ASSERT_NE(gpu, nullptr);
      EXPECT_TRUE(gpu->mig_instances.empty());
      EXPECT_TRUE(gpu->processes.empty());
      EXPECT_TRUE(std::none_of(replicas.begin(), replicas.end(), runs_on));
      EXPECT_NE(gpu->mig_mode->current, step.kind == StepKind::kEnableMig);
      gpu->mig_mode = MigMode{step.kind == StepKind::kEnableMig, step.kind == StepKind::kEnableMig};
      return;
    case StepKind::kDestroyInstance: {
      ASSERT_NE(gpu, nullptr);
      const MigInstance* instance = gpu->FindInstance(*step.slice->placement);
      ASSERT_NE(instance, nullptr);
      EXPECT_EQ(instance->profile, step.slice->profile);
      for (const DeployedReplica& replica : replicas) {
        EXPECT_FALSE(runs_on(replica) && replica.slice.placement == step.slice->placement)
            << replica.workload << " runs on it";
      }
      gpu->mig_instances.erase(gpu->mig_instances.begin() + (instance - gpu->mig_instances.data()));
      instances.erase(std::remove_if(instances.begin(), instances.end(),
                                     [&](const OwnedInstance& owned) {
                                       return owned.gpu_uuid == step.gpu_uuid &&
                                              owned.placement == *step.slice->placement;
                                     }),
                      instances.end());
      return;
    }
    case StepKind::kCreateInstance: {
      ASSERT_NE(gpu, nullptr);
      EXPECT_TRUE(gpu->mig_mode->current);
      const MigGeometry geometry = *MigGeometry::Make(gpu->mig_profiles);
      const auto profile = geometry.Find(step.slice->profile);
      ASSERT_TRUE(profile);
      const Status fits = geometry.CheckFits(geometry.OccupancyOf(gpu->mig_instances), *profile,
                                             *step.slice->placement);
      EXPECT_TRUE(fits) << fits.error().message;
      PutInstance(world.machine, static_cast<size_t>(gpu->index), step.slice->profile,
                  step.slice->placement->start);
      instances.push_back({step.gpu_uuid, step.slice->profile, *step.slice->placement});
      return;
    }
    case StepKind::kKeepInstance:
      ASSERT_NE(gpu, nullptr);
      ASSERT_NE(gpu->FindInstance(*step.slice->placement), nullptr);
      EXPECT_EQ(gpu->FindInstance(*step.slice->placement)->profile, step.slice->profile);
      if (!world.deployment.Owns(step.gpu_uuid, *step.slice->placement)) {
        instances.push_back({step.gpu_uuid, step.slice->profile, *step.slice->placement});
      }
      return;
    case StepKind::kStopReplica: {
      const DeployedReplica* running = world.deployment.FindReplica(step.workload, step.replica);
      ASSERT_NE(running, nullptr);
      EXPECT_EQ(running->slice, *step.slice);
      replicas.erase(replicas.begin() + (running - replicas.data()));
      return;
    }
    case StepKind::kStartReplica: {
      EXPECT_EQ(world.deployment.FindReplica(step.workload, step.replica), nullptr);
      ASSERT_NE(gpu, nullptr);
      if (step.slice->placement) {
        const MigInstance* instance = gpu->FindInstance(*step.slice->placement);
        ASSERT_NE(instance, nullptr);
        EXPECT_EQ(instance->profile, step.slice->profile);
      } else if (gpu->mig_mode) {
        EXPECT_FALSE(gpu->mig_mode->current);
      }
      for (const DeployedReplica& other : replicas) {
        if (!runs_on(other)) continue;
        if (step.slice->placement) {
          ASSERT_TRUE(other.slice.placement);
          EXPECT_TRUE(ShareAnInstance(other.slice, *step.slice) ||
                      !Overlap(*other.slice.placement, *step.slice->placement));
        } else {
          EXPECT_EQ(other.slice.mechanism, step.slice->mechanism);
          EXPECT_NE(other.slice.mechanism, Mechanism::kExclusive);
        }
      }
      std::optional<DeployedReplica> replica = DeployedBy(step, spec);
      ASSERT_TRUE(replica);
      replica->pids = {100000 + static_cast<int>(replicas.size())};
      replicas.push_back(*std::move(replica));
      return;
    }
    case StepKind::kKeepReplica: {
      const DeployedReplica* running = world.deployment.FindReplica(step.workload, step.replica);
      ASSERT_NE(running, nullptr);
      EXPECT_EQ(running->slice, *step.slice);
      return;
    }
    case StepKind::kSetTimeSlice: {
      ASSERT_NE(gpu, nullptr);
      ASSERT_TRUE(step.time_slice);
      gpu->time_slice = *step.time_slice;
      auto& set = world.deployment.time_slices;
      set.erase(std::remove_if(set.begin(), set.end(),
                               [&](const SetTimeSlice& s) { return s.gpu_uuid == step.gpu_uuid; }),
                set.end());
      set.push_back({step.gpu_uuid, *step.time_slice});
      return;
    }
    case StepKind::kSetComputeMode: {
      ASSERT_NE(gpu, nullptr);
      ASSERT_TRUE(step.compute_mode && step.compute_mode_before);
      EXPECT_FALSE(gpu->mig_mode && gpu->mig_mode->current) << "it has none";
      const bool exclusive = *step.compute_mode == ComputeMode::kExclusiveProcess;
      for (const DeployedReplica& replica : world.deployment.replicas) {
        if (replica.slice.gpu_uuid != step.gpu_uuid) continue;
        EXPECT_EQ(replica.slice.mechanism == Mechanism::kMps, exclusive) << replica.workload;
      }
      gpu->compute_mode = *step.compute_mode;
      auto& set = world.deployment.compute_modes;
      std::erase_if(set, [&](const SetComputeMode& s) { return s.gpu_uuid == step.gpu_uuid; });
      if (step.change == Change::kDestroy) return;
      set.push_back({step.gpu_uuid, *step.compute_mode});
      world.deployment.baselines.push_back(
          {step.gpu_uuid, false, {}, {}, step.compute_mode_before});
      return;
    }
    case StepKind::kCreateVgpu: {
      ASSERT_NE(gpu, nullptr);
      ASSERT_TRUE(gpu->vgpu);
      GpuVgpu& vgpu = *gpu->vgpu;
      EXPECT_GT(vgpu.functions, 0) << "there is no place for it";
      EXPECT_EQ(world.deployment.FindReplica(step.workload, step.replica), nullptr);
      const VgpuOffer* offer = vgpu.FindOffer(step.slice->vgpu_type);
      ASSERT_NE(offer, nullptr);
      double parts = 0;
      for (const VgpuThere& there : vgpu.there) {
        const VgpuOffer* other = vgpu.FindOffer(there.type);
        ASSERT_NE(other, nullptr);
        EXPECT_EQ(other->mig_slices > 0, offer->mig_slices > 0);
        if (offer->mig_slices > 0) continue;
        if (!*vgpu.mixed) {
          EXPECT_EQ(other->framebuffer, offer->framebuffer) << "two sizes on one GPU";
        }
        parts += 1.0 / (*vgpu.mixed ? other->most_mixed : other->most);
      }
      if (offer->mig_slices > 0) {
        ASSERT_TRUE(step.slice->placement);
        ASSERT_NE(gpu->FindInstance(*step.slice->placement), nullptr);
        EXPECT_EQ(gpu->FindInstance(*step.slice->placement)->profile, offer->mig_profile);
        int beside = 0;
        for (const VgpuThere& there : vgpu.there) {
          const DeployedReplica* other =
              world.deployment.FindReplica(there.workload, there.replica);
          if (other == nullptr || other->slice.placement != step.slice->placement) continue;
          EXPECT_EQ(there.framebuffer, offer->framebuffer) << "two sizes in one instance";
          ++beside;
        }
        EXPECT_LT(beside, offer->most_per_instance);
      } else {
        EXPECT_LE(parts + 1.0 / (*vgpu.mixed ? offer->most_mixed : offer->most), 1 + 1e-9);
        EXPECT_FALSE(gpu->mig_mode && gpu->mig_mode->current);
      }
      VgpuThere& there = vgpu.there.emplace_back();
      there.id = fmt::format("{}/{}", step.workload, step.replica);
      there.type = offer->name;
      there.framebuffer = offer->framebuffer;
      there.mig_slices = offer->mig_slices;
      there.ours = true;
      there.workload = step.workload;
      there.replica = step.replica;
      std::optional<DeployedReplica> replica = DeployedBy(step, spec);
      ASSERT_TRUE(replica);
      replicas.push_back(*std::move(replica));
      return;
    }
    case StepKind::kDestroyVgpu: {
      ASSERT_NE(gpu, nullptr);
      const DeployedReplica* there = world.deployment.FindReplica(step.workload, step.replica);
      ASSERT_NE(there, nullptr);
      EXPECT_EQ(there->slice, *step.slice);
      std::erase_if(gpu->vgpu->there, [&](const VgpuThere& one) {
        return one.workload == step.workload && one.replica == step.replica;
      });
      replicas.erase(replicas.begin() + (there - replicas.data()));
      return;
    }
    case StepKind::kSetVgpuHost: {
      ASSERT_NE(gpu, nullptr);
      GpuVgpu& vgpu = *gpu->vgpu;
      if (step.vgpu_host->functions != (vgpu.functions > 0)) {
        EXPECT_TRUE(gpu->mig_instances.empty()) << "they are lost";
        vgpu.functions = step.vgpu_host->functions ? 32 : 0;
        vgpu.mixed = false;
      }
      if (*vgpu.mixed != step.vgpu_host->mixed) {
        EXPECT_TRUE(vgpu.there.empty()) << "only while there is none";
      }
      vgpu.mixed = step.vgpu_host->mixed;
      if (step.vgpu_host->scheduler) vgpu.scheduler = *step.vgpu_host->scheduler;
      auto& set = world.deployment.vgpu_hosts;
      const bool first = world.deployment.FindVgpuHost(step.gpu_uuid) == nullptr;
      std::erase_if(set, [&](const SetVgpuHost& s) { return s.gpu_uuid == step.gpu_uuid; });
      if (step.change == Change::kDestroy) return;
      set.push_back({step.gpu_uuid, *step.vgpu_host});
      if (first) {
        Baseline baseline;
        baseline.gpu_uuid = step.gpu_uuid;
        baseline.vgpu_host = step.vgpu_host_before;
        world.deployment.baselines.push_back(baseline);
      }
      return;
    }
    case StepKind::kRoute:
    case StepKind::kUnroute:
      return;
  }
}

}  // namespace

const Catalog& TestCatalog() {
  static const std::shared_ptr<const Catalog> catalog = *Catalog::Load();
  return *catalog;
}

Machine MachineWith(const std::vector<std::string>& gpus) {
  Machine machine;
  machine.hostname = "node";
  machine.driver_version = std::string("580.95");
  for (const std::string& key : gpus) {
    machine.gpus.push_back(
        GpuFrom(**TestCatalog().FindGpu(key), static_cast<int>(machine.gpus.size())));
    const Gpu& gpu = machine.gpus.back();
    const auto offer = [&](Mechanism mechanism, bool available, Guarantees guarantees) {
      machine.capabilities.push_back(
          {gpu.uuid, mechanism, available, available ? "" : "not on this GPU", guarantees});
    };
    offer(Mechanism::kExclusive, true, All(Guarantee::kHardware));
    offer(Mechanism::kMig, !gpu.mig_profiles.empty(), All(Guarantee::kHardware));
    offer(Mechanism::kMps, false, {});
    offer(Mechanism::kTimeSlicing, true, {});
    offer(Mechanism::kFraction, true,
          {Guarantee::kCooperative, Guarantee::kCooperative, Guarantee::kNone, Guarantee::kNone});
  }
  machine.fingerprint = MachineFingerprint(machine);
  return machine;
}

void OfferMps(Machine* machine) {
  for (Capability& capability : machine->capabilities) {
    if (capability.mechanism != Mechanism::kMps) continue;
    capability.available = true;
    capability.reason.clear();
    capability.guarantees = {Guarantee::kCooperative, Guarantee::kCooperative, Guarantee::kNone,
                             Guarantee::kNone};
  }
}

MigInstance& PutInstance(Machine& machine, size_t gpu_index, const std::string& profile_name,
                         int start) {
  Gpu& gpu = machine.gpus[gpu_index];
  gpu.mig_mode = MigMode{true, true};
  const MigProfile* profile = gpu.FindProfile(profile_name);
  MigInstance instance;
  instance.id = 1 + start * 16 + (profile != nullptr ? profile->nvml_profile : 0);
  instance.profile = profile_name;
  if (profile != nullptr) {
    instance.profile_id = profile->id;
    instance.placement = {start, profile->placements.front().size};
    instance.memory = profile->memory;
    MigComputeInstance compute;
    compute.uuid = fmt::format("MIG-{}-{}", gpu.uuid, start);
    compute.compute_slices = profile->compute_slices;
    compute.placement = {0, profile->compute_slices};
    instance.compute_instances.push_back(compute);
  }
  const auto after =
      std::find_if(gpu.mig_instances.begin(), gpu.mig_instances.end(),
                   [&](const MigInstance& other) { return other.placement.start > start; });
  auto& put = *gpu.mig_instances.insert(after, std::move(instance));
  machine.fingerprint = MachineFingerprint(machine);
  return put;
}

void PutProcess(Machine& machine, size_t gpu, int pid, const std::string& command,
                std::optional<int> gpu_instance) {
  GpuProcess process;
  process.pid = pid;
  process.command = command;
  process.user = "ana";
  process.memory_used = GiB(1);
  process.gpu_instance = gpu_instance;
  machine.gpus[gpu].processes.push_back(std::move(process));
}

Workload Hardware(const std::string& name, Bytes memory, int replicas) {
  Workload workload;
  workload.name = name;
  workload.isolation = {
      "hardware",
      {Guarantee::kHardware, Guarantee::kHardware, Guarantee::kHardware, Guarantee::kNone},
      false};
  workload.memory = Share<Bytes>{memory, memory};
  workload.replicas = replicas;
  workload.command = {"serve"};
  return workload;
}

Workload Shared(const std::string& name, Bytes memory, int replicas) {
  Workload workload = Hardware(name, memory, replicas);
  workload.isolation = {"none", {}, false};
  return workload;
}

Workload Limited(const std::string& name, Share<Bytes> memory, double compute, int replicas) {
  Workload workload = Hardware(name, memory.request, replicas);
  workload.isolation = {
      "process",
      {Guarantee::kCooperative, Guarantee::kCooperative, Guarantee::kNone, Guarantee::kNone},
      false};
  workload.memory = memory;
  if (compute > 0) workload.compute = Share<Fraction>{{compute}, {1}};
  return workload;
}

Workload Model(const std::string& name, const std::string& model, const std::string& precision,
               int context, int concurrency, ServingEngine engine) {
  Workload workload = Hardware(name, {});
  workload.memory.reset();
  workload.command.clear();
  workload.kind = WorkloadKind::kInference;
  workload.engine = engine;
  workload.route = "/" + name;
  ModelAsk ask;
  ask.name = model;
  ask.precision = precision;
  ask.context = context;
  ask.concurrency = concurrency;
  workload.model = ask;
  return workload;
}

Spec SpecOf(std::vector<Workload> workloads) {
  Spec spec;
  spec.workloads = std::move(workloads);
  return spec;
}

Spec ThreeModels() {
  return SpecOf({Model("phi", "phi-4", "int4", 8192, 4),
                 Model("mistral", "mistral-7b", "int4", 8192, 8),
                 Model("qwen", "qwen3-8b", "int4", 8192, 8)});
}

World Applied(const Machine& machine, const Deployment& deployment, const Plan& plan) {
  World world{machine, deployment};
  for (const Step& step : plan.steps) Do(step, plan.spec, world);
  // What was deployed is known by the plan from now on.
  world.deployment.plan_id = plan.id;
  world.machine.fingerprint = MachineFingerprint(world.machine);
  return world;
}

void ExpectSound(const Machine& machine, const Spec& spec, const Deployment& deployment,
                 const Plan& plan) {
  ASSERT_TRUE(plan.feasible()) << plan.unplaced.front().reason;
  size_t replicas = 0;
  std::map<std::string, std::vector<const Assignment*>> by_gpu;
  for (const Workload& workload : spec.workloads)
    replicas += static_cast<size_t>(workload.replicas);
  EXPECT_EQ(plan.assignments.size(), replicas);
  for (const Assignment& assignment : plan.assignments) {
    SCOPED_TRACE(fmt::format("{}/{}", assignment.workload, assignment.replica));
    const auto workload =
        std::find_if(spec.workloads.begin(), spec.workloads.end(),
                     [&](const Workload& w) { return w.name == assignment.workload; });
    ASSERT_NE(workload, spec.workloads.end());
    EXPECT_TRUE(assignment.guarantee.Satisfies(workload->isolation.axes));
    EXPECT_LE(assignment.needed, assignment.slice.memory);
    if (workload->memory) {
      EXPECT_GE(assignment.slice.memory, workload->memory->request);
    }
    if (workload->compute) {
      EXPECT_GE(assignment.slice.compute_fraction, workload->compute->request.value - 1e-9);
    }
    EXPECT_TRUE(workload->gpu.empty() || assignment.gpu_model == workload->gpu);
    EXPECT_EQ(workload->mechanism.value_or(assignment.slice.mechanism), assignment.slice.mechanism);
    EXPECT_EQ(assignment.slice.more_gpu_uuids.size() + 1, static_cast<size_t>(workload->gpus));
    EXPECT_FALSE(assignment.reasons.empty());
    by_gpu[assignment.slice.gpu_uuid].push_back(&assignment);
    for (const std::string& uuid : assignment.slice.more_gpu_uuids)
      by_gpu[uuid].push_back(&assignment);
  }
  for (const auto& [uuid, here] : by_gpu) {
    SCOPED_TRACE(uuid);
    const Gpu* gpu = machine.FindGpu(uuid);
    ASSERT_NE(gpu, nullptr);
    EXPECT_TRUE(gpu->health.usable);
    Bytes memory;
    double time = 0;
    std::map<MigPlacement, Bytes> shared;  // memory of tenants of shared instances
    for (const Assignment* a : here) {
      const Workload& workload =
          *std::find_if(spec.workloads.begin(), spec.workloads.end(),
                        [&](const Workload& w) { return w.name == a->workload; });
      if (a->slice.mechanism == Mechanism::kFraction) {
        EXPECT_EQ(a->slice.memory,
                  workload.preemptible ? workload.memory->request : workload.memory->limit);
        if (workload.compute) time += workload.compute->request.value;
      }
      // Types of virtual GPUs divide the board, a little more than NVML counts; their own rules
      // are held step by step.
      const bool vgpu = a->slice.mechanism == Mechanism::kVgpu;
      memory += a->slice.mechanism == Mechanism::kExclusive ? gpu->memory_total
                : vgpu                                      ? Bytes{}
                                                            : a->slice.memory;
      if (a->slice.placement && a->slice.mechanism == Mechanism::kMps) {
        Bytes& of_instance = shared[*a->slice.placement];
        of_instance += a->slice.memory;
        EXPECT_LE(of_instance, gpu->FindProfile(a->slice.profile)->memory);
      }
      for (const Assignment* b : here) {
        if (a == b) continue;
        if (ShareAnInstance(a->slice, b->slice)) {
          EXPECT_TRUE(a->team == b->team || workload.trusted || vgpu)
              << "untrusted teams share a fault domain";
          continue;
        }
        EXPECT_TRUE(a->slice.mechanism == b->slice.mechanism ||
                    (a->slice.placement && b->slice.placement));
        EXPECT_NE(a->slice.mechanism, Mechanism::kExclusive);
        if (a->slice.mechanism == Mechanism::kFraction && a->team != b->team) {
          EXPECT_TRUE(workload.trusted) << "untrusted teams share a fault domain";
        }
        if (a->slice.placement) {
          ASSERT_TRUE(b->slice.placement);
          EXPECT_FALSE(Overlap(*a->slice.placement, *b->slice.placement));
        }
      }
    }
    EXPECT_LE(memory, gpu->memory_total);
    EXPECT_LE(time, 1 + 1e-9);
  }

  // Doing the steps yields exactly the layout that the plan states, and touches nothing of others.
  const World after = Applied(machine, deployment, plan);
  EXPECT_EQ(after.deployment.replicas.size(), plan.assignments.size());
  for (const Assignment& assignment : plan.assignments) {
    const DeployedReplica* replica =
        after.deployment.FindReplica(assignment.workload, assignment.replica);
    ASSERT_NE(replica, nullptr);
    EXPECT_EQ(replica->slice, assignment.slice);
  }
  std::set<std::pair<std::string, MigPlacement>> held;
  for (const DeployedReplica& replica : after.deployment.replicas) {
    if (!replica.slice.placement) continue;
    held.emplace(replica.slice.gpu_uuid, *replica.slice.placement);
    EXPECT_TRUE(after.deployment.Owns(replica.slice.gpu_uuid, *replica.slice.placement));
  }
  EXPECT_EQ(after.deployment.instances.size(), held.size())
      << "an instance is left that nobody needs";
  for (const Gpu& gpu : machine.gpus) {
    for (const MigInstance& instance : gpu.mig_instances) {
      if (plan.adopts || deployment.Owns(gpu.uuid, instance.placement)) continue;
      const MigInstance* still = after.machine.FindGpu(gpu.uuid)->FindInstance(instance.placement);
      ASSERT_NE(still, nullptr) << "a foreign instance is gone";
      EXPECT_EQ(*still, instance);
    }
  }
  const Result<Plan> read = PlanFromJson(ToJson(plan));
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(*read, plan);
}

std::vector<std::string> Lines(const Plan& plan) {
  std::vector<std::string> lines;
  for (const Step& step : plan.steps) {
    const bool stop = step.kind == StepKind::kStopReplica;
    const bool start = step.kind == StepKind::kStartReplica;
    lines.push_back(fmt::format("{} {}{}", ChangeSymbol(step.change),
                                stop                                 ? "stop "
                                : start                              ? "start "
                                : step.kind == StepKind::kEnableMig  ? "mig on "
                                : step.kind == StepKind::kDisableMig ? "mig off "
                                                                     : "",
                                step.target));
  }
  return lines;
}

int Count(const Plan& plan, StepKind kind) {
  return static_cast<int>(std::count_if(plan.steps.begin(), plan.steps.end(),
                                        [&](const Step& step) { return step.kind == kind; }));
}

}  // namespace tranche::planning
