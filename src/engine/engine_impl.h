#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "edge/broker/brokered_tables.h"
#include "edge/broker/handshake_watch.h"
#include "edge/broker/lease_book.h"
#include "edge/driver/time_slices.h"
#include "edge/store/state_lock.h"
#include "engine/engine.h"
#include "engine/fraction_slices.h"
#include "engine/lease_wishes.h"
#include "engine/locked_driver.h"
#include "engine/supervisor.h"
#include "engine/vgpu_steps.h"
#include "stage/apply/next_installation.h"

namespace tranche {

// What Engine::Open makes itself on a real machine, and a test may replace.
struct EngineEdges {
  std::unique_ptr<Runtime> runtime;
  Result<std::unique_ptr<Router>> router;
  std::unique_ptr<HealthChecker> health;
  std::unique_ptr<TimeSlices> time_slices;
  std::unique_ptr<VgpuHost> vgpus = {};  // none: there are no virtual GPUs
};

EngineEdges MakeEdges(const Engine::Parts& parts);

Result<std::unique_ptr<Engine>> OpenEngine(Engine::Parts parts, EngineEdges edges);

class EngineImpl final : public Engine {
 public:
  EngineImpl(Parts parts, EngineEdges edges, StateLock lock, std::unique_ptr<Store> store);

  // Finishes or undoes what was interrupted, and takes over what runs. Once, before anything else.
  Status Start();

  Result<Machine> Inventory() override;
  Result<Plan> MakePlan(const Spec& spec, const PlanOptions& options) override;
  Result<Receipt> Apply(const Plan& plan, const ApplyOptions& options,
                        const StepProgress& progress) override;
  Result<Receipt> Down(const ApplyOptions& options, const StepProgress& progress) override;
  Result<SystemStatus> GetStatus() override;
  Result<LogPart> Logs(const std::string& workload, int replica, int lines,
                       std::optional<uint64_t> from) override;
  Status Stop(const std::string& workload, std::optional<int> replica) override;
  Status Restart(const std::string& workload, std::optional<int> replica) override;
  Result<Deployment> GetDeployment() override;
  Result<Spec> GetSpec() override;
  Status SetDrained(const std::string& gpu_uuid, bool drained) override;
  Result<Lease> GrantLease(const LeaseRequest& request, const Caller& caller, int pid) override;
  Result<Lease> ChangeLease(const std::string& id, const LeaseChange& change,
                            const Caller& caller) override;
  Status EndLease(const std::string& id, const Caller& caller) override;
  void Tick() override;
  void StopAll() override;

 private:
  Installation installation();
  // What is deployed, with the processes of ours that the machine shows.
  Deployment DeploymentWithProcesses(const Machine& machine);
  // Runs the plan from `before` to `after` and makes what came of it the current installation.
  Result<Receipt> Carry(const Plan& plan, const Installation& after, const StepProgress& progress);
  void Close(int64_t apply_id, const Receipt& receipt, const Installation& before,
             const Installation& after);
  // The machine with every lease as one process that holds all it may.
  Machine WithLeases(Machine machine);
  Machine WithoutReplicas(Machine machine);
  // What borrowers of memory may hold with that installed, by lease, when besides so much of each
  // GPU is promised.
  std::map<std::string, Bytes> Loans(const Machine& machine, const Installation& installed,
                                     const std::map<std::string, Bytes>& also_promised);
  // On a timer: lends what nobody is promised, and stops who did not give back what was needed.
  void Lend();
  // Whether anybody holds more than it may; stops who has done so for too long.
  bool StopOverdue();
  // Takes back what is about to be promised to others, and returns when it is there.
  void TakeBackFor(const Machine& machine, const Installation& wanted,
                   const std::map<std::string, Bytes>& also_promised);
  // Of the time of each GPU, by UUID.
  std::map<std::string, double> PromisedToLeases();
  // The caller's lease of that name.
  Result<Lease> FindLease(const std::string& id, const Caller& caller);
  // The replicas that `stop` and `restart` mean.
  Result<std::vector<ReplicaKey>> Select(const std::string& workload, std::optional<int> replica);
  // kBusy while no maintenance window is open for the changes of layout in the plan.
  Status CheckWindow(const Plan& plan);
  // Records for them that they are to run, or not.
  Status SetStopped(const std::vector<ReplicaKey>& keys, bool stopped);
  // The devices that replicas share through MPS, as far as they were started; `running`: and run.
  std::set<std::string> MpsDevices(bool running = false);
  // Whose process that is: a replica's, or as an MPS server that of all its clients.
  std::vector<ReplicaKey> OwnersOf(int pid);
  // One of them: a plan that takes the ground from an MPS server stops all its clients.
  std::optional<ReplicaKey> OwnerInTheWay(int pid);
  // Ends MPS daemons that nothing uses.
  void EndMpsDaemons();
  // Starts those anew whose MPS server has lost what they had on the GPU.
  void CheckMps();

