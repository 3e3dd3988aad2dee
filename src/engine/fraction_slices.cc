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
                                          const std::string& gpu_uuid,
                                          const std::string& device_uuid) {
  const std::lock_guard lock(mutex_);
  const auto known = context_costs_.find(device_uuid);
  if (known != context_costs_.end()) return known->second;
  const auto cost = MeasureContext(driver_, files, libcuda, gpu_uuid, device_uuid);
  if (!cost) return FailedWhile("measuring what a context costs", cost.error());
  context_costs_.emplace(device_uuid, cost->bytes);
  return cost->bytes;
}

Result<LimiterUse> FractionSlices::Make(const ReplicaLaunch& start, const Launch& launch,
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
  const auto cost = ContextCost(*files, *libcuda, slice.gpu_uuid, start.device_uuid);
  if (!cost) return tl::unexpected(cost.error());
  if (*cost > slice.memory) {
    return Fail(ErrorCode::kDoesNotFit,
                fmt::format("its slice of {} does not even hold a CUDA context, which takes {}",
                            FormatBytes(slice.memory), FormatBytes(*cost)),
                "give it more `memory`");
  }
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
  request.context_bytes = *cost;
  request.on_unenforced = workload.on_unenforced;
  std::map<std::string, std::string> env;
  if (slice.mechanism == Mechanism::kMps) {
    auto client = MpsEnvironment(start, workload, request.compute, slice);
    if (!client) return tl::unexpected(client.error());
    env = std::move(*client);
  }

  const auto lease = leases_.GrantToReplica(workload.team, start.mark.workload, start.mark.replica,
                                            request, *gpu, start.uid, instance);
  if (!lease) return tl::unexpected(lease.error());
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
    const std::optional<Share<Fraction>>& compute, const Slice& slice) {
  for (const Lease& lease : leases_.List()) {
    if (lease.device() != start.device_uuid || lease.uid == start.uid) continue;
    return Fail(
        ErrorCode::kBusy,
        fmt::format("an MPS server is of one user, and {} of user {} is on its device",
                    lease.workload.empty() ? lease.id : "workload " + lease.workload, lease.uid),
        "run them as one user, or put them on different GPUs");
  }
  const auto files = mps_.Ensure(start.device_uuid);
  if (!files) return tl::unexpected(files.error());
  std::map<std::string, std::string> env = {
      {"CUDA_MPS_PIPE_DIRECTORY", files->pipe_directory},
      {"CUDA_MPS_LOG_DIRECTORY", files->log_directory},
      // For each of its processes; the limiter holds all of them together.
      {"CUDA_MPS_PINNED_DEVICE_MEM_LIMIT", fmt::format("0={}M", slice.memory.value >> 20)},
  };
  // A hint: its kernels wait for those of others where both could start.
  if (workload.preemptible) env["CUDA_MPS_CLIENT_PRIORITY"] = "1";
  if (compute && compute->limit.value < 1) {
    const double percent = std::ceil(compute->limit.value * 100 - 1e-9);
    env["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] = fmt::format("{:.0f}", std::max(1.0, percent));
  }
  return env;
}

void FractionSlices::Hold(const ReplicaMark& mark, ProcessId process) {
  leases_.SetRunner(LeaseBook::IdOfReplica(mark.workload, mark.replica), process);
}

void FractionSlices::GiveBack(const ReplicaMark& mark) {
  leases_.End(LeaseBook::IdOfReplica(mark.workload, mark.replica));
}

}  // namespace tranche
