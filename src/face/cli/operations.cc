#include "face/cli/operations.h"

namespace tranche {
namespace {

class DaemonOperationsImpl final : public Operations {
 public:
  explicit DaemonOperationsImpl(std::unique_ptr<Client> client) : client_(std::move(client)) {}

  Result<Machine> Inventory() override { return client_->Inventory(); }
  Result<Deployment> GetDeployment() override { return client_->GetDeployment(); }
  Result<Spec> GetSpec() override { return client_->GetSpec(); }
  Status SetDrained(const std::string& gpu_uuid, bool drained) override {
    return client_->SetDrained(gpu_uuid, drained);
  }
  Result<Plan> MakePlan(const Spec& spec, const PlanOptions& options) override {
    return client_->MakePlan(spec, options.adopt);
  }
  Result<Plan> MakeDownPlan() override { return client_->MakeDownPlan(); }
  Result<Receipt> Apply(const Plan& plan, const ApplyOptions& options, const StepProgress& progress,
                        const std::function<bool()>& interrupted) override {
    return client_->Apply(plan, {options.allow_root, options.adopt}, progress, interrupted);
  }
  Result<Receipt> Down(const ApplyOptions& options, const StepProgress& progress,
                       const std::function<bool()>& interrupted) override {
    return client_->Down({options.allow_root, options.adopt}, progress, interrupted);
  }
  Result<SystemStatus> GetStatus() override { return client_->GetStatus(); }
  Result<Engine::LogPart> Logs(const std::string& workload, int replica, int lines,
                               std::optional<uint64_t> from) override {
    const auto part = client_->Logs(workload, replica, lines, from);
    if (!part) return tl::unexpected<Error>(part.error());
    return Engine::LogPart{part->text, part->next};
  }
  Status Stop(const std::string& workload, std::optional<int> replica) override {
    return client_->Stop(workload, replica);
  }
  Status Restart(const std::string& workload, std::optional<int> replica) override {
    return client_->Restart(workload, replica);
  }
  void Tick() override {}

 private:
  std::unique_ptr<Client> client_;
};

class LocalOperations final : public Operations {
 public:
  LocalOperations(Engine& engine, std::shared_ptr<const Catalog> catalog)
      : engine_(engine), catalog_(std::move(catalog)) {}

  Result<Machine> Inventory() override { return engine_.Inventory(); }
  Result<Deployment> GetDeployment() override { return engine_.GetDeployment(); }
  Result<Spec> GetSpec() override { return engine_.GetSpec(); }
  Status SetDrained(const std::string& gpu_uuid, bool drained) override {
    return engine_.SetDrained(gpu_uuid, drained);
  }
  Result<Plan> MakePlan(const Spec& spec, const PlanOptions& options) override {
    return engine_.MakePlan(spec, options);
  }
  Result<Plan> MakeDownPlan() override {
    const auto machine = engine_.Inventory();
    if (!machine) return tl::unexpected<Error>(machine.error());
    const auto deployment = engine_.GetDeployment();
    if (!deployment) return tl::unexpected<Error>(deployment.error());
    return tranche::MakeDownPlan(*machine, *deployment, *catalog_);
  }
  // An apply is not left half-way: a signal is seen when it is done.
  Result<Receipt> Apply(const Plan& plan, const ApplyOptions& options, const StepProgress& progress,
                        const std::function<bool()>&) override {
    return engine_.Apply(plan, options, progress);
  }
  Result<Receipt> Down(const ApplyOptions& options, const StepProgress& progress,
                       const std::function<bool()>&) override {
    return engine_.Down(options, progress);
  }
  Result<SystemStatus> GetStatus() override { return engine_.GetStatus(); }
  Result<Engine::LogPart> Logs(const std::string& workload, int replica, int lines,
                               std::optional<uint64_t> from) override {
    return engine_.Logs(workload, replica, lines, from);
  }
  Status Stop(const std::string& workload, std::optional<int> replica) override {
    return engine_.Stop(workload, replica);
  }
  Status Restart(const std::string& workload, std::optional<int> replica) override {
    return engine_.Restart(workload, replica);
  }
  void Tick() override { engine_.Tick(); }

 private:
  Engine& engine_;
  std::shared_ptr<const Catalog> catalog_;
};

}  // namespace

std::unique_ptr<Operations> MakeDaemonOperations(std::unique_ptr<Client> client) {
  return std::make_unique<DaemonOperationsImpl>(std::move(client));
}

std::unique_ptr<Operations> MakeLocalOperations(Engine& engine,
                                                std::shared_ptr<const Catalog> catalog) {
  return std::make_unique<LocalOperations>(engine, std::move(catalog));
}

}  // namespace tranche
