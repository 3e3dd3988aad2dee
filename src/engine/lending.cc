#include "engine/lending.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>

#include "engine/engine_impl.h"
#include "stage/plan/candidates.h"

namespace tranche {
namespace {

// So long a borrower's allocations fail, before it is stopped for what it does not give back.
constexpr Duration kLoanGrace = std::chrono::seconds(5);
constexpr Duration kLoanPoll = std::chrono::milliseconds(50);
// A loan below this changes nothing for a program.
constexpr Bytes kLoanStep = MiB(2);

}  // namespace

std::map<std::string, Bytes> LendMemory(Bytes free, const std::vector<Borrower>& borrowers) {
  std::vector<const Borrower*> order;
  for (const Borrower& borrower : borrowers) order.push_back(&borrower);
  const auto wish = [](const Borrower& b) { return b.limit - b.reserved; };
  // Who wants least first: what it leaves of its part is the others'.
  std::stable_sort(order.begin(), order.end(),
                   [&](const auto* a, const auto* b) { return wish(*a) < wish(*b); });
  std::map<std::string, Bytes> may_hold;
  for (size_t i = 0; i < order.size(); ++i) {
    const Bytes part{free.value / (order.size() - i) / kLoanStep.value * kLoanStep.value};
    const Bytes lent = std::min(part, wish(*order[i]));
    free = free - lent;
    may_hold[order[i]->id] = order[i]->reserved + lent;
  }
  return may_hold;
}

std::map<std::string, Bytes> EngineImpl::Loans(const Machine& machine,
                                               const Installation& installed,
                                               const std::map<std::string, Bytes>& also_promised) {
  const Machine others = WithoutReplicas(WithLeases(machine));
  std::map<std::string, Bytes> loans;
  for (const Gpu& gpu : others.gpus) {
    std::vector<Borrower> borrowers;
    Bytes free = planning::UsableMemory(gpu);
    for (const DeployedReplica& replica : installed.deployment.replicas) {
      if (replica.slice.gpu_uuid != gpu.uuid || replica.slice.mechanism != Mechanism::kFraction)
        continue;
      free = free - replica.slice.memory;
      const Launch* launch = installed.FindLaunch(replica.workload, replica.replica);
      const auto& memory = launch != nullptr ? launch->workload.memory : std::nullopt;
      if (memory && launch->workload.preemptible && memory->limit > replica.slice.memory) {
        borrowers.push_back({LeaseBook::IdOfReplica(replica.workload, replica.replica),
                             replica.slice.memory, memory->limit});
      }
    }
    if (borrowers.empty()) continue;
    for (const GpuProcess& process : gpu.processes)
      free = free - process.memory_used.value_or(Bytes{0});
    const auto more = also_promised.find(gpu.uuid);
    if (more != also_promised.end()) free = free - more->second;
    loans.merge(LendMemory(free, borrowers));
  }
  return loans;
}

void EngineImpl::Lend() {
  const std::unique_lock changing(change_mutex_, std::try_to_lock);
  const auto machine = driver_.Recent();
  if (!changing || !machine) return;
  leases_.SetLoans(Loans(**machine, installation(), {}));
  StopOverdue();
}

bool EngineImpl::StopOverdue() {
  bool any = false;
  const Duration now = clock_->Monotonic();
  std::map<std::string, Duration> overdue;
  for (const Lease& lease : leases_.List()) {
    if (!lease.lent || lease.memory_used <= *lease.lent) continue;
    any = true;
    const auto since = overdue_.find(lease.id);
    overdue.emplace(lease.id, since != overdue_.end() ? since->second : now);
    if (since == overdue_.end() || now - since->second < kLoanGrace) continue;
    supervisor_.TakeBack({lease.workload, lease.replica},
                         fmt::format("it held {}, of which only {} could be lent to it any longer",
                                     FormatBytes(lease.memory_used), FormatBytes(*lease.lent)));
  }
  overdue_ = std::move(overdue);
  return any;
}

void EngineImpl::TakeBackFor(const Machine& machine, const Installation& wanted,
                             const std::map<std::string, Bytes>& also_promised) {
  leases_.SetLoans(Loans(machine, wanted, also_promised));
  const Duration end = clock_->Monotonic() + 2 * kLoanGrace;
  while (StopOverdue() && clock_->Monotonic() < end) {
    supervisor_.Supervise();
    leases_.Tick();
    clock_->Sleep(kLoanPoll);
  }
}

}  // namespace tranche
