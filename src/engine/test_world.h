#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "edge/driver/fake/fake_driver.h"
#include "edge/driver/fake/test_machine.h"
#include "edge/driver/vgpu/fake_sysfs.h"
#include "engine/engine_impl.h"

namespace tranche {

// A machine without a GPU for tests of the engine: the hardware, the health checks and the router
// are doubles that outlive the engine; the processes, the store, the lock, the planner and the
// inventory are real.

// Called before and after every call that changes something outside. A test ends the process in it.
using Boundary = std::function<void(const std::string& where)>;

// Hands one driver to one engine after the other, as hardware is there before and after a daemon.
class SharedDriver final : public Driver {
 public:
  SharedDriver(std::shared_ptr<FakeDriver> driver, Boundary boundary)
      : driver_(std::move(driver)), boundary_(std::move(boundary)) {}
  Result<Machine> Read() override { return driver_->Read(); }
  Result<std::vector<GpuProcess>> ReadProcesses(const std::string& gpu_uuid) override {
    return driver_->ReadProcesses(gpu_uuid);
  }
  Result<MigMode> SetMigMode(const std::string& gpu_uuid, bool enabled) override;
  Status SetComputeMode(const std::string& gpu_uuid, ComputeMode mode) override;
  Result<MigInstance> CreateInstance(const std::string& gpu_uuid, const std::string& profile,
                                     MigPlacement placement) override;
  Status DestroyInstance(const std::string& gpu_uuid, MigPlacement placement) override;
  Result<MemoryLimitsRead> GetMemoryLimits(const std::string& gpu_uuid,
                                           const std::string& cgroup) override;
  Status SetMemoryLimits(const std::string& gpu_uuid, const std::string& cgroup,
                         const MemoryLimits& limits) override;
  Result<std::vector<DriverEvent>> WaitForEvents(Duration timeout) override {
    return driver_->WaitForEvents(timeout);
  }

 private:
  std::shared_ptr<FakeDriver> driver_;
  Boundary boundary_;
};

// The router as it would be configured.
struct RouterState {
  std::mutex mutex;
  bool running = false;
  std::vector<Route> routes;
  int configured = 0;
  std::optional<Error> failure;  // of the next calls to Configure
};

class RouterDouble final : public Router {
 public:
  RouterDouble(std::shared_ptr<RouterState> state, Boundary boundary)
      : state_(std::move(state)), boundary_(std::move(boundary)) {}
  Status Configure(const std::vector<Route>& routes) override;
  Status Supervise() override { return {}; }
  RouterStatus GetStatus() override;
  Status Stop(Duration grace) override;

 private:
  std::shared_ptr<RouterState> state_;
  Boundary boundary_;
};

// Every backend is well, but for those of the workloads that a test names.
struct HealthWorld {
  std::mutex mutex;
  std::map<std::string, HealthState::Verdict> verdicts;  // by workload, or "workload/replica"
};

class HealthDouble final : public HealthChecker {
 public:
  explicit HealthDouble(std::shared_ptr<HealthWorld> world) : world_(std::move(world)) {}
  void SetTargets(std::vector<HealthTarget> targets) override;
  std::vector<HealthReport> Reports() override;

 private:
  std::shared_ptr<HealthWorld> world_;
  std::mutex mutex_;
  std::vector<HealthTarget> targets_;
};

// Real processes, with a boundary around each call that makes or ends one.
class BoundedRuntime final : public Runtime {
 public:
  BoundedRuntime(std::unique_ptr<Runtime> runtime, Boundary boundary)
      : runtime_(std::move(runtime)), boundary_(std::move(boundary)) {}
  Result<ReplicaStart> Start(const ReplicaLaunch& launch) override;
  Status Adopt(ProcessId process, const ReplicaMark& mark) override {
    return runtime_->Adopt(process, mark);
  }
  Result<ReplicaPoll> Poll(ProcessId process) override { return runtime_->Poll(process); }
  Status Stop(ProcessId process, Duration grace) override { return runtime_->Stop(process, grace); }
  Result<ReplicaPoll> StopAndWait(ProcessId process, Duration grace) override;
  Result<std::vector<Orphan>> FindOrphans(const std::string& deployment) override {
    return runtime_->FindOrphans(deployment);
  }
  Status StopOrphans(const std::vector<Orphan>& orphans, Duration grace) override {
    return runtime_->StopOrphans(orphans, grace);
  }

 private:
  std::unique_ptr<Runtime> runtime_;
  Boundary boundary_;
};

// What the driver keeps of each GPU as long as it is loaded.
struct TimeSliceWorld {
  std::map<std::string, TimeSlice> of;  // by UUID
  std::string why_not;                  // "": they can be set
};

class World {
 public:
  explicit World(Machine machine);
  ~World();  // ends what runs
  World(const World&) = delete;
  World& operator=(const World&) = delete;

  // Opens the engine, or fails the test. The one before must be gone.
  Engine& Open();
  Result<std::unique_ptr<Engine>> TryOpen();
  // As a daemon that ends and leaves its workloads running.
  void Close() { engine_.reset(); }
  Engine& engine() { return *engine_; }

  // Puts GPU 0 under a vGPU host driver, with some types of H100.
  void AddVgpuHost();
  void AddVgpuHost(int gib, std::vector<FakeVgpuSysfs::Type> types,
                   VgpuInterface interface = VgpuInterface::kVendorVfio, int functions = 16);

  // Plans for `spec` and applies the plan; fails the test when there is no receipt.
  Receipt Apply(const Spec& spec);
  Result<Receipt> TryApply(const Plan& plan);
  Plan MakePlan(const Spec& spec, bool adopt = false);
  ApplyOptions Options() const;

  // Ticks until `done` says so, or fails the test after some seconds of real time. The manual clock
  // moves a little with every tick.
  bool TickUntil(const std::function<bool()>& done);
  ReplicaStatus Replica(const std::string& workload, int replica = 0);
  // The variable that the running process was started with, "" when there is none.
  std::string Variable(const std::string& workload, int replica, const std::string& name);

  std::string directory;
  std::shared_ptr<FakeDriver> driver;
  std::shared_ptr<RouterState> router = std::make_shared<RouterState>();
  std::shared_ptr<HealthWorld> health = std::make_shared<HealthWorld>();
  std::shared_ptr<TimeSliceWorld> time_slices = std::make_shared<TimeSliceWorld>();
  // The vGPUs of GPU 0, when a test puts it under a host driver.
  std::shared_ptr<FakeVgpuSysfs> vgpus;
  std::shared_ptr<ManualClock> clock = std::make_shared<ManualClock>();
  std::shared_ptr<const Catalog> catalog;
  Boundary boundary = [](const std::string&) {};
  bool keep = false;  // the directory and the processes stay

 private:
  std::unique_ptr<Engine> engine_;
};

// A workload that sleeps on a slice of `memory` of its own. VERSION is in its environment.
Workload Sleeper(const std::string& name, Bytes memory, const std::string& version = "1");
Spec SpecOf(std::vector<Workload> workloads);

// MIG modes, and profiles at placements, of every GPU: what old and new state are compared by.
std::string LayoutText(const Machine& machine);

}  // namespace tranche
