#include <fmt/format.h>

#include "base/json.h"
#include "face/cli/render/slot_bar.h"
#include "face/cli/views.h"

namespace tranche {
namespace {

Cell BytesCell(const Reading<Bytes>& bytes) {
  if (!bytes) return {};
  return {FormatBytes(*bytes), std::to_string(bytes->value)};
}

Cell MigCell(const Reading<MigMode>& mode) {
  if (!mode) return {"none", "none", Style::kDim};
  const std::string now = mode->current ? "on" : "off";
  if (mode->pending == mode->current) return {now, now};
  return {now + (mode->pending ? ", on" : ", off") + " after reset", now, Style::kYellow};
}

Cell HealthCell(const GpuHealth& health) {
  if (!health.usable) return {"not usable", "not_usable", Style::kRed};
  if (!health.problems.empty()) return {"see below", "problems", Style::kYellow};
  return {"ok", "ok", Style::kGreen};
}

Table GpuTable(const Machine& machine) {
  Table table;
  table.columns = {{"index", "GPU", Align::kRight},
                   {"model", "MODEL"},
                   {"memory_used_bytes", "USED", Align::kRight},
                   {"memory_total_bytes", "MEMORY", Align::kRight},
                   {"utilization", "BUSY", Align::kRight},
                   {"mig", "MIG"},
                   {"slices", "SLICES"},
                   {"health", "HEALTH"},
                   {"uuid", "UUID", Align::kLeft, true},
                   {"pci_bus_id", "PCI", Align::kLeft, true},
                   {"compute_mode", "COMPUTE MODE", Align::kLeft, true},
                   {"name", "NAME", Align::kLeft, true}};
  for (const Gpu& gpu : machine.gpus) {
    const Cell total = gpu.memory_total.value == 0 ? Cell()
                                                   : Cell(FormatBytes(gpu.memory_total),
                                                          std::to_string(gpu.memory_total.value));
    const Cell busy =
        gpu.utilization ? Cell(FormatPercent(*gpu.utilization), fmt::format("{}", *gpu.utilization))
                        : Cell();
    table.rows.push_back({std::to_string(gpu.index), gpu.model.empty() ? gpu.name : gpu.model,
                          BytesCell(gpu.memory_used), total, busy, MigCell(gpu.mig_mode),
                          SlotBar(gpu), HealthCell(gpu.health), gpu.uuid, gpu.pci_bus_id,
                          gpu.compute_mode ? Cell(ComputeModeName(*gpu.compute_mode)) : Cell(),
                          gpu.name});
  }
  return table;
}

Cell OwnerCell(const Deployment* deployment, const Gpu& gpu, const MigInstance& instance) {
  if (deployment == nullptr) return {};
  for (const DeployedReplica& replica : deployment->replicas) {
    if (replica.slice.gpu_uuid == gpu.uuid && replica.slice.placement == instance.placement) {
      return fmt::format("{}/{}", replica.workload, replica.replica);
    }
  }
  if (deployment->Owns(gpu.uuid, instance.placement)) return {"tranche, unused"};
  return {"not ours", "foreign", Style::kYellow};
}

Table InstanceTable(const Machine& machine, const Deployment* deployment) {
  Table table;
  table.title = "Instances";
  table.columns = {{"gpu", "GPU", Align::kRight},
                   {"placement", "SLOTS"},
                   {"profile", "PROFILE"},
                   {"memory_used_bytes", "USED", Align::kRight},
                   {"memory_bytes", "MEMORY", Align::kRight},
                   {"owner", "OWNER"},
                   {"id", "ID", Align::kRight, true},
                   {"uuid", "UUID", Align::kLeft, true}};
  for (const Gpu& gpu : machine.gpus) {
    for (const MigInstance& instance : gpu.mig_instances) {
      const int last = instance.placement.start + instance.placement.size - 1;
      std::string uuids;
      for (const MigComputeInstance& compute : instance.compute_instances) {
        uuids += (uuids.empty() ? "" : " ") + compute.uuid;
      }
      table.rows.push_back(
          {std::to_string(gpu.index),
           instance.placement.size == 1 ? std::to_string(last)
                                        : fmt::format("{}-{}", instance.placement.start, last),
           instance.profile, BytesCell(instance.memory_used),
           Cell(FormatBytes(instance.memory), std::to_string(instance.memory.value)),
           OwnerCell(deployment, gpu, instance), std::to_string(instance.id), uuids});
    }
  }
  return table;
}

std::string SliceOf(const Gpu& gpu, const GpuProcess& process) {
  if (!process.gpu_instance) return "";
  for (const MigInstance& instance : gpu.mig_instances) {
    if (instance.id == *process.gpu_instance) {
      return fmt::format("{}@{}", instance.profile, instance.placement.start);
    }
  }
  return fmt::format("instance {}", *process.gpu_instance);
}

Table ProcessTable(const Machine& machine) {
  Table table;
  table.title = "Processes";
  table.columns = {{"gpu", "GPU", Align::kRight},
                   {"slice", "SLICE"},
                   {"pid", "PID", Align::kRight},
                   {"user", "USER"},
                   {"container", "CONTAINER"},
                   {"memory_used_bytes", "MEMORY", Align::kRight},
                   {"command", "COMMAND", Align::kLeft, false, true}};
  for (const Gpu& gpu : machine.gpus) {
    for (const GpuProcess& process : gpu.processes) {
      table.rows.push_back({std::to_string(gpu.index), SliceOf(gpu, process),
                            std::to_string(process.pid), process.user, process.container,
                            BytesCell(process.memory_used), process.command});
    }
  }
  return table;
}

Table CapabilityTable(const Machine& machine, bool wide) {
  Table table;
  table.title = "What this machine can guarantee";
  table.columns = {{"gpu", "GPU", Align::kRight},
                   {"mechanism", "MECHANISM"},
                   {"memory", "MEMORY"},
                   {"compute", "COMPUTE"},
                   {"fault", "FAULT"},
                   {"access", "ACCESS"},
                   {"reason", "WHY", Align::kLeft, false, !wide}};
  for (const Capability& capability : machine.capabilities) {
    const Gpu* gpu = machine.FindGpu(capability.gpu_uuid);
    std::vector<Cell> row = {gpu != nullptr ? std::to_string(gpu->index) : capability.gpu_uuid,
                             MechanismName(capability.mechanism)};
    const Guarantees& guarantees = capability.guarantees;
    for (const Guarantee axis :
         {guarantees.memory, guarantees.compute, guarantees.fault, guarantees.access}) {
      row.push_back(capability.available ? Cell(GuaranteeName(axis)) : Cell());
    }
    row.push_back(capability.reason);
    table.rows.push_back(std::move(row));
  }
  return table;
}

std::string Headline(const Machine& machine) {
  std::string line = machine.hostname.empty() ? "machine" : machine.hostname;
  if (machine.simulated_fleet) line += " (a fleet on paper)";
  line += machine.driver_version ? ", driver " + *machine.driver_version
                                 : ", driver unknown (" + machine.driver_version.reason() + ")";
  if (machine.cuda_version) line += ", CUDA " + *machine.cuda_version;
  line += fmt::format(", {} {}", machine.gpus.size(), machine.gpus.size() == 1 ? "GPU" : "GPUs");
  return line + ", fingerprint " + machine.fingerprint + "\n\n";
}

// "  gpu0: virtual GPUs by vendor-vfio, 16 virtual functions, equal sizes, best-effort turns; ...".
std::string VgpuText(const Gpu& gpu) {
  const GpuVgpu& vgpu = *gpu.vgpu;
  std::string text = fmt::format(
      "  gpu{}: virtual GPUs by {}, {}, {}, {}\n", gpu.index,
      vgpu.mediated ? "mdev" : "vendor-vfio",
      vgpu.functions == 0
          ? std::string("no virtual functions yet")
          : fmt::format("{} virtual function{}", vgpu.functions, vgpu.functions == 1 ? "" : "s"),
      !vgpu.mixed   ? "mixed sizes: " + Printable(vgpu.mixed.reason())
      : *vgpu.mixed ? std::string("mixed sizes")
                    : std::string("one size"),
      vgpu.scheduler ? fmt::format("{} turns", VgpuSchedulerName(*vgpu.scheduler))
                     : "turns: " + Printable(vgpu.scheduler.reason()));
  for (const VgpuThere& there : vgpu.there) {
    text += fmt::format(
        "    {} {}{}{}\n", Printable(there.id), Printable(there.type),
        !there.ours ? std::string(", not Tranche's")
        : there.workload.empty()
            ? std::string(", made by hand")
            : fmt::format(", for {}/{}", Printable(there.workload), there.replica),
        there.holders.empty() ? "" : fmt::format(", open by pid {}", there.holders.front()));
  }
  return text;
}

}  // namespace

Answer ViewMachine(const Machine& machine, const Deployment* deployment, bool wide) {
  Answer answer;
  answer.json = ToJson(machine);
  answer.blocks.emplace_back(Printable(Headline(machine), true));
  answer.blocks.emplace_back(GpuTable(machine));
  for (Table table : {InstanceTable(machine, deployment), ProcessTable(machine),
                      CapabilityTable(machine, wide)}) {
    if (table.rows.empty()) continue;
    answer.blocks.emplace_back("\n");
    answer.blocks.emplace_back(std::move(table));
  }
  std::string troubles;
  for (const Gpu& gpu : machine.gpus) {
    for (const std::string& problem : gpu.health.problems) {
      troubles += fmt::format("  gpu{}: {}\n", gpu.index, Printable(problem));
    }
  }
  if (!troubles.empty()) answer.blocks.emplace_back("\nHealth\n" + troubles);
  std::string sharing;
  for (const Gpu& gpu : machine.gpus) {
    if (deployment != nullptr && deployment->IsDrained(gpu.uuid)) {
      sharing += fmt::format("  gpu{}: drained; nothing new is placed on it\n", gpu.index);
    }
    if (gpu.time_slice) {
      sharing +=
          fmt::format("  gpu{}: {} time slices\n", gpu.index, TimeSliceName(*gpu.time_slice));
    }
  }
  for (const Gpu& gpu : machine.gpus) {
    if (gpu.vgpu) sharing += VgpuText(gpu);
  }
  if (!sharing.empty()) answer.blocks.emplace_back("\nSharing\n" + sharing);
  return answer;
}

}  // namespace tranche
