#include "world.h"

#include <unistd.h>

#include <algorithm>
#include <cstdlib>

#include "sim/machine/memory_limits.h"
#include "sim/machine/mps.h"

namespace tranche::limiter_memory {

const sim::MachineSpec& SmallMachine() {
  // The catalog is read once.
  static const auto* spec = new sim::MachineSpec(sim::SpecOf("T4"));
  return *spec;
}

World::World(const sim::MachineSpec& spec) {
  const std::string dir = scratch_.path() + "/machine";
  if (!sim::Machine::Create(dir, spec)) std::abort();
  auto machine = sim::Machine::Open(dir);
  if (!machine) std::abort();
  machine_ = std::move(*machine);
  machine_->Update([](sim::MachineState& state) {
    state.gpus[0].accounting = 1;
    return sim::Rc::kOk;
  });
}

std::unique_ptr<Slice> World::MakeSlice(const std::vector<uint32_t>& gpus) {
  if (context_bytes_ == 0) {
    const uint64_t before = Used();
    const auto tenant = Unlimited();
    Reply reply;
    if (!tenant->Ask({Op::kRetain}, &reply) || reply.answer != 0) std::abort();
    context_bytes_ = Used() - before;
  }
  std::vector<std::string> uuids;
  for (const uint32_t gpu : gpus) uuids.push_back(machine_->spec().gpus[gpu].uuid);
  return std::make_unique<Slice>(scratch_.path() + "/slice" + std::to_string(slices_++), uuids,
                                 kLimit, context_bytes_);
}

std::unique_ptr<Tenant> World::Limited(const Slice& slice, const std::string& library,
                                       const Variables& more) {
  Variables all = {{"TRANCHE_SIM_DIR", machine_->dir()},
                   {"TRANCHE_SLICE_FILE", slice.path()},
                   {"TRANCHE_REAL_LIBCUDA", TRANCHE_SIM_LIBCUDA},
                   {"TRANCHE_REAL_LIBNVIDIA_ML", TRANCHE_SIM_LIBNVML}};
  all.insert(all.end(), more.begin(), more.end());
  return std::make_unique<Tenant>(library, all);
}

std::unique_ptr<Tenant> World::Unlimited(const Variables& more) {
  Variables all = {{"TRANCHE_SIM_DIR", machine_->dir()}};
  all.insert(all.end(), more.begin(), more.end());
  return std::make_unique<Tenant>(TRANCHE_SIM_LIBCUDA, all);
}

void World::LimitGroup(const std::string& cgroup, uint64_t bytes) {
  const sim::Rc set = machine_->Update(
      [&](sim::MachineState& state) { return sim::SetMemoryLimit(&state, 0, cgroup, 0, bytes); });
  if (set != sim::Rc::kOk) std::abort();
}

void World::ServeMps(const std::string& pipe, uint64_t bytes, uint32_t percent) {
  sim::MpsServer server;
  pipe.copy(server.pipe_directory, pipe.size());
  server.uid = geteuid();
  server.gpus = 1;
  server.thread_percentage = percent;
  server.memory_limits[0] = bytes;
  const sim::Rc started = machine_->Update([&](sim::MachineState& state) {
    return sim::StartMpsServer(machine_->spec(), &state, server);
  });
  if (started != sim::Rc::kOk) std::abort();
}

void World::ChangeMpsLimit(const std::string& pipe, uint64_t bytes) {
  machine_->Update([&](sim::MachineState& state) {
    auto* server = const_cast<sim::MpsServer*>(sim::FindMpsServer(state, std::string_view(pipe)));
    if (server != nullptr) server->memory_limits[0] = bytes;
    return sim::Rc::kOk;
  });
}

uint64_t World::Used(uint32_t gpu) {
  sim::MemoryInfo memory;
  machine_->GetMemory({gpu, 0}, &memory);
  return memory.used;
}

void World::Watch() {
  machine_->Update([](sim::MachineState& state) {
    for (sim::Account& account : state.accounts) account.max_memory_bytes = 0;
    return sim::Rc::kOk;
  });
}

uint64_t World::Peak(pid_t pid) {
  uint64_t own = 0, others = 0;
  machine_->Read([&](const sim::MachineState& state) {
    for (const sim::Account& account : state.accounts) {
      if (account.pid == static_cast<uint32_t>(pid)) own = std::max(own, account.max_memory_bytes);
    }
    for (const sim::Context& context : state.contexts) {
      if (context.serial != 0 && context.pid != static_cast<uint32_t>(pid))
        others += context.memory_bytes;
    }
    return sim::Rc::kOk;
  });
  return own == 0 ? 0 : own + others;
}

}  // namespace tranche::limiter_memory
