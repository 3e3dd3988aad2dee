#pragma once

#include <fmt/format.h>
#include <gmock/gmock.h>

#include <string>
#include <vector>

#include "stage/export/export.h"
#include "stage/import/import.h"
#include "stage/inventory/inventory.h"
#include "stage/plan/planner.h"
#include "stage/request/parser.h"

// What tests need that import, plan and export.

namespace tranche {

inline const Catalog& TheCatalog() {
  static const auto kCatalog = Catalog::Load().value();
  return *kCatalog;
}

inline Spec SpecOf(const std::string& text) {
  auto spec = ParseSpec(text, "spec.yaml", "/srv", TheCatalog());
  if (spec) return *std::move(spec);
  ADD_FAILURE() << FormatDiagnostic(spec.error().front()) << "\n" << text;
  return {};
}

// GPUs as a driver shows them, with what their models can do.
inline Machine MachineOf(const std::string& gpu, int count) {
  Spec fleet;
  fleet.fleet.push_back({gpu, count, std::nullopt, std::nullopt});
  Machine machine = MachineFromFleet(fleet, TheCatalog());
  machine.simulated_fleet = false;
  for (Gpu& one : machine.gpus) {
    one.uuid = fmt::format("GPU-00000000-0000-0000-0000-{:012}", one.index);
    one.pci_bus_id = fmt::format("00000000:{:02X}:00.0", 16 + one.index);
    one.minor_number = one.index;
  }
  for (Capability& capability : machine.capabilities) {
    for (const Gpu& one : machine.gpus) {
      if (capability.gpu_uuid == fmt::format("fleet-{}-{}", one.model, one.index)) {
        capability.gpu_uuid = one.uuid;
      }
    }
  }
  machine.fingerprint = MachineFingerprint(machine);
  return machine;
}

inline Plan PlanOf(const std::string& text, const Machine& machine) {
  Plan plan = MakePlan(machine, SpecOf(text), Deployment{}, TheCatalog(), {});
  for (const Unplaced& one : plan.unplaced) ADD_FAILURE() << one.workload << ": " << one.reason;
  return plan;
}

// A plan in which these hold equal or given parts of one GPU by a mechanism, whether or not the
// planner offers it here.
inline Plan SharedPlan(Mechanism mechanism, const Machine& machine, const std::vector<Bytes>& parts,
                       const std::string& image) {
  Plan plan;
  plan.id = "p1:0";
  for (size_t i = 0; i < parts.size(); ++i) {
    Workload workload;
    workload.name = fmt::format("w{}", i);
    workload.image = image;
    workload.args = {"--gpu-memory-utilization", "0.95"};
    workload.kind = WorkloadKind::kInference;
    workload.port = 9000 + static_cast<int>(i);
    workload.route = fmt::format("/w{}", i);
    plan.spec.workloads.push_back(workload);
    Assignment assignment;
    assignment.workload = workload.name;
    assignment.gpu_model = machine.gpus[0].model;
    assignment.slice.gpu_uuid = machine.gpus[0].uuid;
    assignment.slice.mechanism = mechanism;
    assignment.slice.memory = parts[i];
    assignment.slice.compute_fraction = 1.0 / static_cast<double>(parts.size());
    plan.assignments.push_back(assignment);
  }
  return plan;
}

inline std::string FileOf(const Exported& exported, const std::string& name) {
  for (const ExportFile& file : exported.files) {
    if (file.name == name) return file.text;
  }
  ADD_FAILURE() << "no file " << name;
  return "";
}

inline std::string NotesOf(const Exported& exported) {
  std::string all;
  for (const std::string& note : exported.notes) all += note + "\n";
  return all;
}

}  // namespace tranche