  void HandleEvents();
  void HandleEvent(const DriverEvent& event);
  void CheckMachine();
  // Stops, or tells of, what uses a GPU past its limiter.
  void CheckHandshakes();
  void Unenforced(const Lease& lease, const GpuProcess& process);
  void CheckDevices(const Machine& machine);
  void Reestablish(const Machine& machine);
  // What is known of the time slices of the GPUs on which Tranche set one, or is to.
  void ReadTimeSlices(const Spec* spec, Machine* machine);
  // Tiers, drained GPUs, and those that processes take turns on.
  void AddSharing(const Machine& machine, SystemStatus* status);
  // Sets again what the driver forgot when it was loaded anew.
  void CheckTimeSlices();
  void CheckComputeModes(const Machine& machine);
  // The steps of virtual GPUs, and what is known of them.
  VgpuSteps VgpuStepsHere() { return {driver_, vgpu_host_.get(), vgpus_.get()}; }
  void ReadVgpus(Machine* machine);
  void AddVgpuReplicas(SystemStatus* status);
  // Makes those again that a reboot or a driver loaded anew has taken.
  void CheckVgpus();
  // kInvalid for those: the machine is not ours to stop and start.
  Status CheckNoMachines(const std::vector<ReplicaKey>& keys);
  // GPUs whose compute mode is set for MPS, by UUID.
  std::set<std::string> ExclusiveForMps();
  // Devices whose tenants share an MPS server, and what holds what there.
  void AddMps(const Machine& machine, SystemStatus* status);

  void Warn(const std::string& about, const std::string& text);  // "" takes it back
  void Note(const std::string& subject, const std::string& message);

  // Constant after construction; each is safe from any thread.
  StateLock lock_;
  const std::shared_ptr<const Catalog> catalog_;
  const std::shared_ptr<Clock> clock_;
  const Paths paths_;
  const std::string root_;
  LockedDriver driver_;
  const std::unique_ptr<TimeSlices> time_slices_;
  const std::unique_ptr<VgpuHost> vgpu_host_;
  const std::unique_ptr<VgpuBook> vgpus_;  // over *vgpu_host_; none where that is none
  std::unique_ptr<Store> store_;
  std::unique_ptr<Runtime> runtime_;
  KernelLimits kernel_;
  BrokeredTables tables_;
  LeaseBook leases_;
  MpsDaemons mps_;
  FractionSlices fractions_;
  Supervisor supervisor_;

  std::mutex change_mutex_;  // held by whoever changes the machine or what is to run

  LeaseWishes wishes_;  // guarded by change_mutex_
  // Since when borrowers hold more than they may; guarded by change_mutex_.
  std::map<std::string, Duration> overdue_;

  std::mutex state_mutex_;
  Installation installation_;                    // guarded by state_mutex_
  std::map<std::string, std::string> warnings_;  // by what they are about; guarded by state_mutex_

  std::mutex tick_mutex_;  // one Tick at a time; guards what is below
  Duration mps_checked_{-1};
  bool events_supported_ = true;
  Duration machine_checked_{-1};
  Duration time_slices_checked_{-1};
  Duration vgpus_checked_{-1};
  std::map<std::string, Duration> retry_at_;       // of instances that could not be made again
  std::map<std::string, Duration> mode_retry_at_;  // of compute modes that could not be set
  std::set<std::string> lost_gpus_;
  HandshakeWatch handshakes_;
};

}  // namespace tranche
