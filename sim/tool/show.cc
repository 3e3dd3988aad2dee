#include <cstdio>

#include "base/json.h"
#include "sim/machine/lifecycle.h"
#include "sim/machine/mig.h"
#include "sim/machine/mps.h"
#include "sim/machine/usage.h"
#include "sim/tool/commands.h"

namespace tranche::sim {
namespace {

std::string Hex(uint32_t value) {
  char text[16];
  std::snprintf(text, sizeof(text), "0x%08X", value);
  return text;
}

Json ProcessJson(const MachineState& state, const Context& context) {
  const Process* process = FindProcess(state, context.pid);
  Json json;
  json["pid"] = context.pid;
  json["command"] = process == nullptr ? "" : process->name;
  json["uid"] = process == nullptr ? 0 : process->uid;
  json["memory_bytes"] = context.memory_bytes;
  json["load"] = context.load;
  if (context.mps_server != 0) json["mps"] = true;
  if (context.fault_xid != 0) json["fault_xid"] = context.fault_xid;
  return json;
}

Json ContextsJson(const MachineState& state, const std::vector<const Context*>& contexts) {
  Json list = Json::array();
  for (const Context* context : contexts) list.push_back(ProcessJson(state, *context));
  return list;
}

Json GpuJson(const MachineSpec& spec, const MachineState& state, uint32_t index) {
  const GpuSpec& s = spec.gpus[index];
  const Gpu& gpu = state.gpus[index];
  Json json;
  json["index"] = index;
  json["uuid"] = s.uuid;
  json["model"] = s.key;
  json["name"] = s.name;
  json["bus_id"] = s.bus_id;
  json["pci_device_id"] = Hex(s.pci_device_id);
  json["lost"] = gpu.lost != 0;
  json["mirrored"] = s.mirrored != 0;
  json["mig_mode"] = gpu.mig_mode != 0;
  json["mig_pending"] = gpu.mig_pending != 0;
  json["instances_created"] = gpu.gis_created;
  json["instances_destroyed"] = gpu.gis_destroyed;
  json["compute_mode"] = gpu.compute_mode;
  json["time_slice"] = gpu.time_slice;
  MemoryInfo memory;
  if (MemoryOf(spec, state, {index, 0}, &memory) == Rc::kOk) {
    json["memory_bytes"] = memory.total;
    json["used_bytes"] = memory.used;
  }
  json["load"] = LoadOfGpu(spec, state, index).sm;
  Json instances = Json::array();
  for (const GpuInstance* gi : ListGis(gpu)) {
    const GiProfileSpec* profile = FindGiProfile(s, gi->profile_id);
    Json entry;
    entry["id"] = gi->id;
    entry["profile"] = profile == nullptr ? "" : profile->name;
    entry["start"] = gi->start;
    entry["size"] = gi->size;
    Json cis = Json::array();
    for (const ComputeInstance* ci : ListCisOf(gpu, gi->serial)) {
      const CiProfileSpec* slice =
          profile == nullptr ? nullptr : FindCiProfile(*profile, ci->profile_id);
      Json part;
      part["id"] = ci->id;
      part["profile"] = slice == nullptr ? "" : slice->name;
      part["uuid"] = ci->uuid;
      part["sm"] = slice == nullptr ? 0 : slice->sm;
      part["processes"] = ContextsJson(state, ContextsOn(state, index, ci->serial));
      cis.push_back(part);
    }
    entry["compute_instances"] = cis;
    instances.push_back(entry);
  }
  json["gpu_instances"] = instances;
  if (!gpu.mig_mode) json["processes"] = ContextsJson(state, ContextsOn(state, index));
  return json;
}

std::string Gigabytes(uint64_t bytes) { return FormatBytes(Bytes{bytes >> 20 << 20}); }

void PrintContexts(const MachineState& state, const std::vector<const Context*>& contexts,
                   const char* indent) {
  for (const Context* context : contexts) {
    const Process* process = FindProcess(state, context->pid);
    std::printf("%spid %u  %s  %s  load %s%s\n", indent, context->pid,
                process == nullptr ? "?" : process->name, Gigabytes(context->memory_bytes).c_str(),
                FormatPercent(context->load).c_str(),
                context->fault_xid == 0 ? "" : "  dead of an XID");
  }
}

void PrintGpu(const MachineSpec& spec, const MachineState& state, uint32_t index) {
  const GpuSpec& s = spec.gpus[index];
  const Gpu& gpu = state.gpus[index];
  std::string mig = !s.mig_capable ? "no MIG" : gpu.mig_mode ? "MIG on" : "MIG off";
  if (gpu.mig_mode != gpu.mig_pending)
    mig += gpu.mig_pending ? ", on after a reset" : ", off after a reset";
  std::printf("GPU %u  %s  %s  %s\n", index, s.name, mig.c_str(), s.uuid);
  MemoryInfo memory;
  if (MemoryOf(spec, state, {index, 0}, &memory) == Rc::kOk) {
    std::printf("  memory %s of %s used, load %s, %.0f W\n", Gigabytes(memory.used).c_str(),
                Gigabytes(memory.total).c_str(),
                FormatPercent(LoadOfGpu(spec, state, index).sm).c_str(),
                PowerWatts(spec, state, index));
  }
  if (gpu.lost) std::printf("  LOST: fallen off the bus (XID 79)\n");
  if (gpu.no_permission) std::printf("  NO PERMISSION for its device node\n");
  if (gpu.rows_pending) std::printf("  %u row remapping pending\n", gpu.rows_pending);
  if (gpu.ecc_aggregate_uncorrected) {
    std::printf("  %llu uncorrected ECC errors\n",
                static_cast<unsigned long long>(gpu.ecc_aggregate_uncorrected));
  }
  uint32_t mig_index = 0;
  for (const GpuInstance* gi : ListGis(gpu)) {
    const GiProfileSpec* profile = FindGiProfile(s, gi->profile_id);
    std::printf("  GI %-2u %-14s at %u:%u\n", gi->id, profile == nullptr ? "?" : profile->name,
                gi->start, gi->size);
    for (const ComputeInstance* ci : ListCisOf(gpu, gi->serial)) {
      const CiProfileSpec* slice =
          profile == nullptr ? nullptr : FindCiProfile(*profile, ci->profile_id);
      std::printf("    CI %u  device %u  %s  %u SMs  %s\n", ci->id, mig_index++,
                  slice == nullptr ? "?" : slice->name, slice == nullptr ? 0 : slice->sm, ci->uuid);
      PrintContexts(state, ContextsOn(state, index, ci->serial), "      ");
    }
  }
  if (!gpu.mig_mode) PrintContexts(state, ContextsOn(state, index), "  ");
}

void PrintMps(const MachineState& state) {
  for (const MpsServer& server : state.mps_servers) {
    if (server.serial == 0) continue;
    std::printf("MPS server in %s, for %s", server.pipe_directory,
                server.any_user ? "everybody" : ("user " + std::to_string(server.uid)).c_str());
    const std::vector<const MpsNamespace*> namespaces = MpsNamespacesOf(state, server.serial);
    if (namespaces.empty()) std::printf(", %.15g%% of the SMs", server.thread_percentage);
    std::printf("\n");
    for (const MpsNamespace* one : namespaces) {
      std::printf("  namespace %s", one->name);
      if (one->thread_percentage > 0) std::printf(", %.15g%% of the SMs", one->thread_percentage);
      if (one->memory_limit > 0) std::printf(", %s of memory", one->memory_as_set);
      std::printf("\n");
    }
  }
}

}  // namespace

Status Show(const std::string& dir, const std::string& format) {
  Result<std::unique_ptr<Machine>> machine = Machine::Open(dir);
  if (!machine) return tl::unexpected(machine.error());
  const MachineSpec& spec = (*machine)->spec();
  std::unique_ptr<MachineState> state = (*machine)->Snapshot();
  if (state == nullptr)
    return Fail(ErrorCode::kFailed, "the machine in " + dir + " cannot be read");
  if (format == "json") {
    Json json;
    json["format_version"] = "1.0";
    json["driver"] = spec.driver.version;
    json["driver_loaded"] = IsDriverLoaded(spec, *state);
    json["boot"] = state->boot;
    Json gpus = Json::array();
    for (uint32_t i = 0; i < spec.gpu_count; ++i) gpus.push_back(GpuJson(spec, *state, i));
    json["gpus"] = gpus;
    std::fputs(PrintJson(json).c_str(), stdout);
    return {};
  }
  std::printf("driver %s%s, %u GPU%s\n", spec.driver.version,
              IsDriverLoaded(spec, *state) ? "" : " (not loaded)", spec.gpu_count,
              spec.gpu_count == 1 ? "" : "s");
  for (uint32_t i = 0; i < spec.gpu_count; ++i) PrintGpu(spec, *state, i);
  for (const SlowCall& slow : state->slow) {
    if (slow.milliseconds != 0) std::printf("slow: %s takes %u ms\n", slow.name, slow.milliseconds);
  }
  for (const FailingCall& failing : state->failing) {
    if (failing.name[0] == 0) continue;
    std::printf("fails: %s answers %u%s\n", failing.name, failing.code,
                failing.nth == 0 ? "" : (", call " + std::to_string(failing.nth)).c_str());
  }
  PrintMps(*state);
  for (const auto& symbol : state->missing_symbols) {
    if (symbol[0] != 0) std::printf("missing: %s\n", symbol);
  }
  return {};
}

}  // namespace tranche::sim
