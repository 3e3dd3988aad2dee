#include <fmt/format.h>
#include <signal.h>

#include <map>
#include <set>

#include "base/process.h"
#include "engine/engine_impl.h"

// A limit is exact or it is loud: what uses a GPU past its limiter is stopped, or told of.

namespace tranche {

void EngineImpl::CheckHandshakes() {
  std::map<std::string, std::vector<Lease>> by_gpu;
  for (Lease& lease : leases_.List()) by_gpu[lease.gpu_uuid].push_back(std::move(lease));
  for (const auto& [uuid, leases] : by_gpu) {
    const auto processes = driver_.TryReadProcesses(uuid);
    if (!processes || !*processes) continue;
    std::set<int> members;
    for (const Lease& lease : leases) {
      for (const int pid : leases_.Members(lease.id)) members.insert(pid);
    }
    for (const GpuProcess& process :
         handshakes_.Look(uuid, **processes, members, clock_->Monotonic())) {
      const auto replica = supervisor_.OwnerOf(process.pid);
      const auto file = ReadProcessVariable(process.pid, "TRANCHE_SLICE_FILE", root_);
      const std::string told = file ? leases_.IdOfSliceFile(*file) : "";
      for (const Lease& lease : leases) {
        // Of a whole GPU there is nothing to go beyond.
        if (lease.mechanism == Mechanism::kExclusive) continue;
        const bool its =
            replica ? lease.workload == replica->workload && lease.replica == replica->replica
                    : lease.id == told || (lease.workload.empty() && lease.pid != 0 &&
                                           DescendsFrom(process.pid, lease.pid, root_));
        if (!its) continue;
        Unenforced(lease, process);
        break;
      }
    }
  }
}

void EngineImpl::Unenforced(const Lease& lease, const GpuProcess& process) {
  const std::string what = fmt::format(
      "its process {} ({}) uses GPU {} without the limiter, so nothing holds it to its slice",
      process.pid, process.command.empty() ? "command unknown" : process.command, lease.gpu_index);
  const bool told = lease.detail == what;
  leases_.SetDetail(lease.id, what);
  const ReplicaKey key{lease.workload, lease.replica};
  if (lease.on_unenforced == OnUnenforced::kWarn) {
    if (!told)
      Note(lease.workload.empty() ? lease.id : fmt::format("{}/{}", key.workload, key.replica),
           what);
    return;
  }
  if (lease.workload.empty()) {
    kill(process.pid, SIGKILL);
    Note(lease.id, what + "; it was stopped");
    return;
  }
  supervisor_.StopUnenforced(
      key, what + fmt::format("; `tranche restart {}` tries it again, and `on_unenforced: warn` in "
                              "its spec lets it run",
                              key.workload));
}

}  // namespace tranche
