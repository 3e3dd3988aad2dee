#include <fmt/format.h>

#include <limits>

#include "base/json.h"
#include "model/lease.h"

namespace tranche {
namespace {

constexpr const char* kFormatVersion = "1.0";

Json ShareToJson(const Share<Fraction>& share) {
  return {{"request", share.request.value}, {"limit", share.limit.value}};
}

std::optional<Bytes> ReadBytes(JsonReader& reader, const char* key) {
  if (!reader.Has(key)) return std::nullopt;
  const Bytes bytes{reader.Unsigned(key)};
  if (bytes.value == 0)
    reader.Add(Fail(ErrorCode::kInvalid, fmt::format("{}.{} is 0", reader.where(), key)));
  return bytes;
}

std::optional<Share<Fraction>> ReadShare(JsonReader& parent, const char* key) {
  if (!parent.Has(key)) return std::nullopt;
  JsonReader reader(parent.Object(key), parent.where() + "." + key);
  const Share<Fraction> share{{reader.Number("request")}, {reader.Number("limit")}};
  parent.Add(reader.status());
  const bool right =
      share.request.value > 0 && share.request <= share.limit && share.limit.value <= 1;
  if (reader.status() && !right) {
    parent.Add(Fail(
        ErrorCode::kInvalid,
        fmt::format("{} is not a request above 0 and a limit from there to 1", reader.where())));
  }
  return share;
}

int ReadInt(JsonReader& reader, const char* key) {
  const int64_t value = reader.Int(key);
  if (value >= std::numeric_limits<int>::min() && value <= std::numeric_limits<int>::max())
    return static_cast<int>(value);
  reader.Add(Fail(ErrorCode::kInvalid, fmt::format("{}.{} is {}", reader.where(), key, value)));
  return 0;
}

OnUnenforced ReadOnUnenforced(JsonReader& reader) {
  if (!reader.Has("on_unenforced")) return OnUnenforced::kStop;
  const Result<OnUnenforced> what = ParseOnUnenforced(reader.String("on_unenforced"));
  if (what) return *what;
  reader.Add(FailedWhile(reader.where() + ".on_unenforced", what.error()));
  return OnUnenforced::kStop;
}

// Of the mechanisms that need nothing made before a program starts.
Mechanism ReadMechanism(JsonReader& reader) {
  if (!reader.Has("mechanism")) return Mechanism::kFraction;
  const Result<Mechanism> what = ParseMechanism(reader.String("mechanism"));
  if (what && (*what == Mechanism::kFraction || *what == Mechanism::kExclusive)) return *what;
  reader.Add(Fail(ErrorCode::kInvalid, reader.where() + ".mechanism is no way to lease a GPU",
                  "fraction or exclusive"));
  return Mechanism::kFraction;
}

}  // namespace

Json ToJson(const LeaseRequest& request) {
  Json json = {{"format_version", kFormatVersion},
               {"program", request.program},
               {"gpu", request.gpu},
               {"mechanism", MechanismName(request.mechanism)},
               {"priority", request.priority},
               {"on_unenforced", OnUnenforcedName(request.on_unenforced)},
               {"dry_run", request.dry_run},
               {"context_bytes", request.context_bytes.value}};
  if (request.memory) json["memory_bytes"] = request.memory->value;
  if (request.compute) json["compute"] = ShareToJson(*request.compute);
  return json;
}

Result<LeaseRequest> LeaseRequestFromJson(const Json& json) {
  JsonReader reader(json, "lease");
  LeaseRequest request;
  request.program = reader.String("program");
  if (reader.Has("gpu")) request.gpu = reader.String("gpu");
  request.mechanism = ReadMechanism(reader);
  request.memory = ReadBytes(reader, "memory_bytes");
  request.compute = ReadShare(reader, "compute");
  if (reader.Has("priority")) request.priority = ReadInt(reader, "priority");
  request.on_unenforced = ReadOnUnenforced(reader);
  request.context_bytes = Bytes{reader.Unsigned("context_bytes")};
  if (reader.Has("dry_run")) request.dry_run = reader.Bool("dry_run");
  if (!reader.status()) return tl::unexpected<Error>(reader.status().error());
  const bool whole = request.mechanism == Mechanism::kExclusive;
  if (whole && request.compute)
    return Fail(ErrorCode::kInvalid, "a share of a GPU that is leased whole", "leave out compute");
  if (!whole && !request.memory && !request.compute)
    return Fail(ErrorCode::kInvalid, "a lease of nothing", "ask for memory_bytes or compute");
  return request;
}

Json ToJson(const LeaseChange& change) {
  Json json = {{"format_version", kFormatVersion}};
  if (change.memory) json["memory_bytes"] = change.memory->value;
  if (change.compute) json["compute"] = ShareToJson(*change.compute);
  return json;
}

Result<LeaseChange> LeaseChangeFromJson(const Json& json) {
  JsonReader reader(json, "lease");
  LeaseChange change{ReadBytes(reader, "memory_bytes"), ReadShare(reader, "compute")};
  if (!reader.status()) return tl::unexpected<Error>(reader.status().error());
  return change;
}

Json ToJson(const Lease& lease) {
  const Guarantees guarantee = lease.guarantee();
  Json json = {{"format_version", kFormatVersion},
               {"id", lease.id},
               {"program", lease.program},
               {"gpu_uuid", lease.gpu_uuid},
               {"gpu_index", lease.gpu_index},
               {"uid", lease.uid},
               {"pid", lease.pid},
               {"mechanism", MechanismName(lease.mechanism)},
               {"guarantee",
                {{"memory", GuaranteeName(guarantee.memory)},
                 {"compute", GuaranteeName(guarantee.compute)},
                 {"fault", GuaranteeName(guarantee.fault)},
                 {"access", GuaranteeName(guarantee.access)}}},
               {"memory_used_bytes", lease.memory_used.value},
               {"processes", lease.processes},
               {"on_unenforced", OnUnenforcedName(lease.on_unenforced)},
               {"detail", lease.detail},
               {"since", FormatTime(lease.since)},
               {"slice_file", lease.slice_file}};
  if (!lease.device_uuid.empty()) json["device_uuid"] = lease.device_uuid;
  if (!lease.workload.empty()) {
    json["team"] = lease.team;
    json["workload"] = lease.workload;
    json["replica"] = lease.replica;
  }
  if (lease.memory) json["memory_bytes"] = lease.memory->value;
  if (lease.compute) json["compute"] = ShareToJson(*lease.compute);
  if (!lease.cgroup.empty()) json["cgroup"] = lease.cgroup;
  if (!lease.why_not_harder.empty()) json["why_not_harder"] = lease.why_not_harder;
  if (lease.compute_used) json["compute_used_ns"] = lease.compute_used->count();
  return json;
}

Result<Lease> LeaseFromJson(const Json& json) {
  JsonReader reader(json, "lease");
  Lease lease;
  lease.id = reader.String("id");
  lease.program = reader.String("program");
  if (reader.Has("workload")) {
    lease.team = reader.String("team");
    lease.workload = reader.String("workload");
    lease.replica = ReadInt(reader, "replica");
  }
  lease.on_unenforced = ReadOnUnenforced(reader);
  lease.gpu_uuid = reader.String("gpu_uuid");
  lease.gpu_index = ReadInt(reader, "gpu_index");
  lease.uid = static_cast<uint32_t>(reader.Unsigned("uid"));
  lease.pid = ReadInt(reader, "pid");
  if (reader.Has("device_uuid")) lease.device_uuid = reader.String("device_uuid");
  // A replica may hold its slice in any way.
  const Result<Mechanism> mechanism =
      reader.Has("mechanism") ? ParseMechanism(reader.String("mechanism")) : Mechanism::kFraction;
  if (mechanism)
    lease.mechanism = *mechanism;
  else
    reader.Add(FailedWhile("lease.mechanism", mechanism.error()));
  lease.memory = ReadBytes(reader, "memory_bytes");
  lease.compute = ReadShare(reader, "compute");
  lease.memory_used = Bytes{reader.Unsigned("memory_used_bytes")};
  if (reader.Has("compute_used_ns")) lease.compute_used = Duration(reader.Int("compute_used_ns"));
  lease.processes = ReadInt(reader, "processes");
  lease.detail = reader.String("detail");
  const Result<Time> since = ParseTime(reader.String("since"));
  if (since)
    lease.since = *since;
  else
    reader.Add(FailedWhile("lease.since", since.error()));
  lease.slice_file = reader.String("slice_file");
  if (reader.Has("cgroup")) lease.cgroup = reader.String("cgroup");
  if (reader.Has("why_not_harder")) lease.why_not_harder = reader.String("why_not_harder");
  if (!reader.status()) return tl::unexpected<Error>(reader.status().error());
  return lease;
}

}  // namespace tranche
