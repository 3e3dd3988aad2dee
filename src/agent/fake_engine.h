#pragma once

#include <atomic>
#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "engine/engine.h"

namespace tranche {

// For tests of what stands above the engine: remembers what it was asked and answers what it was
// told.
class FakeEngine final : public Engine {
 public:
  Result<Machine> Inventory() override { return machine; }
  Result<Plan> MakePlan(const Spec& spec, const PlanOptions& options) override {
    Plan plan;
    plan.id = "p1:0000000000000001";
    plan.spec = spec;
    plan.adopts = options.adopt;
    return plan;
  }
  Result<Receipt> Apply(const Plan& plan, const ApplyOptions& options,
                        const StepProgress& progress) override {
    {
      const std::lock_guard lock(mutex);
      applied.push_back(options);
    }
    if (during_apply) during_apply();
    Receipt receipt = Told(plan.id, progress);
    ++finished;
    if (refuse_apply) return tl::unexpected<Error>(*refuse_apply);
    return receipt;
  }
  Result<Receipt> Down(const ApplyOptions&, const StepProgress& progress) override {
    return Told("down", progress);
  }
  Result<SystemStatus> GetStatus() override { return status; }
  Result<LogPart> Logs(const std::string& workload, int replica, int lines,
                       std::optional<uint64_t> from) override {
    if (workload != "phi") return Fail(ErrorCode::kNotFound, "no workload '" + workload + "'");
    return LogPart{"replica " + std::to_string(replica) + ", " + std::to_string(lines) + " lines\n",
                   from.value_or(0) + 10};
  }
  Status Stop(const std::string& workload, std::optional<int> replica) override {
    const std::lock_guard lock(mutex);
    stopped.push_back(workload + (replica ? "/" + std::to_string(*replica) : ""));
    return {};
  }
  Status Restart(const std::string&, std::optional<int>) override {
    return Fail(ErrorCode::kBusy, "it is being applied", "wait");
  }
  Result<Deployment> GetDeployment() override { return Deployment{}; }
  Result<Spec> GetSpec() override { return Spec{}; }
  Status SetDrained(const std::string& gpu_uuid, bool on) override {
    if (machine.FindGpu(gpu_uuid) == nullptr) return Fail(ErrorCode::kNotFound, "no such GPU");
    const std::lock_guard lock(mutex);
    drained.push_back((on ? "+" : "-") + gpu_uuid);
    return {};
  }
  Result<Lease> GrantLease(const LeaseRequest& request, const Caller& caller, int pid) override {
    Lease lease;
    lease.id = "run-1";
    lease.program = request.program;
    lease.memory = request.memory;
    lease.compute = request.compute;
    lease.uid = caller.uid;
    lease.pid = pid;
    return lease;
  }
  Result<Lease> ChangeLease(const std::string& id, const LeaseChange& change,
                            const Caller& caller) override {
    if (id != "run-1") return Fail(ErrorCode::kNotFound, "there is no lease '" + id + "'");
    LeaseRequest request;
    request.program = "train";
    request.memory = change.memory;
    request.compute = change.compute;
    return GrantLease(request, caller, 1);
  }
  Status EndLease(const std::string& id, const Caller&) override {
    if (id == "run-1") return {};
    return Fail(ErrorCode::kNotFound, "there is no lease '" + id + "'");
  }
  void Tick() override { ++ticks; }
  void StopAll() override {
    if (during_stop_all) during_stop_all();
  }

  Machine machine;
  SystemStatus status;
  std::vector<Step> steps;  // of every receipt
  std::optional<Error> refuse_apply;
  std::function<void()> during_apply;  // called from the applying thread
  std::function<void()> during_stop_all;

  std::mutex mutex;
  std::vector<ApplyOptions> applied;  // guarded by mutex
  std::vector<std::string> drained;   // guarded by mutex
  std::vector<std::string> stopped;   // guarded by mutex
  std::atomic<int> finished = 0;
  std::atomic<int> ticks = 0;

 private:
  Receipt Told(const std::string& plan_id, const StepProgress& progress) {
    Receipt receipt;
    receipt.plan_id = plan_id;
    for (const Step& step : steps) {
      StepReceipt one{step, StepOutcome::kNotRun, "", {}, {}};
      progress(one);
      one.outcome = StepOutcome::kDone;
      progress(one);
      receipt.steps.push_back(one);
    }
    return receipt;
  }
};

}  // namespace tranche
