#include "engine/test_world.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <thread>

namespace tranche {
namespace {

// A step that a test ends half-way leaves the GPU instance without its compute instance.
Gpu* Find(Machine& machine, const std::string& uuid) {
  for (Gpu& gpu : machine.gpus) {
    if (gpu.uuid == uuid) return &gpu;
  }
  return nullptr;
}

class TimeSlicesDouble final : public TimeSlices {
 public:
  explicit TimeSlicesDouble(std::shared_ptr<TimeSliceWorld> world) : world_(std::move(world)) {}
  Result<TimeSlice> Get(const std::string& gpu_uuid) override {
    if (!world_->why_not.empty()) return Fail(ErrorCode::kUnsupported, world_->why_not);
    return world_->of[gpu_uuid];
  }
  Status Set(const std::string& gpu_uuid, TimeSlice time_slice) override {
    if (!world_->why_not.empty()) return Fail(ErrorCode::kUnsupported, world_->why_not);
    world_->of[gpu_uuid] = time_slice;
    return {};
  }

 private:
  const std::shared_ptr<TimeSliceWorld> world_;
};

// Hands one kernel to one engine after the other.
class SharedSysfs final : public Sysfs {
 public:
  explicit SharedSysfs(std::shared_ptr<FakeVgpuSysfs> files) : files_(std::move(files)) {}
  bool Exists(const std::string& path) const override { return files_->Exists(path); }
  std::vector<std::string> List(const std::string& folder) const override {
    return files_->List(folder);
  }
  Result<std::string> Read(const std::string& path) const override { return files_->Read(path); }
  Status Write(const std::string& path, const std::string& text) override {
    return files_->Write(path, text);
  }
  std::string LinkName(const std::string& path) const override { return files_->LinkName(path); }
  std::vector<int> Holders(const std::string& device) const override {
    return files_->Holders(device);
  }

