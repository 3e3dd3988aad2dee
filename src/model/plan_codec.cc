#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <string_view>

#include "base/fnv.h"
#include "base/json.h"
#include "model/plan.h"

namespace tranche {
namespace {

constexpr int kMost = std::numeric_limits<int>::max();

struct StepKindRow {
  StepKind kind;
  const char* name;
  bool on_gpu;      // gpu_uuid says which
  bool on_replica;  // workload and replica say which
  bool on_slice;    // slice says which
};

constexpr std::array<StepKindRow, 15> kStepKinds = {{
    {StepKind::kEnableMig, "enable_mig", true, false, false},
    {StepKind::kDisableMig, "disable_mig", true, false, false},
    {StepKind::kDestroyInstance, "destroy_instance", true, false, true},
    {StepKind::kCreateInstance, "create_instance", true, false, true},
    {StepKind::kKeepInstance, "keep_instance", true, false, true},
    {StepKind::kStopReplica, "stop_replica", false, true, true},
    {StepKind::kStartReplica, "start_replica", false, true, true},
    {StepKind::kKeepReplica, "keep_replica", false, true, true},
    {StepKind::kRoute, "route", false, false, false},
    {StepKind::kUnroute, "unroute", false, false, false},
    {StepKind::kSetTimeSlice, "set_time_slice", true, false, false},
    {StepKind::kSetComputeMode, "set_compute_mode", true, false, false},
    {StepKind::kCreateVgpu, "create_vgpu", false, true, true},
    {StepKind::kDestroyVgpu, "destroy_vgpu", false, true, true},
    {StepKind::kSetVgpuHost, "set_vgpu_host", true, false, false},
}};

const StepKindRow& RowOf(StepKind kind) {
  return *std::find_if(kStepKinds.begin(), kStepKinds.end(),
                       [&](const StepKindRow& row) { return row.kind == kind; });
}

int IntIn(JsonReader& reader, const char* key, int low) {
  const int64_t value = reader.Int(key);
  if (value < low || value > kMost) {
    reader.Add(Fail(ErrorCode::kInvalid,
                    fmt::format("{}.{} is {}, which cannot be", reader.where(), key, value)));
    return low;
  }
  return static_cast<int>(value);
}

std::string OptionalString(JsonReader& reader, const char* key) {
  return reader.Has(key) ? reader.String(key) : "";
}

std::optional<double> OptionalAmount(JsonReader& reader, const char* key, const char* what) {
  if (!reader.Has(key)) return std::nullopt;
  const double amount = reader.Number(key);
  if (!std::isfinite(amount) || amount < 0) {
    reader.Add(
        Fail(ErrorCode::kInvalid, fmt::format("{}.{} is not {}", reader.where(), key, what)));
    return std::nullopt;
  }
  return amount;
}

std::optional<double> OptionalMoney(JsonReader& reader, const char* key) {
  return OptionalAmount(reader, key, "an amount of money");
}

template <typename T>
void Take(JsonReader& reader, Result<T> read, T* into) {
  if (read) {
    *into = *std::move(read);
  } else {
    reader.Add(FailedWhile(reader.where(), read.error()));
  }
}

Json GuaranteesToJson(const Guarantees& guarantees) {
  return Json{{"memory", GuaranteeName(guarantees.memory)},
              {"compute", GuaranteeName(guarantees.compute)},
              {"fault", GuaranteeName(guarantees.fault)},
              {"access", GuaranteeName(guarantees.access)}};
}

Guarantees ReadGuarantees(JsonReader& parent, const char* key) {
  JsonReader reader(parent.Object(key), parent.where() + "." + key);
  Guarantees guarantees;
  Take(reader, ParseGuarantee(reader.String("memory")), &guarantees.memory);
  Take(reader, ParseGuarantee(reader.String("compute")), &guarantees.compute);
  Take(reader, ParseGuarantee(reader.String("fault")), &guarantees.fault);
  Take(reader, ParseGuarantee(reader.String("access")), &guarantees.access);
  parent.Add(reader.status());
  return guarantees;
}

Json ToJson(const AssignedVgpu& vgpu) {
  Json json = {{"series", VgpuSeriesName(vgpu.series)},
               {"framebuffer_bytes", vgpu.framebuffer.value},
               {"guest_memory_bytes", vgpu.guest_memory.value}};
  if (vgpu.scheduler) json["scheduler"] = VgpuSchedulerName(*vgpu.scheduler);
  if (vgpu.part && vgpu.parts) {
    json["part"] = *vgpu.part;
    json["parts"] = *vgpu.parts;
  }
  if (!vgpu.licence.empty()) json["licence"] = vgpu.licence;
  if (vgpu.licence_cost_per_hour) json["licence_cost_per_hour"] = *vgpu.licence_cost_per_hour;
  return json;
}

AssignedVgpu ReadVgpu(JsonReader& parent) {
  JsonReader reader(parent.Object("vgpu"), parent.where() + ".vgpu");
  AssignedVgpu vgpu;
  Take(reader, ParseVgpuSeries(reader.String("series")), &vgpu.series);
  vgpu.framebuffer = Bytes{reader.Unsigned("framebuffer_bytes")};
  vgpu.guest_memory = Bytes{reader.Unsigned("guest_memory_bytes")};
  if (reader.Has("scheduler"))
    Take(reader, ParseVgpuScheduler(reader.String("scheduler")), &vgpu.scheduler.emplace());
  if (reader.Has("part")) {
    vgpu.part = IntIn(reader, "part", 1);
    vgpu.parts = IntIn(reader, "parts", 1);
  }
  vgpu.licence = OptionalString(reader, "licence");
  vgpu.licence_cost_per_hour = OptionalMoney(reader, "licence_cost_per_hour");
  parent.Add(reader.status());
  return vgpu;
}

// The slice's members stand beside the assignment's own: people and jq read them flat.
Json ToJson(const Assignment& assignment) {
  Json json;
  json["workload"] = assignment.workload;
  json["replica"] = assignment.replica;
  if (!assignment.team.empty()) json["team"] = assignment.team;
  json["gpu_model"] = assignment.gpu_model;
  json["gpu_index"] = assignment.gpu_index;
  json.update(ToJson(assignment.slice));
  json["needed_bytes"] = assignment.needed.value;
  json["guarantee"] = GuaranteesToJson(assignment.guarantee);
  if (assignment.cost_per_hour) json["cost_per_hour"] = *assignment.cost_per_hour;
  if (assignment.vgpu) json["vgpu"] = ToJson(*assignment.vgpu);
  json["engine_flags"] = assignment.engine_flags;
  json["reasons"] = assignment.reasons;
  return json;
}

Assignment ReadAssignment(const Json& json, const std::string& where, JsonReader& parent) {
  JsonReader reader(json, where);
  Assignment assignment;
  assignment.workload = reader.String("workload");
  assignment.replica = IntIn(reader, "replica", 0);
  assignment.team = OptionalString(reader, "team");
  assignment.gpu_model = reader.String("gpu_model");
  assignment.gpu_index = IntIn(reader, "gpu_index", 0);
  if (reader.status()) Take(reader, SliceFromJson(json), &assignment.slice);
  assignment.needed = Bytes{reader.Unsigned("needed_bytes")};
  assignment.guarantee = ReadGuarantees(reader, "guarantee");
  assignment.cost_per_hour = OptionalMoney(reader, "cost_per_hour");
  if (reader.Has("vgpu")) assignment.vgpu = ReadVgpu(reader);
  assignment.engine_flags = reader.Strings("engine_flags");
  assignment.reasons = reader.Strings("reasons");
  parent.Add(reader.status());
  return assignment;
}

Json ToJson(const Interruption& interruption) {
  Json json;
  json["pid"] = interruption.pid;
  json["command"] = interruption.command;
  if (!interruption.user.empty()) json["user"] = interruption.user;
  if (!interruption.container.empty()) json["container"] = interruption.container;
  return json;
}

Json WithoutId(const Plan& plan) {
  Json json;
  json["format_version"] = "1.0";
  json["feasible"] = plan.feasible();
  json["currency"] = plan.spec.currency;
  if (plan.cost_per_hour) json["cost_per_hour"] = *plan.cost_per_hour;
  if (plan.cost_lower_bound_per_hour) {
    json["cost_lower_bound_per_hour"] = *plan.cost_lower_bound_per_hour;
  }
  if (plan.licence_cost_per_hour) json["licence_cost_per_hour"] = *plan.licence_cost_per_hour;
  if (plan.peak_power_watts) json["peak_power_watts"] = *plan.peak_power_watts;
  json["machine_fingerprint"] = plan.machine_fingerprint;
  json["simulated_fleet"] = plan.simulated_fleet;
  json["adopts"] = plan.adopts;
  json["placements"] = Json::array();
  for (const Assignment& assignment : plan.assignments)
    json["placements"].push_back(ToJson(assignment));
  json["unplaced"] = Json::array();
  for (const Unplaced& unplaced : plan.unplaced) {
    json["unplaced"].push_back(Json{{"workload", unplaced.workload},
                                    {"replica", unplaced.replica},
                                    {"reason", unplaced.reason},
                                    {"nearest", unplaced.nearest}});
  }
  json["steps"] = Json::array();
  for (const Step& step : plan.steps) json["steps"].push_back(ToJson(step));
  if (!plan.tiers.empty()) {
    json["tiers"] = Json::array();
    for (const TierCapacity& tier : plan.tiers) json["tiers"].push_back(ToJson(tier));
  }
  json["notes"] = plan.notes;
  json["spec"] = ToJson(plan.spec);
  json["machine_layout"] = ToJson(plan.machine_layout);
  return json;
}

// What a step says it does must be whole: an executor never meets a create without a slice.
void CheckStep(const Step& step, JsonReader& reader) {
  const StepKindRow& row = RowOf(step.kind);
  const auto missing = [&](const char* what) {
    reader.Add(
        Fail(ErrorCode::kInvalid, fmt::format("{}: {} needs {}", reader.where(), row.name, what)));
  };
  if (row.on_gpu && step.gpu_uuid.empty()) missing("gpu_uuid");
  if (row.on_replica && step.workload.empty()) missing("workload and replica");
  if (row.on_slice && !step.slice) missing("slice");
  if (step.kind == StepKind::kSetTimeSlice && (!step.time_slice || !step.time_slice_before)) {
    missing("time_slice and time_slice_before");
  }
  if (step.kind == StepKind::kSetComputeMode && (!step.compute_mode || !step.compute_mode_before)) {
    missing("compute_mode and compute_mode_before");
  }
  if (step.kind == StepKind::kSetVgpuHost && (!step.vgpu_host || !step.vgpu_host_before)) {
    missing("vgpu_host and vgpu_host_before");
  }
  const bool vgpu = step.kind == StepKind::kCreateVgpu || step.kind == StepKind::kDestroyVgpu;
  if (vgpu && step.slice && step.slice->mechanism != Mechanism::kVgpu) missing("a vgpu slice");
  if (row.on_gpu && row.on_slice && step.slice &&
      (step.slice->mechanism != Mechanism::kMig || step.slice->gpu_uuid != step.gpu_uuid)) {
    missing("a mig slice on its own GPU");
  }
}

}  // namespace

bool Plan::HasChanges() const {
  return std::any_of(steps.begin(), steps.end(),
                     [](const Step& step) { return step.change != Change::kKeep; });
}

const Assignment* Plan::FindAssignment(const std::string& workload, int replica) const {
  const auto found = std::find_if(assignments.begin(), assignments.end(), [&](const Assignment& a) {
    return a.workload == workload && a.replica == replica;
  });
  return found != assignments.end() ? &*found : nullptr;
}

std::string PlanDigest(const Plan& plan) {
  return fmt::format("p1:{:016x}", Fnv1a(PrintJsonLine(WithoutId(plan))));
}

Json ToJson(const Plan& plan) {
  Json json;
  json["id"] = plan.id;
  json.update(WithoutId(plan));
  return json;
}

Result<Plan> PlanFromJson(const Json& json) {
  JsonReader reader(json, "plan");
  const std::string version = reader.String("format_version");
  if (!reader.status()) return tl::unexpected(reader.status().error());
  if (version != "1.0") {
    return Fail(ErrorCode::kInvalid,
                fmt::format("plan.format_version is '{}'; only '1.0' is known", version),
                "make the plan again with this version of tranche");
  }
  Plan plan;
  plan.id = reader.String("id");
  plan.cost_per_hour = OptionalMoney(reader, "cost_per_hour");
  plan.cost_lower_bound_per_hour = OptionalMoney(reader, "cost_lower_bound_per_hour");
  plan.licence_cost_per_hour = OptionalMoney(reader, "licence_cost_per_hour");
  plan.peak_power_watts = OptionalAmount(reader, "peak_power_watts", "a power");
  plan.machine_fingerprint = reader.String("machine_fingerprint");
  plan.simulated_fleet = reader.Bool("simulated_fleet");
  plan.adopts = reader.Bool("adopts");
  for (const Json& item : reader.Array("placements")) {
    plan.assignments.push_back(
        ReadAssignment(item, fmt::format("plan.placements[{}]", plan.assignments.size()), reader));
  }
  for (const Json& item : reader.Array("unplaced")) {
    JsonReader unplaced(item, fmt::format("plan.unplaced[{}]", plan.unplaced.size()));
    plan.unplaced.push_back({unplaced.String("workload"), IntIn(unplaced, "replica", 0),
                             unplaced.String("reason"), unplaced.String("nearest")});
    reader.Add(unplaced.status());
  }
  for (const Json& item : reader.Array("steps")) {
    Result<Step> step = StepFromJson(item);
    const int id = static_cast<int>(plan.steps.size()) + 1;
    if (!step) {
      reader.Add(FailedWhile(fmt::format("plan.steps[{}]", id - 1), step.error()));
      break;
    }
    if (step->id != id) {
      reader.Add(Fail(
          ErrorCode::kInvalid,
          fmt::format("plan.steps[{}].id is {}; steps are numbered from 1", id - 1, step->id)));
    }
    plan.steps.push_back(*std::move(step));
  }
  if (reader.Has("tiers")) {
    for (const Json& item : reader.Array("tiers")) {
      plan.tiers.emplace_back();
      Take(reader, TierCapacityFromJson(item), &plan.tiers.back());
    }
  }
  plan.notes = reader.Strings("notes");
  Take(reader, SpecFromJson(reader.Object("spec")), &plan.spec);
  Take(reader, MachineFromJson(reader.Object("machine_layout")), &plan.machine_layout);
  if (reader.Bool("feasible") != plan.feasible()) {
    reader.Add(Fail(ErrorCode::kInvalid, "plan.feasible contradicts plan.unplaced"));
  }
  if (!plan.feasible() && !plan.steps.empty()) {
    reader.Add(Fail(ErrorCode::kInvalid, "plan.steps must be empty where something is unplaced"));
  }
  if (!reader.status()) return tl::unexpected(reader.status().error());
  return plan;
}

Json ToJson(const Step& step) {
  Json json;
  json["id"] = step.id;
  json["action"] = StepKindName(step.kind);
  json["change"] = ChangeName(step.change);
  json["target"] = step.target;
  json["why"] = step.why;
  json["reversible"] = step.reversible;
  if (!step.gpu_uuid.empty()) json["gpu_uuid"] = step.gpu_uuid;
  if (!step.workload.empty()) {
    json["workload"] = step.workload;
    json["replica"] = step.replica;
  }
  if (step.slice) json["slice"] = ToJson(*step.slice);
  if (step.by_hand) json["by_hand"] = true;
  if (step.time_slice) json["time_slice"] = TimeSliceName(*step.time_slice);
  if (step.time_slice_before) json["time_slice_before"] = TimeSliceName(*step.time_slice_before);
  if (step.compute_mode) json["compute_mode"] = ComputeModeName(*step.compute_mode);
  if (step.compute_mode_before)
    json["compute_mode_before"] = ComputeModeName(*step.compute_mode_before);
  if (step.vgpu_host) json["vgpu_host"] = ToJson(*step.vgpu_host);
  if (step.vgpu_host_before) json["vgpu_host_before"] = ToJson(*step.vgpu_host_before);
  json["interrupts"] = Json::array();
  for (const Interruption& interruption : step.interrupts)
    json["interrupts"].push_back(ToJson(interruption));
  return json;
}

Result<Step> StepFromJson(const Json& json) {
  JsonReader reader(json, "step");
  Step step;
  step.id = IntIn(reader, "id", 1);
  const std::string action = reader.String("action");
  const auto row =
      std::find_if(kStepKinds.begin(), kStepKinds.end(),
                   [&](const StepKindRow& candidate) { return candidate.name == action; });
  if (row == kStepKinds.end()) {
    reader.Add(Fail(ErrorCode::kInvalid, fmt::format("step.action '{}' is not known", action)));
  } else {
    step.kind = row->kind;
  }
  const std::string change = reader.String("change");
  bool known = false;
  for (const Change candidate :
       {Change::kCreate, Change::kKeep, Change::kChange, Change::kDestroy}) {
    if (change != ChangeName(candidate)) continue;
    step.change = candidate;
    known = true;
  }
  if (!known)
    reader.Add(Fail(ErrorCode::kInvalid, fmt::format("step.change '{}' is not known", change)));
  step.target = reader.String("target");
  step.why = reader.String("why");
  step.reversible = reader.Bool("reversible");
  step.gpu_uuid = OptionalString(reader, "gpu_uuid");
  if (reader.Has("by_hand")) step.by_hand = reader.Bool("by_hand");
  if (reader.Has("workload")) {
    step.workload = reader.String("workload");
    step.replica = IntIn(reader, "replica", 0);
  }
  if (reader.Has("slice")) {
    Slice slice;
    Take(reader, SliceFromJson(reader.Object("slice")), &slice);
    step.slice = std::move(slice);
  }
  for (const auto& [key, into] : {std::pair{"time_slice", &step.time_slice},
                                  std::pair{"time_slice_before", &step.time_slice_before}}) {
    if (reader.Has(key)) Take(reader, ParseTimeSlice(reader.String(key)), &into->emplace());
  }
  for (const auto& [key, into] : {std::pair{"compute_mode", &step.compute_mode},
                                  std::pair{"compute_mode_before", &step.compute_mode_before}}) {
    if (reader.Has(key)) Take(reader, ParseComputeMode(reader.String(key)), &into->emplace());
  }
  for (const auto& [key, into] : {std::pair{"vgpu_host", &step.vgpu_host},
                                  std::pair{"vgpu_host_before", &step.vgpu_host_before}}) {
    if (reader.Has(key)) Take(reader, VgpuHostStateFromJson(reader.Object(key)), &into->emplace());
  }
  for (const Json& item : reader.Array("interrupts")) {
    JsonReader inner(item, fmt::format("step.interrupts[{}]", step.interrupts.size()));
    Interruption interruption;
    interruption.pid = IntIn(inner, "pid", 1);
    interruption.command = inner.String("command");
    interruption.user = OptionalString(inner, "user");
    interruption.container = OptionalString(inner, "container");
    step.interrupts.push_back(std::move(interruption));
    reader.Add(inner.status());
  }
  if (reader.status()) CheckStep(step, reader);
  if (!reader.status()) return tl::unexpected(reader.status().error());
  return step;
}

const char* StepKindName(StepKind kind) { return RowOf(kind).name; }

char ChangeSymbol(Change change) {
  switch (change) {
    case Change::kCreate:
      return '+';
    case Change::kKeep:
      return '=';
    case Change::kChange:
      return '~';
    case Change::kDestroy:
      return '-';
  }
  return '=';
}

const char* ChangeName(Change change) {
  switch (change) {
    case Change::kCreate:
      return "create";
    case Change::kKeep:
      return "keep";
    case Change::kChange:
      return "change";
    case Change::kDestroy:
      return "destroy";
  }
  return "keep";
}

}  // namespace tranche
