#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/json.h"
#include "model/deployment.h"

namespace tranche {
namespace {

constexpr int kMostSlots = 1024;

int IntIn(JsonReader& reader, const char* key, int low, int high) {
  const int64_t value = reader.Int(key);
  if (value < low || value > high) {
    reader.Add(Fail(ErrorCode::kInvalid, fmt::format("{}.{} is {}, outside {} to {}",
                                                     reader.where(), key, value, low, high)));
    return low;
  }
  return static_cast<int>(value);
}

MigPlacement ReadPlacement(JsonReader& reader) {
  return {IntIn(reader, "placement_start", 0, kMostSlots),
          IntIn(reader, "placement_size", 1, kMostSlots)};
}

Json InstanceToJson(const OwnedInstance& instance) {
  return Json{{"gpu_uuid", instance.gpu_uuid},
              {"profile", instance.profile},
              {"placement_start", instance.placement.start},
              {"placement_size", instance.placement.size}};
}

OwnedInstance ReadInstance(const Json& json, const std::string& where, Status* status) {
  JsonReader reader(json, where);
  OwnedInstance instance{reader.String("gpu_uuid"), reader.String("profile"),
                         ReadPlacement(reader)};
  if (*status) *status = reader.status();
  return instance;
}

std::vector<OwnedInstance> ReadInstances(JsonReader& reader, const char* key) {
  std::vector<OwnedInstance> instances;
  Status status;
  for (const Json& item : reader.Array(key)) {
    instances.push_back(ReadInstance(
        item, fmt::format("{}.{}[{}]", reader.where(), key, instances.size()), &status));
  }
  reader.Add(status);
  return instances;
}

TimeSlice ReadTimeSlice(JsonReader& reader, const char* key) {
  const Result<TimeSlice> time_slice = ParseTimeSlice(reader.String(key));
  if (time_slice) return *time_slice;
  reader.Add(FailedWhile(fmt::format("{}.{}", reader.where(), key), time_slice.error()));
  return TimeSlice::kDefault;
}

ComputeMode ReadComputeMode(JsonReader& reader, const char* key) {
  const Result<ComputeMode> mode = ParseComputeMode(reader.String(key));
  if (mode) return *mode;
  reader.Add(FailedWhile(fmt::format("{}.{}", reader.where(), key), mode.error()));
  return ComputeMode::kDefault;
}

VgpuHostState ReadVgpuHost(JsonReader& reader) {
  const Result<VgpuHostState> state = VgpuHostStateFromJson(reader.Object("vgpu_host"));
  if (state) return *state;
  reader.Add(FailedWhile(reader.where(), state.error()));
  return {};
}

Json InstancesToJson(const std::vector<OwnedInstance>& instances) {
  Json json = Json::array();
  for (const OwnedInstance& instance : instances) json.push_back(InstanceToJson(instance));
  return json;
}

DeployedReplica ReadReplica(const Json& json, const std::string& where, Status* status) {
  JsonReader reader(json, where);
  DeployedReplica replica;
  replica.workload = reader.String("workload");
  replica.replica = IntIn(reader, "replica", 0, std::numeric_limits<int>::max());
  replica.digest = reader.String("digest");
  const Result<Slice> slice = SliceFromJson(reader.Object("slice"));
  if (slice) {
    replica.slice = *slice;
  } else {
    reader.Add(FailedWhile(where, slice.error()));
  }
  replica.stopped = reader.Bool("stopped");
  if (reader.Has("pids")) {
    for (const Json& pid : reader.Array("pids")) {
      if (!pid.is_number_integer() || pid.get<int64_t>() < 1 ||
          pid.get<int64_t>() > std::numeric_limits<int>::max()) {
        reader.Add(Fail(ErrorCode::kInvalid,
                        fmt::format("{}.pids holds something that is no pid", where)));
        break;
      }
      replica.pids.push_back(pid.get<int>());
    }
  }
  if (reader.Has("route")) replica.route = reader.String("route");
  if (*status) *status = reader.status();
  return replica;
}

}  // namespace

bool Deployment::Owns(const std::string& gpu_uuid, MigPlacement placement) const {
  return std::any_of(instances.begin(), instances.end(), [&](const OwnedInstance& instance) {
    return instance.gpu_uuid == gpu_uuid && instance.placement == placement;
  });
}

bool Deployment::IsDrained(const std::string& gpu_uuid) const {
  return std::find(drained.begin(), drained.end(), gpu_uuid) != drained.end();
}

const SetTimeSlice* Deployment::FindTimeSlice(const std::string& gpu_uuid) const {
  const auto found = std::find_if(time_slices.begin(), time_slices.end(),
                                  [&](const SetTimeSlice& s) { return s.gpu_uuid == gpu_uuid; });
  return found != time_slices.end() ? &*found : nullptr;
}

const SetComputeMode* Deployment::FindComputeMode(const std::string& gpu_uuid) const {
  const auto found = std::find_if(compute_modes.begin(), compute_modes.end(),
                                  [&](const SetComputeMode& s) { return s.gpu_uuid == gpu_uuid; });
  return found != compute_modes.end() ? &*found : nullptr;
}

const SetVgpuHost* Deployment::FindVgpuHost(const std::string& gpu_uuid) const {
  const auto found = std::find_if(vgpu_hosts.begin(), vgpu_hosts.end(),
                                  [&](const SetVgpuHost& s) { return s.gpu_uuid == gpu_uuid; });
  return found != vgpu_hosts.end() ? &*found : nullptr;
}

const DeployedReplica* Deployment::FindReplica(const std::string& workload, int replica) const {
  const auto found = std::find_if(replicas.begin(), replicas.end(), [&](const DeployedReplica& r) {
    return r.workload == workload && r.replica == replica;
  });
  return found != replicas.end() ? &*found : nullptr;
}

Json ToJson(const Slice& slice) {
  Json json;
  json["gpu_uuid"] = slice.gpu_uuid;
  if (!slice.more_gpu_uuids.empty()) json["more_gpu_uuids"] = slice.more_gpu_uuids;
  json["mechanism"] = MechanismName(slice.mechanism);
  if (!slice.profile.empty()) json["profile"] = slice.profile;
  if (slice.placement) {
    json["placement_start"] = slice.placement->start;
    json["placement_size"] = slice.placement->size;
  }
  if (!slice.vgpu_type.empty()) json["vgpu_type"] = slice.vgpu_type;
  json["memory_bytes"] = slice.memory.value;
  json["compute_fraction"] = slice.compute_fraction;
  return json;
}

Result<Slice> SliceFromJson(const Json& json) {
  JsonReader reader(json, "slice");
  Slice slice;
  slice.gpu_uuid = reader.String("gpu_uuid");
  if (reader.Has("more_gpu_uuids")) slice.more_gpu_uuids = reader.Strings("more_gpu_uuids");
  const Result<Mechanism> mechanism = ParseMechanism(reader.String("mechanism"));
  if (mechanism) {
    slice.mechanism = *mechanism;
  } else {
    reader.Add(FailedWhile("slice.mechanism", mechanism.error()));
  }
  if (reader.Has("profile")) slice.profile = reader.String("profile");
  if (reader.Has("placement_start") || reader.Has("placement_size")) {
    slice.placement = ReadPlacement(reader);
  }
  // A MIG slice without a place would be made anywhere, so it is refused here, once, for everybody.
  const bool in_instance = slice.placement.has_value();
  if (mechanism && *mechanism == Mechanism::kMig && !in_instance) {
    reader.Add(
        Fail(ErrorCode::kInvalid, "slice: a mig slice needs placement_start and placement_size"));
  }
  if (mechanism && in_instance && *mechanism != Mechanism::kMig && *mechanism != Mechanism::kMps &&
      *mechanism != Mechanism::kVgpu) {
    reader.Add(Fail(ErrorCode::kInvalid,
                    "slice: only a mig slice, or an mps or vgpu one in a MIG instance, has a "
                    "placement"));
  }
  const bool shares =
      mechanism && (*mechanism == Mechanism::kMps || *mechanism == Mechanism::kVgpu);
  if (shares && in_instance == slice.profile.empty()) {
    reader.Add(
        Fail(ErrorCode::kInvalid, fmt::format("slice: a slice by {} in a MIG instance has both a "
                                              "profile and a placement",
                                              MechanismName(*mechanism))));
  }
  if (reader.Has("vgpu_type")) slice.vgpu_type = reader.String("vgpu_type");
  // It becomes part of what is told to the kernel, so this is no formality.
  if (mechanism && (*mechanism == Mechanism::kVgpu) != IsVgpuType(slice.vgpu_type)) {
    reader.Add(Fail(ErrorCode::kInvalid, "slice: a vgpu slice has a vgpu_type, and no other has"));
  }
  slice.memory = Bytes{reader.Unsigned("memory_bytes")};
  slice.compute_fraction = reader.Number("compute_fraction");
  if (!(slice.compute_fraction >= 0 && slice.compute_fraction <= 1)) {
    reader.Add(Fail(ErrorCode::kInvalid, fmt::format("slice.compute_fraction is {}, outside 0 to 1",
                                                     slice.compute_fraction)));
  }
  if (!reader.status()) return tl::unexpected(reader.status().error());
  return slice;
}

Json ToJson(const Deployment& deployment) {
  Json json;
  json["format_version"] = "1.0";
  json["plan_id"] = deployment.plan_id;
  json["instances"] = InstancesToJson(deployment.instances);
  json["replicas"] = Json::array();
  for (const DeployedReplica& replica : deployment.replicas) {
    Json item;
    item["workload"] = replica.workload;
    item["replica"] = replica.replica;
    item["digest"] = replica.digest;
    item["slice"] = ToJson(replica.slice);
    item["stopped"] = replica.stopped;
    if (!replica.pids.empty()) item["pids"] = replica.pids;
    if (replica.route) item["route"] = *replica.route;
    json["replicas"].push_back(std::move(item));
  }
  json["baselines"] = Json::array();
  for (const Baseline& baseline : deployment.baselines) {
    Json item{{"gpu_uuid", baseline.gpu_uuid},
              {"mig_enabled", baseline.mig_enabled},
              {"instances", InstancesToJson(baseline.instances)}};
    if (baseline.time_slice) item["time_slice"] = TimeSliceName(*baseline.time_slice);
    if (baseline.compute_mode) item["compute_mode"] = ComputeModeName(*baseline.compute_mode);
    if (baseline.vgpu_host) item["vgpu_host"] = ToJson(*baseline.vgpu_host);
    json["baselines"].push_back(std::move(item));
  }
  if (!deployment.time_slices.empty()) {
    json["time_slices"] = Json::array();
    for (const SetTimeSlice& set : deployment.time_slices) {
      json["time_slices"].push_back(
          Json{{"gpu_uuid", set.gpu_uuid}, {"time_slice", TimeSliceName(set.time_slice)}});
    }
  }
  if (!deployment.compute_modes.empty()) {
    json["compute_modes"] = Json::array();
    for (const SetComputeMode& set : deployment.compute_modes) {
      json["compute_modes"].push_back(
          Json{{"gpu_uuid", set.gpu_uuid}, {"compute_mode", ComputeModeName(set.compute_mode)}});
    }
  }
  if (!deployment.vgpu_hosts.empty()) {
    json["vgpu_hosts"] = Json::array();
    for (const SetVgpuHost& set : deployment.vgpu_hosts) {
      json["vgpu_hosts"].push_back(
          Json{{"gpu_uuid", set.gpu_uuid}, {"vgpu_host", ToJson(set.state)}});
    }
  }
  if (!deployment.drained.empty()) json["drained"] = deployment.drained;
  return json;
}

Result<Deployment> DeploymentFromJson(const Json& json) {
  JsonReader reader(json, "deployment");
  if (const std::string version = reader.String("format_version");
      reader.status() && version != "1.0") {
    return Fail(ErrorCode::kInvalid,
                fmt::format("deployment.format_version is '{}'; only '1.0' is known", version));
  }
  Deployment deployment;
  deployment.plan_id = reader.String("plan_id");
  deployment.instances = ReadInstances(reader, "instances");
  Status status;
  for (const Json& item : reader.Array("replicas")) {
    deployment.replicas.push_back(ReadReplica(
        item, fmt::format("deployment.replicas[{}]", deployment.replicas.size()), &status));
  }
  for (const Json& item : reader.Array("baselines")) {
    JsonReader baseline(item, fmt::format("deployment.baselines[{}]", deployment.baselines.size()));
    Baseline read;
    read.gpu_uuid = baseline.String("gpu_uuid");
    read.mig_enabled = baseline.Bool("mig_enabled");
    read.instances = ReadInstances(baseline, "instances");
    if (baseline.Has("time_slice")) read.time_slice = ReadTimeSlice(baseline, "time_slice");
    if (baseline.Has("compute_mode")) read.compute_mode = ReadComputeMode(baseline, "compute_mode");
    if (baseline.Has("vgpu_host")) read.vgpu_host = ReadVgpuHost(baseline);
    deployment.baselines.push_back(std::move(read));
    reader.Add(baseline.status());
  }
  reader.Add(status);
  if (reader.Has("time_slices")) {
    for (const Json& item : reader.Array("time_slices")) {
      JsonReader set(item,
                     fmt::format("deployment.time_slices[{}]", deployment.time_slices.size()));
      deployment.time_slices.push_back({set.String("gpu_uuid"), ReadTimeSlice(set, "time_slice")});
      reader.Add(set.status());
    }
  }
  if (reader.Has("compute_modes")) {
    for (const Json& item : reader.Array("compute_modes")) {
      JsonReader set(item,
                     fmt::format("deployment.compute_modes[{}]", deployment.compute_modes.size()));
      deployment.compute_modes.push_back(
          {set.String("gpu_uuid"), ReadComputeMode(set, "compute_mode")});
      reader.Add(set.status());
    }
  }
  if (reader.Has("vgpu_hosts")) {
    for (const Json& item : reader.Array("vgpu_hosts")) {
      JsonReader set(item, fmt::format("deployment.vgpu_hosts[{}]", deployment.vgpu_hosts.size()));
      deployment.vgpu_hosts.push_back({set.String("gpu_uuid"), ReadVgpuHost(set)});
      reader.Add(set.status());
    }
  }
  if (reader.Has("drained")) deployment.drained = reader.Strings("drained");
  if (!reader.status()) return tl::unexpected(reader.status().error());
  return deployment;
}

}  // namespace tranche
