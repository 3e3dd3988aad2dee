#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/suggest.h"
#include "engine/engine_impl.h"
#include "stage/plan/candidates.h"
#include "stage/plan/tiers.h"

// Leases: parts of GPUs for programs that `tranche run` starts.

namespace tranche {
namespace {

constexpr double kWholeGpu = 1 + 1e-9;

bool Means(const std::string& wish, const Gpu& gpu) {
  return wish.empty() || wish == gpu.uuid || wish == gpu.model || wish == gpu.name ||
         wish == std::to_string(gpu.index);
}

// What has been promised of a GPU's time: to leases, `except` one, and to what is deployed, whether
// it runs at the moment or not.
double PromisedTime(const std::vector<Lease>& leases, const Installation& installed,
                    const std::string& gpu_uuid, const std::string& except) {
  double sum = 0;
  for (const Lease& lease : leases) {
    const bool counts = lease.gpu_uuid == gpu_uuid && lease.workload.empty() && lease.id != except;
    if (counts && lease.compute) sum += lease.compute->request.value;
  }
  for (const DeployedReplica& replica : installed.deployment.replicas) {
    if (replica.slice.gpu_uuid != gpu_uuid || replica.slice.mechanism != Mechanism::kFraction)
      continue;
    const Launch* launch = installed.FindLaunch(replica.workload, replica.replica);
    if (launch != nullptr && launch->workload.compute)
      sum += launch->workload.compute->request.value;
  }
  return sum;
}

// What deployed fractions have been promised of a GPU's memory.
Bytes PromisedMemory(const Installation& installed, const std::string& gpu_uuid) {
  Bytes sum;
  for (const DeployedReplica& replica : installed.deployment.replicas) {
    if (replica.slice.gpu_uuid == gpu_uuid && replica.slice.mechanism == Mechanism::kFraction)
      sum += replica.slice.memory;
  }
  return sum;
}

// Whose the whole GPU is, or "".
std::string HeldWhole(const std::vector<Lease>& leases, const std::string& gpu_uuid) {
  for (const Lease& lease : leases) {
    if (lease.gpu_uuid == gpu_uuid && lease.mechanism == Mechanism::kExclusive)
      return fmt::format("lease {} ({}) has it for itself", lease.id, lease.program);
  }
  return "";
}

// How a GPU stands to a wish.
struct Room {
  Bytes memory;         // free
  double time = 0;      // not promised
  std::string why_not;  // "" when the wish fits
};

Room RoomOn(const Gpu& gpu, const std::vector<Lease>& leases, const Installation& installed,
            const LeaseRequest& request, const Caller& caller) {
  Room room;
  room.memory = planning::UsableMemory(gpu) - PromisedMemory(installed, gpu.uuid);
  for (const GpuProcess& process : gpu.processes) {
    if (!process.gpu_instance) room.memory = room.memory - process.memory_used.value_or(Bytes{0});
  }
  room.time = 1 - PromisedTime(leases, installed, gpu.uuid, "");
  const bool whole = request.mechanism == Mechanism::kExclusive;
  if (installed.deployment.IsDrained(gpu.uuid)) {
    room.why_not = "it is drained";
  } else if (!gpu.health.usable) {
    room.why_not = "the driver cannot use it";
  } else if (gpu.mig_mode && gpu.mig_mode->current) {
    room.why_not = "it is divided by MIG";
  } else if (gpu.compute_mode && *gpu.compute_mode == ComputeMode::kProhibited) {
    room.why_not = "its compute mode lets no process in";
  } else if (!whole && gpu.compute_mode && *gpu.compute_mode != ComputeMode::kDefault &&
             installed.deployment.FindComputeMode(gpu.uuid) == nullptr) {
    room.why_not = "its compute mode lets no second process in";
  } else {
    room.why_not = HeldWhole(leases, gpu.uuid);
  }
  if (whole && room.why_not.empty() && !gpu.processes.empty()) {
    const GpuProcess& process = gpu.processes.front();
    room.why_not = fmt::format("process {} ({}) uses it", process.pid, process.command);
  }
  for (const DeployedReplica& replica : installed.deployment.replicas) {
    const auto& more = replica.slice.more_gpu_uuids;
    const bool here = replica.slice.gpu_uuid == gpu.uuid ||
                      std::find(more.begin(), more.end(), gpu.uuid) != more.end();
    if (!here || !room.why_not.empty()) continue;
    const Launch* launch = installed.FindLaunch(replica.workload, replica.replica);
    const bool trusted =
        launch != nullptr && (launch->workload.trusted || launch->uid == caller.uid);
    if (whole || replica.slice.mechanism != Mechanism::kFraction) {
      room.why_not = fmt::format("workload {} is deployed on it", replica.workload);
    } else if (!trusted) {
      room.why_not = fmt::format(
          "workload {} is deployed on it, whose faults it would share, and its spec does not say "
          "`trusted: true`",
          replica.workload);
    }
  }
  if (!room.why_not.empty()) return room;
  if (request.memory && *request.memory > room.memory) {
    room.why_not = fmt::format("{} of its memory are free, {} are asked for",
                               FormatBytes(room.memory), FormatBytes(*request.memory));
  } else if (request.compute && request.compute->request.value > room.time * kWholeGpu) {
    room.why_not = fmt::format("{} of its time are not promised, {} are asked for",
                               FormatPercent(std::max(0.0, room.time)),
                               FormatPercent(request.compute->request.value));
  }
  return room;
}

}  // namespace

Machine EngineImpl::WithLeases(Machine machine) {
  for (const Lease& lease : leases_.List()) {
    if (!lease.workload.empty()) continue;
    const std::vector<int> members = leases_.Members(lease.id);
    for (Gpu& gpu : machine.gpus) {
      if (gpu.uuid != lease.gpu_uuid) continue;
      std::erase_if(gpu.processes, [&](const GpuProcess& process) {
        return std::find(members.begin(), members.end(), process.pid) != members.end();
      });
      GpuProcess holder;
      holder.pid = lease.pid;
      holder.command = fmt::format("tranche run {}", lease.program);
      // Of a GPU that is leased whole nothing is left.
      holder.memory_used = lease.mechanism == Mechanism::kExclusive
                               ? planning::UsableMemory(gpu)
                               : lease.memory.value_or(lease.memory_used);
      gpu.processes.push_back(std::move(holder));
    }
  }
  return machine;
}

Machine EngineImpl::WithoutReplicas(Machine machine) {
  for (Gpu& gpu : machine.gpus) {
    std::erase_if(gpu.processes,
                  [&](const GpuProcess& process) { return !OwnersOf(process.pid).empty(); });
  }
  return machine;
}

std::map<std::string, double> EngineImpl::PromisedToLeases() {
  std::map<std::string, double> promised;
  for (const Lease& lease : leases_.List()) {
    if (lease.workload.empty() && lease.compute)
      promised[lease.gpu_uuid] += lease.compute->request.value;
  }
  return promised;
}

Result<Lease> EngineImpl::GrantLease(const LeaseRequest& request, const Caller& caller, int pid) {
  const auto runner = ReadProcessStat(pid, root_);
  if (!runner) return Fail(ErrorCode::kNotFound, fmt::format("there is no process {}", pid));
  const std::lock_guard changing(change_mutex_);
  const Result<Machine> read = Inventory();
  if (!read) return tl::unexpected(read.error());
  const Machine machine = WithoutReplicas(WithLeases(*read));
  const std::vector<Lease> leases = leases_.List();
  const Installation installed = installation();
  const Gpu* best = nullptr;
  Bytes least_free;
  int most_points = 0;
  std::string reasons;
  std::vector<std::string> names;
  std::vector<std::string> tiers(machine.gpus.size());
  if (installed.spec) tiers = planning::ResolveTiers(machine, *installed.spec).tier_of;
  for (size_t g = 0; g < machine.gpus.size(); ++g) {
    const Gpu& gpu = machine.gpus[g];
    names.insert(names.end(), {gpu.uuid, gpu.model});
    if (!Means(request.gpu, gpu)) continue;
    Room room = RoomOn(gpu, leases, installed, request, caller);
    if (room.why_not.empty() && !tiers[g].empty()) {
      room.why_not = fmt::format("it is kept for the workloads of tier '{}'", tiers[g]);
    }
    if (!room.why_not.empty()) {
      reasons += fmt::format("{}GPU {}: {}", reasons.empty() ? "" : "; ", gpu.index, room.why_not);
      continue;
    }
    const int points =
        wishes_.PointsOn(planning::UsableMemory(gpu), room.memory, room.time, request, leases);
    // Where it keeps most room for what was asked for lately; of equals the fullest, so that the
    // empty ones stay whole.
    if (best == nullptr || points > most_points ||
        (points == most_points && room.memory < least_free)) {
      best = &gpu;
      least_free = room.memory;
      most_points = points;
    }
  }
  if (!request.dry_run) wishes_.Add(request);
  if (best != nullptr && request.dry_run) {
    Lease would;
    would.program = request.program;
    would.gpu_uuid = best->uuid;
    would.gpu_index = best->index;
    would.uid = caller.uid;
    would.pid = pid;
    would.mechanism = request.mechanism;
    if (would.mechanism != Mechanism::kExclusive) would.memory = request.memory;
    would.compute = request.compute;
    would.since = clock_->Now();
    leases_.ForeseeGuarantee(*best, &would);
    return would;
  }
  if (best != nullptr) {
    if (request.memory && request.mechanism == Mechanism::kFraction)
      TakeBackFor(*read, installed, {{best->uuid, *request.memory}});
    return leases_.Grant(request, *best, caller.uid, runner->id);
  }
  if (!reasons.empty()) {
    return Fail(ErrorCode::kDoesNotFit, "no GPU has room: " + reasons,
                "ask for less, or wait until something has ended ('tranche status')");
  }
  if (machine.gpus.empty()) return Fail(ErrorCode::kDoesNotFit, "this machine has no GPU");
  const std::string meant = DidYouMean(request.gpu, names);
  return Fail(ErrorCode::kNotFound, fmt::format("there is no GPU '{}'", request.gpu),
              meant.empty() ? "'tranche inventory' lists them" : meant);
}

Result<Lease> EngineImpl::FindLease(const std::string& id, const Caller& caller) {
  auto lease = leases_.Find(id);
  if (lease && !lease->workload.empty()) {
    return Fail(ErrorCode::kNotFound, fmt::format("'{}' is no lease of `tranche run`", id),
                fmt::format("change workload {} in its spec, and apply that", lease->workload));
  }
  if (lease && caller.uid != 0 && caller.uid != lease->uid) {
    return Fail(ErrorCode::kPermission, fmt::format("lease {} is user {}'s", id, lease->uid),
                "ask that user, or root");
  }
  return lease;
}

Result<Lease> EngineImpl::ChangeLease(const std::string& id, const LeaseChange& change,
                                      const Caller& caller) {
  const std::lock_guard changing(change_mutex_);
  const auto lease = FindLease(id, caller);
  if (!lease) return lease;
  const Result<Machine> read = Inventory();
  if (!read) return tl::unexpected(read.error());
  if (lease->mechanism == Mechanism::kExclusive) {
    return Fail(ErrorCode::kUnsupported,
                fmt::format("lease {} is of a whole GPU, which has no limits to change", id),
                "end it, and run the program with --memory or --compute");
  }
  const Machine machine = WithoutReplicas(WithLeases(*read));
  const Installation installed = installation();
  const Gpu* gpu = machine.FindGpu(lease->gpu_uuid);
  if (gpu == nullptr) return Fail(ErrorCode::kUnavailable, "its GPU is not to be seen");
  if (change.memory) {
    Bytes free = planning::UsableMemory(*gpu) + lease->memory.value_or(lease->memory_used) -
                 PromisedMemory(installed, gpu->uuid);
    for (const GpuProcess& process : gpu->processes) {
      if (!process.gpu_instance) free = free - process.memory_used.value_or(Bytes{0});
    }
    if (*change.memory > free) {
      return Fail(ErrorCode::kDoesNotFit,
                  fmt::format("{} are free for it on GPU {}, {} are asked for", FormatBytes(free),
                              gpu->index, FormatBytes(*change.memory)),
                  "ask for less");
    }
    if (*change.memory < lease->memory_used) {
      return Fail(ErrorCode::kDoesNotFit,
                  fmt::format("lease {} holds {} now, which nothing can take from it", id,
                              FormatBytes(lease->memory_used)),
                  "ask for at least that, or let the program free some");
    }
  }
  if (change.compute) {
    const double free = 1 - PromisedTime(leases_.List(), installed, lease->gpu_uuid, id);
    if (change.compute->request.value > free * kWholeGpu) {
      return Fail(ErrorCode::kDoesNotFit,
                  fmt::format("{} of the time of GPU {} are free for it, {} are asked for",
                              FormatPercent(free), gpu->index,
                              FormatPercent(change.compute->request.value)),
                  "ask for less");
    }
  }
  if (const Status changed = leases_.Change(id, change); !changed)
    return tl::unexpected(changed.error());
  return leases_.Find(id);
}

Status EngineImpl::EndLease(const std::string& id, const Caller& caller) {
  const auto lease = FindLease(id, caller);
  if (!lease) return tl::unexpected(lease.error());
  leases_.End(id);
  return {};
}

}  // namespace tranche
