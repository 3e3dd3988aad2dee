#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "engine/engine_impl.h"
#include "stage/inventory/inventory.h"

// The driver's time slices, and what `status` says of GPUs that are shared or kept free.

namespace tranche {
namespace {

constexpr Duration kCheckInterval = std::chrono::seconds(5);

std::string KeyOf(const std::string& gpu_uuid) { return "time slice of " + gpu_uuid; }

bool AsksForTimeSlices(const Spec& spec) {
  return std::any_of(spec.workloads.begin(), spec.workloads.end(),
                     [](const Workload& w) { return w.time_slice.has_value(); });
}

Reading<TimeSlice> ReadingOf(const Result<TimeSlice>& read) {
  return read ? Reading<TimeSlice>(*read) : Reading<TimeSlice>::Absent(read.error().message);
}

}  // namespace

void EngineImpl::ReadTimeSlices(const Spec* spec, Machine* machine) {
  const Deployment deployment = installation().deployment;
  const bool all = spec != nullptr && AsksForTimeSlices(*spec);
  for (Gpu& gpu : machine->gpus) {
    if (!all && deployment.FindTimeSlice(gpu.uuid) == nullptr) continue;
    gpu.time_slice = ReadingOf(time_slices_->Get(gpu.uuid));
  }
}

void EngineImpl::CheckTimeSlices() {
  const Deployment deployment = installation().deployment;
  if (deployment.time_slices.empty()) return;
  const Duration now = clock_->Monotonic();
  if (time_slices_checked_ >= Duration{0} && now - time_slices_checked_ < kCheckInterval) return;
  // While a plan is applied it is the plan that sets them.
  const std::unique_lock changing(change_mutex_, std::try_to_lock);
  if (!changing) return;
  time_slices_checked_ = now;
  for (const SetTimeSlice& set : deployment.time_slices) {
    const std::string key = KeyOf(set.gpu_uuid);
    const char* name = TimeSliceName(set.time_slice);
    const Result<TimeSlice> read = time_slices_->Get(set.gpu_uuid);
    if (read && *read == set.time_slice) {
      Warn(key, "");
      continue;
    }
    const Status again =
        read ? time_slices_->Set(set.gpu_uuid, set.time_slice) : tl::unexpected(read.error());
    if (again) {
      Warn(key, "");
      Note(
          set.gpu_uuid,
          fmt::format("its time slice was {} and is {} again: a driver that is loaded anew forgets "
                      "it; programs that started meanwhile keep the other one until they restart",
                      TimeSliceName(*read), name));
    } else {
      Warn(key, fmt::format("the time slice of GPU {} is to be {}: {}", set.gpu_uuid, name,
                            again.error().message));
    }
  }
}

void EngineImpl::AddSharing(const Machine& machine, SystemStatus* status) {
  const Installation installed = installation();
  std::map<std::string, std::pair<int, bool>> tenants;  // by GPU: how many, and whether all capped
  std::map<std::string, std::vector<std::string>> on;   // by GPU: who is there
  for (const ReplicaStatus& replica : status->replicas) {
    const std::string name = fmt::format("{}/{}", replica.workload, replica.replica);
    if (replica.pid) on[replica.slice.gpu_uuid].push_back("workload " + name);
    for (const std::string& uuid : replica.slice.more_gpu_uuids) {
      if (replica.pid) on[uuid].push_back("workload " + name);
    }
    if (replica.slice.mechanism != Mechanism::kTimeSlicing) continue;
    auto& [count, capped] =
        tenants.emplace(replica.slice.gpu_uuid, std::pair(0, true)).first->second;
    ++count;
    capped = capped && replica.guarantee.memory != Guarantee::kNone;
  }
  for (const Lease& lease : status->leases) {
    on[lease.gpu_uuid].push_back(fmt::format("lease {} ({})", lease.id, lease.program));
  }
  for (const Gpu& gpu : machine.gpus) {
    if (installed.deployment.IsDrained(gpu.uuid)) {
      status->drained.push_back({gpu.uuid, gpu.index, on[gpu.uuid]});
    }
    const auto shared = tenants.find(gpu.uuid);
    if (shared == tenants.end()) continue;
    const auto& [count, capped] = shared->second;
    TimeSlicedGpu sliced{gpu.uuid, gpu.index, count, {}, ""};
    if (const SetTimeSlice* set = installed.deployment.FindTimeSlice(gpu.uuid)) {
      sliced.time_slice = ReadingOf(time_slices_->Get(set->gpu_uuid));
    }
    if (count > 1) sliced.note = NotGuaranteedByTurns(capped);
    status->time_sliced.push_back(std::move(sliced));
  }
  if (!installed.spec || installed.spec->tiers.empty()) return;
  // Models and capabilities are the inventory's to know.
  const Result<Machine> known =
      TakeInventory(driver_, *catalog_, *clock_, root_, ExclusiveForMps());
  if (!known) return;
  status->tiers = TierCapacities(*known, *installed.spec, installed.deployment, *catalog_);
  for (TierCapacity& tier : status->tiers) {
    for (const ReplicaStatus& replica : status->replicas) {
      const auto launch = installed.FindLaunch(replica.workload, replica.replica);
      if (launch != nullptr && launch->workload.tier == tier.tier) ++tier.used;
    }
  }
}

}  // namespace tranche
