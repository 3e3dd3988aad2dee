#include <fmt/format.h>

#include <cmath>

#include "base/fnv.h"
#include "base/json.h"
#include "base/suggest.h"
#include "model/spec.h"
#include "model/spec_rules.h"

namespace tranche {
namespace {

// The one list of names of an enumeration, in the order of its values.
template <typename E, size_t N>
Result<E> ParseName(std::string_view name, const std::array<E, N>& all, const char* (*name_of)(E),
                    const char* what) {
  std::vector<std::string> names;
  for (const E value : all) {
    if (name == name_of(value)) return value;
    names.emplace_back(name_of(value));
  }
  const std::string suggestion = DidYouMean(name, names);
  return Fail(ErrorCode::kInvalid, fmt::format("'{}' is not {}", name, what),
              suggestion.empty() ? fmt::format("use {}", fmt::join(names, ", ")) : suggestion);
}

constexpr std::array<OnUnenforced, 2> kAllOnUnenforced = {OnUnenforced::kStop, OnUnenforced::kWarn};

// Seconds in JSON: whole ones as integers, others as the nearest double. Read back, a double is
// exact to the nanosecond for three weeks and to the microsecond for longer than any lease; specs
// know nothing finer.
Json SecondsOf(Duration duration) {
  const int64_t count = duration.count();
  if (count % 1000000000 == 0) return count / 1000000000;
  return static_cast<double>(count) / 1e9;
}

Duration ReadSeconds(JsonReader& reader, const char* key) {
  const double seconds = reader.Number(key);
  if (!(seconds >= 0) || seconds > 9e9) {
    reader.Add(
        Fail(ErrorCode::kInvalid, fmt::format("{}.{} is not a duration", reader.where(), key)));
    return Duration(0);
  }
  if (seconds == std::floor(seconds)) return std::chrono::seconds(static_cast<int64_t>(seconds));
  if (seconds < 0x1p20) return Duration(std::llround(seconds * 1e9));
  return std::chrono::microseconds(std::llround(seconds * 1e6));
}

void Require(JsonReader& reader, bool holds, std::string_view key, std::string_view what) {
  if (!holds) {
    reader.Add(Fail(ErrorCode::kInvalid, fmt::format("{}.{} {}", reader.where(), key, what)));
  }
}

int ReadInt(JsonReader& reader, const char* key, int64_t low, int64_t high) {
  const int64_t value = reader.Int(key);
  if (value < low || value > high) {
    Require(reader, false, key, fmt::format("is outside {} to {}", low, high));
    return static_cast<int>(low);
  }
  return static_cast<int>(value);
}

double ReadNumber(JsonReader& reader, const char* key, double low, double high) {
  const double value = reader.Number(key);
  if (!(value >= low && value <= high)) {
    Require(reader, false, key, fmt::format("is outside {} to {}", low, high));
    return low;
  }
  return value;
}

template <typename E>
E ReadEnum(JsonReader& reader, const char* key, Result<E> (*parse)(std::string_view)) {
  const std::string name = reader.String(key);
  const Result<E> value = parse(name);
  if (value) return *value;
  reader.Add(FailedWhile(fmt::format("{}.{}", reader.where(), key), value.error()));
  return E{};
}

Json ToJson(const IsolationAsk& isolation) {
  return {{"word", isolation.word},
          {"memory", GuaranteeName(isolation.axes.memory)},
          {"compute", GuaranteeName(isolation.axes.compute)},
          {"fault", GuaranteeName(isolation.axes.fault)},
          {"access", GuaranteeName(isolation.axes.access)},
          {"low_jitter", isolation.low_jitter}};
}

IsolationAsk IsolationFromJson(JsonReader& parent) {
  JsonReader reader(parent.Object("isolation"), parent.where() + ".isolation");
  IsolationAsk isolation;
  isolation.word = reader.String("word");
  Require(reader, isolation.word == "axes" || IsolationWordAxes(isolation.word).has_value(), "word",
          "is none of hardware, process, none and axes");
  isolation.axes.memory = ReadEnum(reader, "memory", ParseGuarantee);
  isolation.axes.compute = ReadEnum(reader, "compute", ParseGuarantee);
  isolation.axes.fault = ReadEnum(reader, "fault", ParseGuarantee);
  isolation.axes.access = ReadEnum(reader, "access", ParseGuarantee);
  isolation.low_jitter = reader.Bool("low_jitter");
  parent.Add(reader.status());
  return isolation;
}

Json ToJson(const ModelAsk& model) {
  Json json = {{"name", model.name}};
  if (model.parameters) json["parameters"] = *model.parameters;
  json["precision"] = model.precision;
  json["context"] = model.context;
  json["concurrency"] = model.concurrency;
  json["kv_precision"] = model.kv_precision;
  return json;
}

template <size_t N>
bool IsOneOf(const std::string& word, const std::array<const char*, N>& words) {
  for (const char* candidate : words) {
    if (word == candidate) return true;
  }
  return false;
}

ModelAsk ModelFromJson(JsonReader& parent) {
  JsonReader reader(parent.Object("model"), parent.where() + ".model");
  ModelAsk model;
  model.name = reader.String("name");
  if (reader.Has("parameters")) {
    model.parameters = ReadNumber(reader, "parameters", kMinParameters, kMaxParameters);
  }
  model.precision = reader.String("precision");
  Require(reader, IsOneOf(model.precision, kPrecisions), "precision", "is not a precision");
  model.context = ReadInt(reader, "context", 1, kMaxTokens);
  model.concurrency = ReadInt(reader, "concurrency", 1, kMaxConcurrency);
  model.kv_precision = reader.String("kv_precision");
  Require(reader, model.kv_precision.empty() || IsOneOf(model.kv_precision, kKvPrecisions),
          "kv_precision", "is not a precision of a KV cache");
  parent.Add(reader.status());
  return model;
}

Json ToJson(const Slo& slo) {
  Json json = Json::object();
  if (slo.ttft_p50) json["ttft_p50_seconds"] = SecondsOf(*slo.ttft_p50);
  if (slo.ttft_p99) json["ttft_p99_seconds"] = SecondsOf(*slo.ttft_p99);
  if (slo.latency_p99) json["latency_p99_seconds"] = SecondsOf(*slo.latency_p99);
  if (slo.tokens_per_second) json["tokens_per_second"] = *slo.tokens_per_second;
  return json;
}

Slo SloFromJson(JsonReader& parent) {
  JsonReader reader(parent.Object("slo"), parent.where() + ".slo");
  Slo slo;
  if (reader.Has("ttft_p50_seconds")) slo.ttft_p50 = ReadSeconds(reader, "ttft_p50_seconds");
  if (reader.Has("ttft_p99_seconds")) slo.ttft_p99 = ReadSeconds(reader, "ttft_p99_seconds");
  if (reader.Has("latency_p99_seconds"))
    slo.latency_p99 = ReadSeconds(reader, "latency_p99_seconds");
  if (reader.Has("tokens_per_second")) {
    slo.tokens_per_second = ReadNumber(reader, "tokens_per_second", 0, kMaxRequestsPerSecond);
  }
  parent.Add(reader.status());
  return slo;
}

// Everything but `at`, `replicas`, `by_traffic` and the name of the file: what a running replica
// was started from.
Json MeaningToJson(const Workload& workload) {
  Json json = {{"name", workload.name},
               {"team", workload.team},
               {"kind", WorkloadKindName(workload.kind)},
               {"isolation", ToJson(workload.isolation)},
               {"trusted", workload.trusted}};
  if (workload.memory) {
    json["memory"] = {{"request_bytes", workload.memory->request.value},
                      {"limit_bytes", workload.memory->limit.value}};
  }
  if (workload.compute) {
    json["compute"] = {{"request_fraction", workload.compute->request.value},
                       {"limit_fraction", workload.compute->limit.value}};
  }
  json["gpus"] = workload.gpus;
  json["gpu"] = workload.gpu;
  if (workload.mechanism) json["mechanism"] = MechanismName(*workload.mechanism);
  if (!workload.profile.empty()) json["profile"] = workload.profile;
  if (workload.model) json["model"] = ToJson(*workload.model);
  if (workload.traffic) {
    json["traffic"] = {{"requests_per_second", workload.traffic->requests_per_second},
                       {"prompt_tokens", workload.traffic->prompt_tokens},
                       {"output_tokens", workload.traffic->output_tokens}};
  }
  if (workload.slo) json["slo"] = ToJson(*workload.slo);
  json["engine"] = ServingEngineName(workload.engine);
  json["command"] = workload.command;
  json["args"] = workload.args;
  json["image"] = workload.image;
  Json env = Json::object();
  for (const auto& [name, value] : workload.env) env[name] = value;
  json["env"] = std::move(env);
  json["env_from"] = workload.env_from;
  json["working_directory"] = workload.working_directory;
  if (workload.port) json["port"] = *workload.port;
  json["route"] = workload.route;
  json["startup_grace_seconds"] = SecondsOf(workload.startup_grace);
  if (workload.lease) json["lease_seconds"] = SecondsOf(*workload.lease);
  json["preemptible"] = workload.preemptible;
  json["tier"] = workload.tier;
  if (workload.time_slice) json["time_slice"] = TimeSliceName(*workload.time_slice);
  if (workload.memory_cap) json["memory_cap"] = true;
  if (workload.vgpu) {
    json["vgpu"] = {{"series", VgpuSeriesName(workload.vgpu->series)},
                    {"mixed_sizes", workload.vgpu->mixed_sizes}};
    if (workload.vgpu->scheduler)
      json["vgpu"]["scheduler"] = VgpuSchedulerName(*workload.vgpu->scheduler);
  }
  json["on_unenforced"] = OnUnenforcedName(workload.on_unenforced);
  json["allow_root"] = workload.allow_root;
  return json;
}

Json ToJson(const GpuSelector& selector) {
  Json json = Json::object();
  if (!selector.gpu.empty()) json["gpu"] = selector.gpu;
  if (selector.index) json["index"] = *selector.index;
  if (!selector.uuid.empty()) json["uuid"] = selector.uuid;
  if (selector.count) json["count"] = *selector.count;
  return json;
}

GpuSelector SelectorFromJson(const Json& json, JsonReader& parent) {
  JsonReader reader(json, "spec.tiers[].gpus[]");
  GpuSelector selector;
  if (reader.Has("gpu")) selector.gpu = reader.String("gpu");
  if (reader.Has("index")) selector.index = ReadInt(reader, "index", 0, kMaxFleetCount);
  if (reader.Has("uuid")) {
    selector.uuid = reader.String("uuid");
    Require(reader, IsGpuUuid(selector.uuid), "uuid", "is not the UUID of a GPU");
  }
  if (reader.Has("count")) selector.count = ReadInt(reader, "count", 1, kMaxFleetCount);
  const int given = !selector.gpu.empty() + selector.index.has_value() + !selector.uuid.empty();
  Require(reader, given == 1, "gpu", "or index or uuid: exactly one says which GPU");
  parent.Add(reader.status());
  return selector;
}

Json ToJson(const Tier& tier) {
  Json json = {{"name", tier.name}, {"gpus", Json::array()}};
  for (const GpuSelector& selector : tier.gpus) json["gpus"].push_back(ToJson(selector));
  if (tier.mechanism) json["mechanism"] = MechanismName(*tier.mechanism);
  if (tier.isolation) json["isolation"] = ToJson(*tier.isolation);
  if (tier.oversubscription) json["oversubscription"] = *tier.oversubscription;
  if (!tier.profiles.empty()) json["profiles"] = tier.profiles;
  if (tier.time_slice) json["time_slice"] = TimeSliceName(*tier.time_slice);
  if (tier.memory_cap) json["memory_cap"] = true;
  return json;
}

Tier TierFromJson(const Json& json, JsonReader& parent) {
  JsonReader reader(json, "spec.tiers[]");
  Tier tier;
  tier.name = reader.String("name");
  Require(reader, IsLabel(tier.name), "name", "is not a name");
  for (const Json& item : reader.Array("gpus")) {
    tier.gpus.push_back(SelectorFromJson(item, reader));
  }
  if (reader.Has("mechanism")) tier.mechanism = ReadEnum(reader, "mechanism", ParseMechanism);
  if (reader.Has("isolation")) tier.isolation = IsolationFromJson(reader);
  if (reader.Has("oversubscription")) {
    tier.oversubscription = ReadInt(reader, "oversubscription", 1, kMaxOversubscription);
  }
  if (reader.Has("profiles")) tier.profiles = reader.Strings("profiles");
  if (reader.Has("time_slice")) tier.time_slice = ReadEnum(reader, "time_slice", ParseTimeSlice);
  if (reader.Has("memory_cap")) tier.memory_cap = reader.Bool("memory_cap");
  parent.Add(reader.status());
  return tier;
}

Json ToJson(const MaintenanceWindow& window) {
  Json json = {{"days", Json::array()},
               {"from_minute", window.from_minute},
               {"to_minute", window.to_minute},
               {"time_zone", window.time_zone}};
  for (const Weekday day : window.days) json["days"].push_back(WeekdayName(day));
  return json;
}

MaintenanceWindow WindowFromJson(const Json& json, JsonReader& parent) {
  JsonReader reader(json, "spec.maintenance[]");
  MaintenanceWindow window;
  for (const std::string& name : reader.Strings("days")) {
    const Result<Weekday> day = ParseWeekday(name);
    if (day) window.days.push_back(*day);
    Require(reader, day.has_value(), "days", "holds something that is not a day of the week");
  }
  window.from_minute = ReadInt(reader, "from_minute", 0, 24 * 60 - 1);
  window.to_minute = ReadInt(reader, "to_minute", 0, 24 * 60 - 1);
  window.time_zone = reader.String("time_zone");
  Require(reader, IsTimeZone(window.time_zone), "time_zone", "is not a time zone");
  parent.Add(reader.status());
  return window;
}

// An absolute path, or none. What it names is checked by whoever opens it.
bool IsPath(const std::string& path) {
  return path.empty() || (path.front() == '/' && path.find('\0') == std::string::npos);
}

bool HasNul(const std::vector<std::string>& texts) {
  for (const std::string& text : texts) {
    if (text.find('\0') != std::string::npos) return true;
  }
  return false;
}

}  // namespace

const char* WorkloadKindName(WorkloadKind kind) {
  switch (kind) {
    case WorkloadKind::kInference:
      return "inference";
    case WorkloadKind::kTraining:
      return "training";
    case WorkloadKind::kNotebook:
      return "notebook";
    case WorkloadKind::kBatch:
      return "batch";
  }
  return "batch";
}

const char* ServingEngineName(ServingEngine engine) {
  switch (engine) {
    case ServingEngine::kCommand:
      return "command";
    case ServingEngine::kModelServer:
      return "model-server";
    case ServingEngine::kVllm:
      return "vllm";
    case ServingEngine::kTriton:
      return "triton";
    case ServingEngine::kLlamaCpp:
      return "llama.cpp";
  }
  return "command";
}

const char* OnUnenforcedName(OnUnenforced what) {
  return what == OnUnenforced::kStop ? "stop" : "warn";
}

Result<WorkloadKind> ParseWorkloadKind(std::string_view name) {
  return ParseName(name, kAllWorkloadKinds, WorkloadKindName, "a kind of workload");
}

Result<ServingEngine> ParseServingEngine(std::string_view name) {
  return ParseName(name, kAllServingEngines, ServingEngineName, "an engine");
}

Result<OnUnenforced> ParseOnUnenforced(std::string_view name) {
  return ParseName(name, kAllOnUnenforced, OnUnenforcedName,
                   "what may happen to an unlimited workload");
}

std::optional<Guarantees> IsolationWordAxes(std::string_view word) {
  Guarantees axes;
  if (word == "hardware") {
    axes.memory = axes.compute = axes.fault = Guarantee::kHardware;
  } else if (word == "process") {
    axes.memory = axes.compute = Guarantee::kCooperative;
  } else if (word != "none") {
    return std::nullopt;
  }
  return axes;
}

const Tier* Spec::FindTier(const std::string& name) const {
  for (const Tier& tier : tiers) {
    if (tier.name == name) return &tier;
  }
  return nullptr;
}

bool HasSomethingToRun(const Workload& workload) {
  switch (workload.engine) {
    case ServingEngine::kCommand:
      return !workload.command.empty() || !workload.image.empty();
    case ServingEngine::kModelServer:
      return workload.model.has_value();
    case ServingEngine::kVllm:
    case ServingEngine::kLlamaCpp:
      if (workload.model && !workload.model->name.empty()) return true;
      break;
    case ServingEngine::kTriton:
      break;
  }
  return !workload.args.empty() || !workload.image.empty();
}

std::string WorkloadDigest(const Workload& workload) {
  // The digest tells changed from unchanged, it does not keep anybody out.
  return fmt::format("w1:{:016x}", Fnv1a(PrintJsonLine(MeaningToJson(workload))));
}

Json ToJson(const Workload& workload) {
  Json json = MeaningToJson(workload);
  json["replicas"] = workload.replicas;
  if (workload.by_traffic.any()) {
    json["by_traffic"] = {{"replicas", workload.by_traffic.replicas},
                          {"batch", workload.by_traffic.batch},
                          {"compute", workload.by_traffic.compute}};
  }
  json["at"] = {
      {"file", workload.at.file}, {"line", workload.at.line}, {"column", workload.at.column}};
  return json;
}

Json ToJson(const Spec& spec) {
  Json json = {{"version", spec.version},       {"currency", spec.currency},
               {"allow_root", spec.allow_root}, {"fleet", Json::array()},
               {"prices", Json::object()},      {"teams", Json::array()},
               {"workloads", Json::array()}};
  for (const FleetEntry& entry : spec.fleet) {
    Json item = {{"gpu", entry.gpu}, {"count", entry.count}};
    if (entry.price_per_hour) item["price_per_hour"] = *entry.price_per_hour;
    if (entry.spot_price_per_hour) item["spot_price_per_hour"] = *entry.spot_price_per_hour;
    json["fleet"].push_back(std::move(item));
  }
  for (const auto& [gpu, price] : spec.prices) json["prices"][gpu] = price;
  for (const Team& team : spec.teams) {
    Json item = {{"name", team.name}, {"weight", team.weight}};
    if (team.memory_quota) item["memory_quota_bytes"] = team.memory_quota->value;
    if (team.gpu_quota) item["gpu_quota"] = *team.gpu_quota;
    json["teams"].push_back(std::move(item));
  }
  if (!spec.tiers.empty()) json["tiers"] = Json::array();
  for (const Tier& tier : spec.tiers) json["tiers"].push_back(ToJson(tier));
  if (!spec.maintenance.empty()) json["maintenance"] = Json::array();
  for (const MaintenanceWindow& window : spec.maintenance) {
    json["maintenance"].push_back(ToJson(window));
  }
  for (const Workload& workload : spec.workloads) json["workloads"].push_back(ToJson(workload));
  json["directory"] = spec.directory;
  return json;
}

Result<Workload> WorkloadFromJson(const Json& json) {
  JsonReader reader(json, "workload");
  Workload workload;
  workload.name = reader.String("name");
  // Names become parts of paths and of the router's configuration, so this is no formality.
  Require(reader, IsLabel(workload.name), "name", "is not a name");
  workload.team = reader.String("team");
  Require(reader, workload.team.empty() || IsLabel(workload.team), "team", "is not a name");
  workload.kind = ReadEnum(reader, "kind", ParseWorkloadKind);
  workload.isolation = IsolationFromJson(reader);
  workload.trusted = reader.Bool("trusted");
  if (reader.Has("memory")) {
    JsonReader share(reader.Object("memory"), "workload.memory");
    const Bytes request{share.Unsigned("request_bytes")}, limit{share.Unsigned("limit_bytes")};
    Require(share, request.value > 0 && request <= limit && limit.value <= uint64_t{1} << 60,
            "limit_bytes", "and request_bytes are no request and limit");
    reader.Add(share.status());
    workload.memory = Share<Bytes>{request, limit};
  }
  if (reader.Has("compute")) {
    JsonReader share(reader.Object("compute"), "workload.compute");
    const double request = share.Number("request_fraction"), limit = share.Number("limit_fraction");
    Require(share, request > 0 && request <= limit && limit <= 1, "limit_fraction",
            "and request_fraction are no request and limit");
    reader.Add(share.status());
    workload.compute = Share<Fraction>{{request}, {limit}};
  }
  workload.gpus = ReadInt(reader, "gpus", 1, kMaxGpusPerWorkload);
  workload.gpu = reader.String("gpu");
  if (reader.Has("mechanism")) workload.mechanism = ReadEnum(reader, "mechanism", ParseMechanism);
  if (reader.Has("profile")) {
    workload.profile = reader.String("profile");
    const bool vgpu = workload.mechanism == Mechanism::kVgpu;
    Require(reader, vgpu ? IsVgpuType(workload.profile) : IsMigProfile(workload.profile), "profile",
            vgpu ? "is not a type of vGPU" : "is not a MIG profile");
  }
  if (reader.Has("model")) workload.model = ModelFromJson(reader);
  if (reader.Has("traffic")) {
    JsonReader traffic(reader.Object("traffic"), "workload.traffic");
    workload.traffic = Traffic{ReadNumber(traffic, "requests_per_second", 0, kMaxRequestsPerSecond),
                               ReadInt(traffic, "prompt_tokens", 0, kMaxTokens),
                               ReadInt(traffic, "output_tokens", 0, kMaxTokens)};
    reader.Add(traffic.status());
  }
  if (reader.Has("slo")) workload.slo = SloFromJson(reader);
  workload.engine = ReadEnum(reader, "engine", ParseServingEngine);
  workload.command = reader.Strings("command");
  workload.args = reader.Strings("args");
  Require(reader, !HasNul(workload.command) && !HasNul(workload.args), "command",
          "or args hold a NUL byte");
  workload.image = reader.String("image");
  for (const auto& item : reader.Object("env").items()) {
    Require(reader, IsEnvName(item.key()), "env", "has a name that no variable can have");
    if (item.value().is_string() &&
        item.value().get_ref<const std::string&>().find('\0') == std::string::npos) {
      workload.env[item.key()] = item.value().get<std::string>();
    } else {
      Require(reader, false, "env", "has a value that is not a string without NUL bytes");
    }
  }
  workload.env_from = reader.String("env_from");
  Require(reader, IsPath(workload.env_from), "env_from", "is not an absolute path");
  workload.working_directory = reader.String("working_directory");
  Require(reader, IsPath(workload.working_directory), "working_directory",
          "is not an absolute path");
  if (reader.Has("port")) workload.port = ReadInt(reader, "port", 1, 65535);
  workload.route = reader.String("route");
  Require(reader, workload.route.empty() || IsRoute(workload.route), "route", "is not a route");
  workload.startup_grace = ReadSeconds(reader, "startup_grace_seconds");
  if (reader.Has("lease_seconds")) workload.lease = ReadSeconds(reader, "lease_seconds");
  workload.preemptible = reader.Bool("preemptible");
  workload.tier = reader.String("tier");
  Require(reader, workload.tier.empty() || IsLabel(workload.tier), "tier", "is not a name");
  if (reader.Has("time_slice")) {
    workload.time_slice = ReadEnum(reader, "time_slice", ParseTimeSlice);
  }
  if (reader.Has("memory_cap")) workload.memory_cap = reader.Bool("memory_cap");
  if (reader.Has("vgpu")) {
    JsonReader vgpu(reader.Object("vgpu"), "workload.vgpu");
    workload.vgpu =
        VgpuAsk{ReadEnum(vgpu, "series", ParseVgpuSeries), std::nullopt, vgpu.Bool("mixed_sizes")};
    if (vgpu.Has("scheduler"))
      workload.vgpu->scheduler = ReadEnum(vgpu, "scheduler", ParseVgpuScheduler);
    reader.Add(vgpu.status());
  }
  workload.on_unenforced = ReadEnum(reader, "on_unenforced", ParseOnUnenforced);
  workload.allow_root = reader.Bool("allow_root");
  workload.replicas = ReadInt(reader, "replicas", 1, kMaxReplicas);
  if (reader.Has("by_traffic")) {
    JsonReader by(reader.Object("by_traffic"), "workload.by_traffic");
    workload.by_traffic = {by.Bool("replicas"), by.Bool("batch"), by.Bool("compute")};
    reader.Add(by.status());
  }
  JsonReader at(reader.Object("at"), "workload.at");
  workload.at = {at.String("file"), ReadInt(at, "line", 0, 1 << 30),
                 ReadInt(at, "column", 0, 1 << 30)};
  reader.Add(at.status());
  if (!reader.status()) return tl::unexpected(reader.status().error());
  return workload;
}

Result<Spec> SpecFromJson(const Json& json) {
  JsonReader reader(json, "spec");
  Spec spec;
  spec.version = ReadInt(reader, "version", 1, 1);
  spec.currency = reader.String("currency");
  Require(reader, IsCurrency(spec.currency), "currency", "is not three capital letters");
  spec.allow_root = reader.Bool("allow_root");
  for (const Json& item : reader.Array("fleet")) {
    JsonReader entry(item, "spec.fleet[]");
    FleetEntry& gpu = spec.fleet.emplace_back();
    gpu.gpu = entry.String("gpu");
    gpu.count = ReadInt(entry, "count", 1, kMaxFleetCount);
    if (entry.Has("price_per_hour"))
      gpu.price_per_hour = ReadNumber(entry, "price_per_hour", 0, kMaxPrice);
    if (entry.Has("spot_price_per_hour")) {
      gpu.spot_price_per_hour = ReadNumber(entry, "spot_price_per_hour", 0, kMaxPrice);
    }
    reader.Add(entry.status());
  }
  for (const auto& item : reader.Object("prices").items()) {
    const Json& price = item.value();
    const bool usable =
        price.is_number() && price.get<double>() >= 0 && price.get<double>() <= kMaxPrice;
    Require(reader, usable, "prices", "holds something that is not a price");
    if (usable) spec.prices[item.key()] = price.get<double>();
  }
  for (const Json& item : reader.Array("teams")) {
    JsonReader entry(item, "spec.teams[]");
    Team& team = spec.teams.emplace_back();
    team.name = entry.String("name");
    Require(entry, IsLabel(team.name), "name", "is not a name");
    team.weight = ReadNumber(entry, "weight", 0, kMaxWeight);
    if (entry.Has("memory_quota_bytes"))
      team.memory_quota = Bytes{entry.Unsigned("memory_quota_bytes")};
    if (entry.Has("gpu_quota")) team.gpu_quota = ReadNumber(entry, "gpu_quota", 0, 1e6);
    reader.Add(entry.status());
  }
  if (reader.Has("tiers")) {
    for (const Json& item : reader.Array("tiers")) spec.tiers.push_back(TierFromJson(item, reader));
  }
  if (reader.Has("maintenance")) {
    for (const Json& item : reader.Array("maintenance")) {
      spec.maintenance.push_back(WindowFromJson(item, reader));
    }
  }
  for (const Json& item : reader.Array("workloads")) {
    Result<Workload> workload = WorkloadFromJson(item);
    if (!workload) {
      reader.Add(FailedWhile("spec.workloads[]", workload.error()));
      break;
    }
    spec.workloads.push_back(*std::move(workload));
  }
  spec.directory = reader.String("directory");
  if (!reader.status()) return tl::unexpected(reader.status().error());
  return spec;
}

}  // namespace tranche
