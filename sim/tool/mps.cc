#include "sim/machine/mps.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "sim/machine/sm_partitions.h"
#include "sim/tool/commands.h"

namespace tranche::sim {
namespace {

Status Stop(Machine* machine, const std::string& pipe) {
  switch (machine->Update([&](MachineState& state) { return StopMpsServer(&state, pipe); })) {
    case Rc::kOk:
      return {};
    case Rc::kInUse:
      return Fail(ErrorCode::kBusy, "the MPS server of " + pipe + " has clients",
                  "stop them first");
    default:
      return Fail(ErrorCode::kNotFound, "no MPS server has the pipe directory " + pipe,
                  "`tranche-sim show` lists them");
  }
}

// On each of the server's GPUs, in those chunks.
Rc Divide(const MachineSpec& spec, const std::vector<uint32_t>& chunks, uint64_t server,
          MachineState* state) {
  for (uint32_t gpu = 0; gpu < spec.gpu_count; ++gpu) {
    if ((FindMpsServer(*state, server)->gpus >> gpu & 1) == 0) continue;
    for (const uint32_t count : chunks) {
      SmPartition wanted;
      wanted.server = server;
      wanted.gpu = gpu;
      wanted.chunks = count;
      const Rc rc = AddSmPartition(spec, state, wanted, nullptr);
      if (rc != Rc::kOk) return rc;
    }
  }
  return Rc::kOk;
}

void PrintPartitions(const MachineSpec& spec, const MachineState& state, uint64_t server) {
  for (uint32_t gpu = 0; gpu < spec.gpu_count; ++gpu) {
    for (const SmPartition* one : SmPartitionsOn(state, server, gpu))
      std::printf("%s/%s  %u chunks, %u SMs\n", spec.gpus[gpu].uuid, SmPartitionId(*one).c_str(),
                  one->chunks, one->sms);
  }
}

}  // namespace

Status Mps(const MpsOptions& options) {
  Result<std::unique_ptr<Machine>> machine = Machine::Open(options.dir);
  if (!machine) return tl::unexpected(machine.error());
  if (options.stop) return Stop(machine->get(), options.pipe);

  const MachineSpec& spec = (*machine)->spec();
  MpsServer server;
  if (options.pipe.empty() || options.pipe.size() >= sizeof(server.pipe_directory))
    return Fail(ErrorCode::kInvalid,
                "'" + options.pipe + "' is too long or too short for a pipe directory");
  options.pipe.copy(server.pipe_directory, options.pipe.size());
  if (options.thread_percentage < 1 || options.thread_percentage > 100)
    return Fail(ErrorCode::kInvalid, "a thread percentage is between 1 and 100");
  server.thread_percentage = options.thread_percentage;
  server.below_normal = options.client_priority;
  server.uid = options.uid.value_or(geteuid());
  server.any_user = options.any_user ? 1 : 0;
  for (uint32_t i = 0; i < spec.gpu_count; ++i) {
    if (options.gpus.empty()) server.gpus |= uint32_t{1} << i;
    server.memory_limits[i] = options.memory_limit.value;
  }
  for (const uint32_t gpu : options.gpus) {
    Status there = CheckGpu(**machine, gpu);
    if (!there) return there;
    server.gpus |= uint32_t{1} << gpu;
  }
  if (!options.mig.empty()) {
    if (options.gpus.size() != 1)
      return Fail(ErrorCode::kInvalid, "a MIG device of which GPU?", "name one with --gpu I");
    Result<Target> target =
        ParseTarget(machine->get(), std::to_string(options.gpus[0]) + ":" + options.mig);
    if (!target) return tl::unexpected(target.error());
    server.ci = target->ci;
  }
  for (const uint32_t count : options.partitions) {
    if (count == 0) return Fail(ErrorCode::kInvalid, "an SM partition has at least one chunk");
  }
  server.must_be_in_partition = options.partitions.empty() ? 0 : 1;
  const Rc rc = (*machine)->Update([&](MachineState& state) {
    const Rc started = StartMpsServer(spec, &state, server, &server.serial);
    return started == Rc::kOk ? Divide(spec, options.partitions, server.serial, &state) : started;
  });
  if (rc == Rc::kOk) {
    (*machine)->Read([&](const MachineState& state) {
      PrintPartitions(spec, state, server.serial);
      return Rc::kOk;
    });
    return {};
  }
  if (rc == Rc::kNotSupported)
    return Fail(ErrorCode::kInvalid, "a MIG device, or a GPU before Ampere, has no SM partitions");
  if (rc == Rc::kInsufficientResources && !options.partitions.empty())
    return Fail(ErrorCode::kInvalid, "the partitions have more SMs than a GPU, or are too many");
  if (rc == Rc::kInvalid)
    return Fail(ErrorCode::kInvalid, "another MPS server has the pipe directory " + options.pipe);
  return Fail(ErrorCode::kFailed, "starting an MPS server: " + std::string(RcName(rc)));
}

}  // namespace tranche::sim
