#include <fmt/format.h>

#include <limits>

#include "base/json.h"
#include "model/status.h"

namespace tranche {
namespace {

constexpr const char* kFormatVersion = "1.0";
constexpr int kLargestPort = 65535;

constexpr ReplicaState kReplicaStates[] = {ReplicaState::kStarting,  ReplicaState::kHealthy,
                                           ReplicaState::kUnhealthy, ReplicaState::kBackoff,
                                           ReplicaState::kFailing,   ReplicaState::kFaulted,
                                           ReplicaState::kStopped,   ReplicaState::kEnded};

ReplicaState ReadState(JsonReader& reader) {
  const std::string name = reader.String("state");
  for (const ReplicaState state : kReplicaStates) {
    if (name == ReplicaStateName(state)) return state;
  }
  reader.Add(Fail(ErrorCode::kInvalid,
                  fmt::format("{}.state is '{}', which is not known", reader.where(), name)));
  return ReplicaState::kStopped;
}

int ReadInt(JsonReader& reader, const char* key, int least, int most) {
  const int64_t value = reader.Int(key);
  if (value >= least && value <= most) return static_cast<int>(value);
  reader.Add(Fail(ErrorCode::kInvalid, fmt::format("{}.{} is {}, not from {} to {}", reader.where(),
                                                   key, value, least, most)));
  return least;
}

std::optional<Time> ReadTime(JsonReader& reader, const char* key) {
  if (!reader.Has(key)) return std::nullopt;
  const Result<Time> time = ParseTime(reader.String(key));
  if (time) return *time;
  reader.Add(FailedWhile(fmt::format("{}.{}", reader.where(), key), time.error()));
  return std::nullopt;
}

Guarantee ReadGuarantee(JsonReader& reader, const char* key) {
  const Result<Guarantee> guarantee = ParseGuarantee(reader.String(key));
  if (guarantee) return *guarantee;
  reader.Add(FailedWhile(fmt::format("{}.{}", reader.where(), key), guarantee.error()));
  return Guarantee::kNone;
}

Json GuaranteesToJson(const Guarantees& guarantees) {
  Json json;
  json["memory"] = GuaranteeName(guarantees.memory);
  json["compute"] = GuaranteeName(guarantees.compute);
  json["fault"] = GuaranteeName(guarantees.fault);
  json["access"] = GuaranteeName(guarantees.access);
  return json;
}

Json ReplicaToJson(const ReplicaStatus& replica) {
  Json json;
  json["workload"] = replica.workload;
  json["replica"] = replica.replica;
  json["team"] = replica.team;
  json["state"] = ReplicaStateName(replica.state);
  json["detail"] = replica.detail;
  json["slice"] = ToJson(replica.slice);
  json["gpu_index"] = replica.gpu_index;
  json["device_uuid"] = replica.device_uuid;
  json["guarantee"] = GuaranteesToJson(replica.guarantee);
  if (replica.memory_used) json["memory_used_bytes"] = replica.memory_used->value;
  if (replica.compute_used) json["compute_used_ns"] = replica.compute_used->count();
  if (replica.pid) json["pid"] = *replica.pid;
  if (replica.port) json["port"] = *replica.port;
  json["route"] = replica.route;
  json["restarts"] = replica.restarts;
  if (replica.started_at) json["started_at"] = FormatTime(*replica.started_at);
  if (replica.lease_ends_at) json["lease_ends_at"] = FormatTime(*replica.lease_ends_at);
  if (!replica.memory_used) {
    json["unavailable"]["memory_used_bytes"] = replica.memory_used.reason();
  }
  return json;
}

ReplicaStatus ReadReplica(const Json& json, const std::string& where, JsonReader& parent) {
  JsonReader reader(json, where);
  ReplicaStatus replica;
  replica.workload = reader.String("workload");
  replica.replica = ReadInt(reader, "replica", 0, std::numeric_limits<int>::max());
  replica.team = reader.String("team");
  replica.state = ReadState(reader);
  replica.detail = reader.String("detail");
  if (Result<Slice> slice = SliceFromJson(reader.Object("slice"))) {
    replica.slice = std::move(*slice);
  } else {
    reader.Add(FailedWhile(where, slice.error()));
  }
  replica.gpu_index = ReadInt(reader, "gpu_index", -1, std::numeric_limits<int>::max());
  replica.device_uuid = reader.String("device_uuid");
  JsonReader guarantee(reader.Object("guarantee"), where + ".guarantee");
  replica.guarantee = {ReadGuarantee(guarantee, "memory"), ReadGuarantee(guarantee, "compute"),
                       ReadGuarantee(guarantee, "fault"), ReadGuarantee(guarantee, "access")};
  reader.Add(guarantee.status());
  if (reader.Has("compute_used_ns")) replica.compute_used = Duration(reader.Int("compute_used_ns"));
  if (reader.Has("memory_used_bytes")) {
    replica.memory_used = Bytes{reader.Unsigned("memory_used_bytes")};
  } else if (reader.Has("unavailable")) {
    JsonReader unavailable(reader.Object("unavailable"), where + ".unavailable");
    replica.memory_used = Reading<Bytes>::Absent(unavailable.String("memory_used_bytes"));
    reader.Add(unavailable.status());
  }
  if (reader.Has("pid")) replica.pid = ReadInt(reader, "pid", 1, std::numeric_limits<int>::max());
  if (reader.Has("port")) replica.port = ReadInt(reader, "port", 1, kLargestPort);
  replica.route = reader.String("route");
  replica.restarts = ReadInt(reader, "restarts", 0, std::numeric_limits<int>::max());
  replica.started_at = ReadTime(reader, "started_at");
  replica.lease_ends_at = ReadTime(reader, "lease_ends_at");
  parent.Add(reader.status());
  return replica;
}

void ReadDrain(const Json& json, JsonReader& parent, std::vector<DrainStatus>* drained) {
  JsonReader reader(json, "status.drained[]");
  DrainStatus& drain = drained->emplace_back();
  drain.gpu_uuid = reader.String("gpu_uuid");
  drain.gpu_index = ReadInt(reader, "gpu_index", -1, std::numeric_limits<int>::max());
  for (const Json& who : reader.Array("waiting_for")) {
    if (who.is_string()) drain.waiting_for.push_back(who.get<std::string>());
  }
  parent.Add(reader.status());
}

void ReadMpsDevice(const Json& json, JsonReader& parent, std::vector<MpsDevice>* devices) {
  JsonReader reader(json, "status.mps[]");
  MpsDevice& device = devices->emplace_back();
  device.gpu_uuid = reader.String("gpu_uuid");
  device.gpu_index = ReadInt(reader, "gpu_index", -1, std::numeric_limits<int>::max());
  device.device_uuid = reader.String("device_uuid");
  device.tenants = ReadInt(reader, "tenants", 0, std::numeric_limits<int>::max());
  device.fails_open = reader.String("fails_open");
  for (const Json& sentence : reader.Array("held")) {
    if (sentence.is_string()) {
      device.held.push_back(sentence.get<std::string>());
    } else {
      reader.Add(Fail(ErrorCode::kInvalid, "status.mps[].held holds something that is not text"));
    }
  }
  parent.Add(reader.status());
}

void ReadTimeSliced(const Json& json, JsonReader& parent, std::vector<TimeSlicedGpu>* gpus) {
  JsonReader reader(json, "status.time_sliced[]");
  TimeSlicedGpu& gpu = gpus->emplace_back();
  gpu.gpu_uuid = reader.String("gpu_uuid");
  gpu.gpu_index = ReadInt(reader, "gpu_index", -1, std::numeric_limits<int>::max());
  gpu.tenants = ReadInt(reader, "tenants", 0, std::numeric_limits<int>::max());
  gpu.note = reader.String("note");
  if (reader.Has("time_slice")) {
    const Result<TimeSlice> read = ParseTimeSlice(reader.String("time_slice"));
    if (read) {
      gpu.time_slice = *read;
    } else {
      reader.Add(FailedWhile("status.time_sliced[].time_slice", read.error()));
    }
  } else if (reader.Has("unavailable")) {
    JsonReader unavailable(reader.Object("unavailable"), "status.time_sliced[].unavailable");
    gpu.time_slice = Reading<TimeSlice>::Absent(unavailable.String("time_slice"));
    reader.Add(unavailable.status());
  }
  parent.Add(reader.status());
}

}  // namespace

const char* ReplicaStateName(ReplicaState state) {
  switch (state) {
    case ReplicaState::kStarting:
      return "starting";
    case ReplicaState::kHealthy:
      return "healthy";
    case ReplicaState::kUnhealthy:
      return "unhealthy";
    case ReplicaState::kBackoff:
      return "backoff";
    case ReplicaState::kFailing:
      return "failing";
    case ReplicaState::kFaulted:
      return "faulted";
    case ReplicaState::kStopped:
      return "stopped";
    case ReplicaState::kEnded:
      return "ended";
  }
  return "stopped";
}

Json ToJson(const SystemStatus& status) {
  Json json;
  json["format_version"] = kFormatVersion;
  json["plan_id"] = status.plan_id;
  json["daemon"] = status.daemon;
  Json replicas = Json::array();
  for (const ReplicaStatus& replica : status.replicas) replicas.push_back(ReplicaToJson(replica));
  json["replicas"] = std::move(replicas);
  json["leases"] = Json::array();
  for (const Lease& lease : status.leases) json["leases"].push_back(ToJson(lease));
  json["router"]["running"] = status.router.running;
  json["router"]["url"] = status.router.url;
  json["router"]["detail"] = status.router.detail;
  if (!status.tiers.empty()) {
    json["tiers"] = Json::array();
    for (const TierCapacity& tier : status.tiers) json["tiers"].push_back(ToJson(tier));
  }
  if (!status.drained.empty()) {
    json["drained"] = Json::array();
    for (const DrainStatus& drain : status.drained) {
      json["drained"].push_back(Json{{"gpu_uuid", drain.gpu_uuid},
                                     {"gpu_index", drain.gpu_index},
                                     {"waiting_for", drain.waiting_for}});
    }
  }
  if (!status.time_sliced.empty()) {
    json["time_sliced"] = Json::array();
    for (const TimeSlicedGpu& gpu : status.time_sliced) {
      Json item{{"gpu_uuid", gpu.gpu_uuid},
                {"gpu_index", gpu.gpu_index},
                {"tenants", gpu.tenants},
                {"note", gpu.note}};
      if (gpu.time_slice) {
        item["time_slice"] = TimeSliceName(*gpu.time_slice);
      } else {
        item["unavailable"]["time_slice"] = gpu.time_slice.reason();
      }
      json["time_sliced"].push_back(std::move(item));
    }
  }
  if (!status.mps.empty()) {
    json["mps"] = Json::array();
    for (const MpsDevice& device : status.mps) {
      json["mps"].push_back(Json{{"gpu_uuid", device.gpu_uuid},
                                 {"gpu_index", device.gpu_index},
                                 {"device_uuid", device.device_uuid},
                                 {"tenants", device.tenants},
                                 {"fails_open", device.fails_open},
                                 {"held", device.held}});
    }
  }
  json["warnings"] = status.warnings;
  json["events"] = Json::array();
  for (const StatusEvent& event : status.events) {
    json["events"].push_back(Json{
        {"time", FormatTime(event.time)}, {"subject", event.subject}, {"message", event.message}});
  }
  return json;
}

Result<SystemStatus> SystemStatusFromJson(const Json& json) {
  JsonReader reader(json, "status");
  SystemStatus status;
  status.plan_id = reader.String("plan_id");
  status.daemon = reader.Bool("daemon");
  for (const Json& replica : reader.Array("replicas")) {
    const std::string where = fmt::format("status.replicas[{}]", status.replicas.size());
    status.replicas.push_back(ReadReplica(replica, where, reader));
  }
  if (reader.Has("leases")) {
    for (const Json& lease : reader.Array("leases")) {
      auto read = LeaseFromJson(lease);
      if (read)
        status.leases.push_back(std::move(*read));
      else
        reader.Add(FailedWhile("status.leases", read.error()));
    }
  }
  JsonReader router(reader.Object("router"), "status.router");
  status.router.running = router.Bool("running");
  status.router.url = router.String("url");
  status.router.detail = router.String("detail");
  reader.Add(router.status());
  if (reader.Has("tiers")) {
    for (const Json& item : reader.Array("tiers")) {
      if (auto tier = TierCapacityFromJson(item)) {
        status.tiers.push_back(*std::move(tier));
      } else {
        reader.Add(FailedWhile("status.tiers", tier.error()));
      }
    }
  }
  if (reader.Has("drained")) {
    for (const Json& item : reader.Array("drained")) ReadDrain(item, reader, &status.drained);
  }
  if (reader.Has("time_sliced")) {
    for (const Json& item : reader.Array("time_sliced")) {
      ReadTimeSliced(item, reader, &status.time_sliced);
    }
  }
  if (reader.Has("mps")) {
    for (const Json& item : reader.Array("mps")) ReadMpsDevice(item, reader, &status.mps);
  }
  for (const Json& warning : reader.Array("warnings")) {
    if (warning.is_string()) {
      status.warnings.push_back(warning.get<std::string>());
    } else {
      reader.Add(Fail(ErrorCode::kInvalid, "status.warnings holds something that is not text"));
    }
  }
  if (reader.Has("events")) {
    for (const Json& item : reader.Array("events")) {
      JsonReader event(item, "status.events[]");
      const std::string text = event.String("time");
      const Result<Time> time = ParseTime(text);
      if (event.status() && !time) event.Add(FailedWhile("status.events[].time", time.error()));
      status.events.push_back(
          {time.value_or(Time()), event.String("subject"), event.String("message")});
      reader.Add(event.status());
    }
  }
  if (!reader.status()) return tl::unexpected(reader.status().error());
  return status;
}

}  // namespace tranche
