#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "base/suggest.h"
#include "engine/engine_impl.h"
#include "stage/plan/candidates.h"

// Leases: parts of GPUs for programs that `tranche run` starts.

namespace tranche {
namespace {

constexpr double kWholeGpu = 1 + 1e-9;

bool Means(const std::string& wish, const Gpu& gpu) {
  return wish.empty() || wish == gpu.uuid || wish == gpu.model || wish == gpu.name ||
         wish == std::to_string(gpu.index);
}

// What the leases of a GPU have been promised of its time, `except` one.
double PromisedTime(const std::vector<Lease>& leases, const std::string& gpu_uuid,
                    const std::string& except) {
  double sum = 0;
  for (const Lease& lease : leases) {
    if (lease.gpu_uuid == gpu_uuid && lease.compute && lease.id != except)
      sum += lease.compute->request.value;
  }
  return sum;
}

// How a GPU stands to a wish.
struct Room {
  Bytes memory;         // free
  double time = 0;      // not promised
  std::string why_not;  // "" when the wish fits
};

Room RoomOn(const Gpu& gpu, const std::vector<Lease>& leases, const Deployment& deployment,
            const LeaseRequest& request, const Caller& caller) {
  Room room;
  room.memory = planning::UsableMemory(gpu);
  for (const GpuProcess& process : gpu.processes) {
    if (!process.gpu_instance) room.memory = room.memory - process.memory_used.value_or(Bytes{0});
  }
  room.time = 1 - PromisedTime(leases, gpu.uuid, "");
  if (!gpu.health.usable) {
    room.why_not = "the driver cannot use it";
  } else if (gpu.mig_mode && gpu.mig_mode->current) {
    room.why_not = "it is divided by MIG";
  } else if (gpu.compute_mode && *gpu.compute_mode != ComputeMode::kDefault) {
    room.why_not = "its compute mode lets no second process in";
  }
  for (const DeployedReplica& replica : deployment.replicas) {
    const auto& more = replica.slice.more_gpu_uuids;
    const bool here = replica.slice.gpu_uuid == gpu.uuid ||
                      std::find(more.begin(), more.end(), gpu.uuid) != more.end();
    if (here && room.why_not.empty())
      room.why_not = fmt::format("workload {} is deployed on it", replica.workload);
  }
  for (const Lease& lease : leases) {
    const bool turns = lease.gpu_uuid == gpu.uuid && lease.compute && request.compute;
    if (turns && lease.uid != caller.uid && room.why_not.empty()) {
      room.why_not = fmt::format(
          "user {} has a share of its time, and turns are taken among "
          "programs of one user only",
          lease.uid);
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
    const std::vector<int> members = leases_.Members(lease.id);
    for (Gpu& gpu : machine.gpus) {
      if (gpu.uuid != lease.gpu_uuid) continue;
      auto& processes = gpu.processes;
      processes.erase(std::remove_if(processes.begin(), processes.end(),
                                     [&](const GpuProcess& process) {
                                       return std::find(members.begin(), members.end(),
                                                        process.pid) != members.end();
                                     }),
                      processes.end());
      GpuProcess holder;
      holder.pid = lease.pid;
      holder.command = fmt::format("tranche run {}", lease.program);
      holder.memory_used = lease.memory.value_or(lease.memory_used);
      processes.push_back(std::move(holder));
    }
  }
  return machine;
}

Result<Lease> EngineImpl::GrantLease(const LeaseRequest& request, const Caller& caller, int pid) {
  const auto runner = ReadProcessStat(pid, root_);
  if (!runner) return Fail(ErrorCode::kNotFound, fmt::format("there is no process {}", pid));
  const std::lock_guard changing(change_mutex_);
  const Result<Machine> read = Inventory();
  if (!read) return tl::unexpected(read.error());
  const Machine machine = WithLeases(*read);
  const std::vector<Lease> leases = leases_.List();
  const Deployment deployment = installation().deployment;
  const Gpu* best = nullptr;
  Bytes least_free;
  std::string reasons;
  std::vector<std::string> names;
  for (const Gpu& gpu : machine.gpus) {
    names.insert(names.end(), {gpu.uuid, gpu.model});
    if (!Means(request.gpu, gpu)) continue;
    const Room room = RoomOn(gpu, leases, deployment, request, caller);
    if (!room.why_not.empty()) {
      reasons += fmt::format("{}GPU {}: {}", reasons.empty() ? "" : "; ", gpu.index, room.why_not);
    } else if (best == nullptr || room.memory < least_free) {
      // The fullest that still has room, so that the empty ones stay whole.
      best = &gpu;
      least_free = room.memory;
    }
  }
  if (best != nullptr && request.dry_run) {
    Lease would;
    would.program = request.program;
    would.gpu_uuid = best->uuid;
    would.gpu_index = best->index;
    would.uid = caller.uid;
    would.pid = pid;
    would.memory = request.memory;
    would.compute = request.compute;
    would.since = clock_->Now();
    return would;
  }
  if (best != nullptr) return leases_.Grant(request, *best, caller.uid, runner->id);
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
  const Machine machine = WithLeases(*read);
  const Gpu* gpu = machine.FindGpu(lease->gpu_uuid);
  if (gpu == nullptr) return Fail(ErrorCode::kUnavailable, "its GPU is not to be seen");
  if (change.memory) {
    Bytes free = planning::UsableMemory(*gpu) + lease->memory.value_or(lease->memory_used);
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
    const double free = 1 - PromisedTime(leases_.List(), lease->gpu_uuid, id);
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
