#include "engine/fraction_slices.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <filesystem>

#include "edge/broker/context_cost.h"
#include "edge/broker/program_check.h"

namespace tranche {
namespace {

constexpr const char* kPartitionVariable = "CUDA_MPS_SM_PARTITION";

// A variable as the replica will see it, but for what the limiter adds.
std::string VariableOf(const ReplicaLaunch& start, const char* name) {
  const auto own = start.env.find(name);
  if (own != start.env.end()) return own->second;
  const char* inherited = std::getenv(name);
  return inherited != nullptr ? inherited : "";
}

Status CheckCanBeHeld(const ReplicaLaunch& start) {
  // What is in an image is only seen when it runs: then its limiter reports in, or it is stopped.
  if (start.container) return {};
  std::string program = start.argv.front();
  if (program.find('/') != std::string::npos && program.front() != '/')
    program = (start.working_directory.empty() ? "/" : start.working_directory + "/") + program;
  const std::string path = VariableOf(start, "PATH");
  const auto file = FindProgram(program, path.empty() ? "/usr/local/bin:/usr/bin:/bin" : path);
  // That it cannot be run is for whoever runs it to say.
  return file ? CheckProgram(*file, start.uid) : Status();
}

// The MIG instance that the slice is a part of; absent when it is a part of the GPU itself.
std::optional<SharedInstance> InstanceOf(const Gpu& gpu, const Slice& slice,
                                         const std::string& device_uuid) {
  if (!slice.placement) return std::nullopt;
  SharedInstance instance{device_uuid, slice.memory, 0};
  if (const MigInstance* found = gpu.FindInstance(*slice.placement))
    instance.memory = found->memory;
  if (const MigProfile* profile = gpu.FindProfile(slice.profile))
    instance.sm_count = profile->sm_count;
  return instance;
}

// A spec's share is of the GPU, a limiter's of the device that it shares.
std::optional<Share<Fraction>> InstanceShare(const std::optional<Share<Fraction>>& share,
                                             const Gpu& gpu,
                                             const std::optional<SharedInstance>& instance) {
  if (!share || !instance || instance->sm_count == 0 || !gpu.sm_count) return share;
  const double larger = static_cast<double>(*gpu.sm_count) / instance->sm_count;
  return Share<Fraction>{{std::min(1.0, share->request.value * larger)},
                         {std::min(1.0, share->limit.value * larger)}};
}

}  // namespace

Result<Bytes> FractionSlices::ContextCost(const LimiterFiles& files, const std::string& libcuda,
                                          const std::string& gpu_uuid, const ReplicaLaunch& start,
                                          const std::map<std::string, std::string>& as_client) {
  const std::lock_guard lock(mutex_);
  // A client's context is another than one beside the server.
  const std::string key = start.device_uuid + (as_client.empty() ? "" : " mps");
  const auto known = context_costs_.find(key);
  if (known != context_costs_.end()) return known->second;
  std::optional<Credentials> whose;
  if (!as_client.empty()) {
    // The server is to be of the user who comes next.
    const auto of = Credentials::Of(start.uid, start.gid);
    if (!of) return tl::unexpected(of.error());
    whose = *of;
  }
  const auto cost =
      MeasureContext(driver_, files, libcuda, gpu_uuid, start.device_uuid, as_client, whose);
  if (!cost) return FailedWhile("measuring what a context costs", cost.error());
  context_costs_.emplace(key, cost->bytes);
  return cost->bytes;
}

Result<LimiterUse> FractionSlices::Make(const ReplicaLaunch& start, const Launch& launch,
                                        const Slice& slice) {
  auto made = MakeSlice(start, launch, slice);
  if (!made) LeaveMps(start);
  return made;
}

void FractionSlices::LeaveMps(const ReplicaLaunch& start) {
  mps_.Leave(start.device_uuid, LeaseBook::IdOfReplica(start.mark.workload, start.mark.replica));
}

Result<LimiterUse> FractionSlices::MakeSlice(const ReplicaLaunch& start, const Launch& launch,
                                             const Slice& slice) {
  const Workload& workload = launch.workload;
  if (workload.on_unenforced == OnUnenforced::kStop) {
    if (Status held = CheckCanBeHeld(start); !held) {
      held.error().hint += "; or say `on_unenforced: warn`, and nothing holds it";
      return tl::unexpected(held.error());
    }
  }
  const auto files = FindLimiterFiles();
  if (!files) return tl::unexpected(files.error());
  const auto libcuda = FindLibcuda(VariableOf(start, "LD_LIBRARY_PATH"));
  if (!libcuda) return tl::unexpected(libcuda.error());
  const auto machine = driver_.Recent();
  if (!machine) return tl::unexpected(machine.error());
  const Gpu* gpu = (*machine)->FindGpu(slice.gpu_uuid);
  if (gpu == nullptr)
    return Fail(ErrorCode::kNotFound, fmt::format("GPU {} is not on this machine", slice.gpu_uuid));

  const std::optional<SharedInstance> instance = InstanceOf(*gpu, slice, start.device_uuid);
  LeaseRequest request;
  request.program = start.container ? start.container->image
                                    : std::filesystem::path(start.argv.front()).filename().string();
  request.mechanism = slice.mechanism;
  request.memory = slice.memory;
  request.compute = InstanceShare(workload.compute, *gpu, instance);
  request.on_unenforced = workload.on_unenforced;
  std::map<std::string, std::string> env;
  if (slice.mechanism == Mechanism::kMps) {
    auto client = MpsEnvironment(start, workload, request.compute, slice, *gpu);
    if (!client) return tl::unexpected(client.error());
    env = std::move(*client);
  }
  std::map<std::string, std::string> as_client;
  for (const char* name :
       {"CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY", kPartitionVariable}) {
    if (const auto set = env.find(name); set != env.end()) as_client.insert(*set);
  }
  const auto cost = ContextCost(*files, *libcuda, slice.gpu_uuid, start, as_client);
  if (!cost) return tl::unexpected(cost.error());
  if (*cost > slice.memory) {
    return Fail(ErrorCode::kDoesNotFit,
                fmt::format("its slice of {} does not even hold a CUDA context, which takes {}",
                            FormatBytes(slice.memory), FormatBytes(*cost)),
                "give it more `memory`");
  }
  request.context_bytes = *cost;

  const auto lease = leases_.GrantToReplica(workload.team, start.mark.workload, start.mark.replica,
                                            request, *gpu, start.uid, instance);
  if (!lease) return tl::unexpected(lease.error());
  mps_.Arrive(start.device_uuid, lease->id);
  if (lease->guarantee().memory < workload.isolation.axes.memory) {
    leases_.End(lease->id);
    return Fail(ErrorCode::kUnsupported,
                fmt::format("its spec asks for memory that is held by the {}; {}",
                            GuaranteeName(workload.isolation.axes.memory), lease->why_not_harder),
                "put that right, or ask for `isolation: process`");
  }
  return LimiterUse{files->folder, *libcuda, leases_.TablesOf(*lease), lease->cgroup,
                    std::move(env)};
}

Result<std::map<std::string, std::string>> FractionSlices::MpsEnvironment(
    const ReplicaLaunch& start, const Workload& workload,
    const std::optional<Share<Fraction>>& compute, const Slice& slice, const Gpu& gpu) {
  const std::vector<Lease> leases = leases_.List();
  for (const Lease& lease : leases) {
    if (lease.device() != start.device_uuid || lease.uid == start.uid) continue;
    return Fail(
        ErrorCode::kBusy,
        fmt::format("an MPS server is of one user, and {} of user {} is on its device",
                    lease.workload.empty() ? lease.id : "workload " + lease.workload, lease.uid),
        "run them as one user, or put them on different GPUs");
  }
  const std::string id = LeaseBook::IdOfReplica(start.mark.workload, start.mark.replica);
  MpsDefaults own = MostOfProcess(slice.memory, compute);
  // A hint: its kernels wait for those of others where both could start.
  own.below_normal_priority = workload.preemptible;
  const bool partitioned = HasPartition(workload, slice);
  mps_.Settle(start.device_uuid, MpsTenantsOf(leases, start.device_uuid));
  const auto place = mps_.Ensure(start.device_uuid, {id, start.uid, own}, partitioned);
  if (!place) return tl::unexpected(place.error());
  std::map<std::string, std::string> env = {
      {"CUDA_MPS_PIPE_DIRECTORY", place->files.pipe_directory},
      {"CUDA_MPS_LOG_DIRECTORY", place->files.log_directory},
  };
  if (place->apart) return env;
  // For each of its processes; the limiter holds all of them together.
  env["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"] = fmt::format("0={}M", own.memory->value >> 20);
  if (own.below_normal_priority) env["CUDA_MPS_CLIENT_PRIORITY"] = "1";
  if (partitioned) {
    const auto partition = PartitionFor(start, slice, gpu, leases);
    if (!partition) return tl::unexpected(partition.error());
    env[kPartitionVariable] = *partition;
  } else if (*own.thread_percentage < 100) {
    env["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] = std::to_string(*own.thread_percentage);
  }
  return env;
}

bool FractionSlices::HasPartition(const Workload& workload, const Slice& slice) {
  return slice.mechanism == Mechanism::kMps && !slice.placement &&
         workload.isolation.axes.compute >= Guarantee::kDriver;
}

Result<std::string> FractionSlices::PartitionFor(const ReplicaLaunch& start, const Slice& slice,
                                                 const Gpu& gpu, const std::vector<Lease>& leases) {
  const std::lock_guard lock(mutex_);
  const std::string id = LeaseBook::IdOfReplica(start.mark.workload, start.mark.replica);
  std::set<std::string> in_use;
  for (const Lease& lease : leases) {
    if (lease.id == id || lease.device() != start.device_uuid) continue;
    const auto given = partitions_.find(lease.id);
    if (given != partitions_.end()) in_use.insert(given->second);
    // One that an earlier daemon of ours has started.
    const auto told = ReadProcessVariable(lease.pid, kPartitionVariable);
    if (told) in_use.insert(*told);
  }
  if (!gpu.sm_count)
    return Fail(ErrorCode::kUnsupported, "how many SMs the GPU has cannot be read");
  const int sms = static_cast<int>(std::lround(slice.compute_fraction * *gpu.sm_count));
  auto partition = mps_.Partition(start.device_uuid, sms, in_use);
  if (partition) partitions_[id] = *partition;
  return partition;
}

void FractionSlices::Hold(const ReplicaMark& mark, ProcessId process) {
  leases_.SetRunner(LeaseBook::IdOfReplica(mark.workload, mark.replica), process);
}

void FractionSlices::GiveBack(const ReplicaLaunch& start) {
  leases_.End(LeaseBook::IdOfReplica(start.mark.workload, start.mark.replica));
  LeaveMps(start);
}

}  // namespace tranche