 private:
  const std::shared_ptr<FakeVgpuSysfs> files_;
};

}  // namespace

// ---- Doubles ----

Result<MigMode> SharedDriver::SetMigMode(const std::string& gpu_uuid, bool enabled) {
  boundary_("before SetMigMode");
  Result<MigMode> mode = driver_->SetMigMode(gpu_uuid, enabled);
  boundary_("after SetMigMode");
  return mode;
}

Status SharedDriver::SetComputeMode(const std::string& gpu_uuid, ComputeMode mode) {
  boundary_("before SetComputeMode");
  Status status = driver_->SetComputeMode(gpu_uuid, mode);
  boundary_("after SetComputeMode");
  return status;
}

Result<MigInstance> SharedDriver::CreateInstance(const std::string& gpu_uuid,
                                                 const std::string& profile,
                                                 MigPlacement placement) {
  boundary_("before CreateInstance");
  Result<MigInstance> made = driver_->CreateInstance(gpu_uuid, profile, placement);
  if (made) {
    // As a real one is between its two calls: the GPU instance is there, the compute instance is
    // not.
    std::vector<MigComputeInstance> computes;
    const auto instance = [&](Machine& machine) -> MigInstance* {
      for (MigInstance& one : Find(machine, gpu_uuid)->mig_instances) {
        if (one.placement == placement) return &one;
      }
      return nullptr;
    };
    driver_->Edit([&](Machine& machine) { instance(machine)->compute_instances.swap(computes); });
    // New at every creation, also over the lives of the fake, which counts from one again.
    for (MigComputeInstance& compute : computes) {
      compute.uuid.replace(4, 8, fmt::format("{:08x}", getpid()));
    }
    made->compute_instances = computes;
    boundary_("within CreateInstance");
    driver_->Edit([&](Machine& machine) { instance(machine)->compute_instances.swap(computes); });
  }
  boundary_("after CreateInstance");
  return made;
}

Status SharedDriver::DestroyInstance(const std::string& gpu_uuid, MigPlacement placement) {
  boundary_("before DestroyInstance");
  Status status = driver_->DestroyInstance(gpu_uuid, placement);
  boundary_("after DestroyInstance");
  return status;
}

Result<MemoryLimitsRead> SharedDriver::GetMemoryLimits(const std::string& gpu_uuid,
                                                       const std::string& cgroup) {
  return driver_->GetMemoryLimits(gpu_uuid, cgroup);
}

Status SharedDriver::SetMemoryLimits(const std::string& gpu_uuid, const std::string& cgroup,
                                     const MemoryLimits& limits) {
  boundary_("before SetMemoryLimits");
  Status set = driver_->SetMemoryLimits(gpu_uuid, cgroup, limits);
  boundary_("after SetMemoryLimits");
  return set;
}

Status RouterDouble::Configure(const std::vector<Route>& routes) {
  boundary_("before Configure");
  {
    const std::lock_guard lock(state_->mutex);
    if (state_->failure) return tl::unexpected(*state_->failure);
    state_->running = true;
    state_->routes = routes;
    ++state_->configured;
  }
  boundary_("after Configure");
  return {};
}

RouterStatus RouterDouble::GetStatus() {
  const std::lock_guard lock(state_->mutex);
  return {state_->running, "http://127.0.0.1:8080", state_->running ? "" : "not started"};
}

Status RouterDouble::Stop(Duration) {
  boundary_("before Stop of the router");
  const std::lock_guard lock(state_->mutex);
  state_->running = false;
  state_->routes.clear();
  return {};
}

void HealthDouble::SetTargets(std::vector<HealthTarget> targets) {
  const std::lock_guard lock(mutex_);
  targets_ = std::move(targets);
}

std::vector<HealthReport> HealthDouble::Reports() {
  const std::lock_guard lock(mutex_);
  const std::lock_guard world(world_->mutex);
  std::vector<HealthReport> reports;
  for (const HealthTarget& target : targets_) {
    HealthReport report;
    report.key = target.key;
    report.state.verdict = HealthState::Verdict::kUp;
    const std::string replica = target.key.substr(0, target.key.rfind('/'));
    for (const std::string& name : {replica.substr(0, replica.find('/')), replica}) {
      const auto verdict = world_->verdicts.find(name);
      if (verdict != world_->verdicts.end()) report.state.verdict = verdict->second;
    }
    if (report.state.verdict == HealthState::Verdict::kDown) report.detail = "GET /health: 503";
    reports.push_back(report);
  }
  return reports;
}

Result<ReplicaStart> BoundedRuntime::Start(const ReplicaLaunch& launch) {
  boundary_("before Start of " + launch.mark.workload);
  Result<ReplicaStart> started = runtime_->Start(launch);
  boundary_("after Start of " + launch.mark.workload);
  return started;
}

Result<ReplicaPoll> BoundedRuntime::StopAndWait(ProcessId process, Duration grace) {
  boundary_("before StopAndWait");
  Result<ReplicaPoll> stopped = runtime_->StopAndWait(process, grace);
  boundary_("after StopAndWait");
  return stopped;
}

// ---- The world ----

World::World(Machine machine) : driver(std::make_shared<FakeDriver>(std::move(machine))) {
  std::string pattern = testing::TempDir() + "worldXXXXXX";
  directory = mkdtemp(pattern.data()) != nullptr ? pattern : "";
  Result<std::shared_ptr<const Catalog>> loaded = Catalog::Load();
  EXPECT_TRUE(loaded) << loaded.error().message;
  if (loaded) catalog = *loaded;
}

World::~World() {
  if (keep) return;
  if (!engine_) {
    if (Result<std::unique_ptr<Engine>> opened = TryOpen()) engine_ = std::move(*opened);
  }
  if (engine_) engine_->StopAll();
  engine_.reset();
  std::filesystem::remove_all(directory);
}

Result<std::unique_ptr<Engine>> World::TryOpen() {
  Engine::Parts parts;
  parts.driver = std::make_unique<SharedDriver>(driver, boundary);
  parts.catalog = catalog;
  parts.clock = clock;
  parts.paths = {directory, directory + "/run", directory + "/etc"};
  RuntimeOptions options;
  options.environment = CurrentEnvironment();
  // Processes end in real time, whatever the clock of the test says.
  auto runtime = MakeProcessRuntime(std::move(options), std::make_shared<SystemClock>());
  EngineEdges edges{std::make_unique<BoundedRuntime>(std::move(runtime), boundary),
                    std::unique_ptr<Router>(std::make_unique<RouterDouble>(router, boundary)),
                    std::make_unique<HealthDouble>(health),
                    std::make_unique<TimeSlicesDouble>(time_slices)};
  if (vgpus != nullptr) {
    vgpus->boundary = boundary;
    edges.vgpus = std::make_unique<VgpuHost>(
        std::make_unique<SharedSysfs>(vgpus),
        [files = vgpus](const std::vector<std::string>& argv) { return files->Run(argv); });
  }
  return OpenEngine(std::move(parts), std::move(edges));
}

void World::AddVgpuHost() {
  AddVgpuHost(80, {{801, "NVIDIA H100XM-80C", 80, 0, 1, 1},
                   {802, "NVIDIA H100XM-40C", 40, 0, 2, 2},
                   {803, "NVIDIA H100XM-20C", 20, 0, 4, 4},
                   {804, "NVIDIA H100XM-16C", 16, 0, 5, 4},
                   {805, "NVIDIA H100XM-10C", 10, 0, 8, 8},
                   {811, "NVIDIA H100XM-3-40C", 40, 3, 2},
                   {812, "NVIDIA H100XM-1-10C", 10, 1, 7}});
}

void World::AddVgpuHost(int gib, std::vector<FakeVgpuSysfs::Type> types, VgpuInterface interface,
                        int functions) {
  vgpus =
      std::make_shared<FakeVgpuSysfs>(interface, gib, functions, std::move(types), "0000:10:00.0");
  const std::shared_ptr<FakeDriver> hardware = driver;
  vgpus->instances_of = [hardware] {
    std::vector<FakeVgpuSysfs::Instance> instances;
    const Machine machine = hardware->machine();
    for (const MigInstance& instance : machine.gpus.front().mig_instances) {
      const MigProfile* profile = machine.gpus.front().FindProfile(instance.profile);
      instances.push_back({instance.id, profile != nullptr ? profile->compute_slices : 0,
                           profile != nullptr ? profile->id : -1});
    }
    return instances;
  };
  vgpus->lose_instances = [hardware] {
    hardware->Edit([](Machine& machine) { machine.gpus.front().mig_instances.clear(); });
  };
}

Engine& World::Open() {
  Result<std::unique_ptr<Engine>> opened = TryOpen();
  if (!opened) {
    ADD_FAILURE() << opened.error().message;
    std::abort();
  }
  engine_ = std::move(*opened);
  return *engine_;
}

ApplyOptions World::Options() const {
  ApplyOptions options;
  options.caller = {getuid(), getgid()};
  options.allow_root = true;
  return options;
}

Plan World::MakePlan(const Spec& spec, bool adopt) {
  PlanOptions options;
  options.adopt = adopt;
  Result<Plan> plan = engine().MakePlan(spec, options);
  EXPECT_TRUE(plan) << plan.error().message;
  if (!plan) return {};
  for (const Unplaced& one : plan->unplaced) ADD_FAILURE() << one.workload << ": " << one.reason;
  return *plan;
}

Result<Receipt> World::TryApply(const Plan& plan) {
  return engine().Apply(plan, Options(), nullptr);
}

Receipt World::Apply(const Spec& spec) {
  const Result<Receipt> receipt = TryApply(MakePlan(spec));
  EXPECT_TRUE(receipt) << receipt.error().message;
  return receipt ? *receipt : Receipt();
}

bool World::TickUntil(const std::function<bool()>& done) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(30);
  while (std::chrono::steady_clock::now() < deadline) {
    engine().Tick();
    if (done()) return true;
    clock->Advance(std::chrono::milliseconds(500));
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  ADD_FAILURE() << "what was waited for did not come";
  return false;
}

ReplicaStatus World::Replica(const std::string& workload, int replica) {
  const Result<SystemStatus> status = engine().GetStatus();
  for (const ReplicaStatus& one : status->replicas) {
    if (one.workload == workload && one.replica == replica) return one;
  }
  ADD_FAILURE() << workload << "/" << replica << " is not in the status";
  return {};
}

std::string World::Variable(const std::string& workload, int replica, const std::string& name) {
  const ReplicaStatus status = Replica(workload, replica);
  if (!status.pid) return "";
  return ReadProcessVariable(*status.pid, name).value_or("");
}

Workload Sleeper(const std::string& name, Bytes memory, const std::string& version) {
  Workload workload;
  workload.name = name;
  workload.kind = WorkloadKind::kInference;
  workload.isolation.word = "hardware";
  workload.isolation.axes = *IsolationWordAxes("hardware");
  workload.memory = Share<Bytes>{memory, memory};
  workload.command = {"sleep", "1000"};
  workload.env = {{"VERSION", version}};
  workload.route = "/" + name;
  workload.allow_root = true;
  return workload;
}

Spec SpecOf(std::vector<Workload> workloads) {
  Spec spec;
  spec.workloads = std::move(workloads);
  return spec;
}

std::string LayoutText(const Machine& machine) {
  std::string text;
  for (const Gpu& gpu : machine.gpus) {
    text += fmt::format("gpu{} mig {}:", gpu.index,
                        gpu.mig_mode && gpu.mig_mode->current ? "on" : "off");
    std::vector<std::string> instances;
    for (const MigInstance& instance : gpu.mig_instances) {
      instances.push_back(fmt::format(" {}@{}{}", instance.profile, instance.placement.start,
                                      instance.compute_instances.empty() ? " (half)" : ""));
    }
    std::sort(instances.begin(), instances.end());
    for (const std::string& instance : instances) text += instance;
    text += "\n";
  }
  return text;
}

}  // namespace tranche
