#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "base/json.h"
#include "model/machine.h"

// The JSON form of a Machine. Reading it back checks everything that the planner relies on, because
// the file may come from anywhere; keys that this version does not know are left alone.

namespace tranche {
namespace {

constexpr const char* kFormatVersion = "1.0";
constexpr int kMaxSlots = 64;
constexpr size_t kMaxGpus = 4096;
constexpr int kMaxInt = std::numeric_limits<int>::max();

constexpr const char* kNotStated = "not stated in this document";

template <typename Enum>
struct Named {
  Enum value;
  const char* name;
};

constexpr Named<ComputeMode> kComputeModes[] = {
    {ComputeMode::kDefault, "default"},
    {ComputeMode::kProhibited, "prohibited"},
    {ComputeMode::kExclusiveProcess, "exclusive_process"},
};

constexpr Named<MigVariant> kVariants[] = {
    {MigVariant::kPlain, "plain"},        {MigVariant::kMedia, "media"},
    {MigVariant::kAllMedia, "all_media"}, {MigVariant::kNoMedia, "no_media"},
    {MigVariant::kGraphics, "graphics"},
};

template <typename Enum, size_t n>
const char* NameOf(const Named<Enum> (&table)[n], Enum value) {
  for (const auto& row : table) {
    if (row.value == value) return row.name;
  }
  return table[0].name;
}

// ---- Writing ----

// Writes one object; absent readings go to its `unavailable`.
class Writer {
 public:
  template <typename T>
  void Put(const char* key, T&& value) {
    json_[key] = std::forward<T>(value);
  }

  template <typename T, typename Encode>
  void PutReading(const char* key, const Reading<T>& reading, Encode encode) {
    if (reading) {
      json_[key] = encode(*reading);
    } else {
      unavailable_[key] = reading.reason();
    }
  }
  template <typename T>
  void PutReading(const char* key, const Reading<T>& reading) {
    PutReading(key, reading, [](const T& value) { return Json(value); });
  }
  void PutReading(const char* key, const Reading<Bytes>& reading) {
    PutReading(key, reading, [](Bytes bytes) { return Json(bytes.value); });
  }
  void Unavailable(const char* key, const char* reason) { unavailable_[key] = reason; }

  Json Take() {
    if (!unavailable_.empty()) json_["unavailable"] = std::move(unavailable_);
    return std::move(json_);
  }

 private:
  Json json_ = Json::object();
  Json unavailable_ = Json::object();
};

Json ToJson(MigPlacement placement) {
  return {{"start", placement.start}, {"size", placement.size}};
}

Json ToJson(const Guarantees& guarantees) {
  return {{"memory", GuaranteeName(guarantees.memory)},
          {"compute", GuaranteeName(guarantees.compute)},
          {"fault", GuaranteeName(guarantees.fault)},
          {"access", GuaranteeName(guarantees.access)}};
}

template <typename T, typename Encode>
Json ArrayOf(const std::vector<T>& values, Encode encode) {
  Json json = Json::array();
  for (const T& value : values) json.push_back(encode(value));
  return json;
}

Json ToJson(const MigProfile& profile) {
  return {{"name", profile.name},
          {"id", profile.id},
          {"nvml_profile", profile.nvml_profile},
          {"compute_slices", profile.compute_slices},
          {"max_instances", profile.max_instances},
          {"memory_bytes", profile.memory.value},
          {"sm_count", profile.sm_count},
          {"engines",
           {{"copy", profile.engines.copy},
            {"decoder", profile.engines.decoder},
            {"encoder", profile.engines.encoder},
            {"jpeg", profile.engines.jpeg},
            {"ofa", profile.engines.ofa}}},
          {"variant", MigVariantName(profile.variant)},
          {"placements",
           ArrayOf(profile.placements, [](MigPlacement placement) { return ToJson(placement); })}};
}

Json ToJson(const MigComputeInstance& instance) {
  return {{"id", instance.id},
          {"uuid", instance.uuid},
          {"profile_id", instance.profile_id},
          {"compute_slices", instance.compute_slices},
          {"placement", ToJson(instance.placement)}};
}

Json ToJson(const MigInstance& instance) {
  Writer out;
  out.Put("id", instance.id);
  out.Put("profile", instance.profile);
  out.Put("profile_id", instance.profile_id);
  out.Put("placement", ToJson(instance.placement));
  out.Put("memory_bytes", instance.memory.value);
  out.PutReading("memory_used_bytes", instance.memory_used);
  out.Put("compute_instances",
          ArrayOf(instance.compute_instances, [](const auto& compute) { return ToJson(compute); }));
  return out.Take();
}

Json ToJson(const GpuProcess& process) {
  Writer out;
  out.Put("pid", process.pid);
  out.Put("command", process.command);
  out.PutReading("uid", process.uid);
  out.Put("user", process.user);
  out.Put("container", process.container);
  out.PutReading("memory_used_bytes", process.memory_used);
  if (process.gpu_instance) out.Put("gpu_instance", *process.gpu_instance);
  if (process.compute_instance) out.Put("compute_instance", *process.compute_instance);
  out.Put("graphics", process.graphics);
  return out.Take();
}

Json ToJson(const GpuHealth& health) {
  Writer out;
  out.Put("usable", health.usable);
  out.Put("problems", ArrayOf(health.problems, [](const std::string& text) { return Json(text); }));
  out.PutReading("recovery_action", health.recovery_action);
  out.PutReading("remapped_rows", health.remapped_rows, [](const RemappedRows& rows) {
    return Json{{"correctable", rows.correctable},
                {"uncorrectable", rows.uncorrectable},
                {"pending", rows.pending},
                {"failed", rows.failed}};
  });
  out.PutReading("uncorrectable_ecc_errors", health.uncorrectable_ecc_errors);
  return out.Take();
}

Json ToJson(const Gpu& gpu) {
  Writer out;
  out.Put("uuid", gpu.uuid);
  out.Put("index", gpu.index);
  out.Put("name", gpu.name);
  out.Put("model", gpu.model);
  out.Put("pci_bus_id", gpu.pci_bus_id);
  out.Put("pci_device_id", gpu.pci_device_id);
  out.PutReading("minor_number", gpu.minor_number);
  out.Put("architecture", gpu.architecture);
  out.PutReading("compute_capability", gpu.compute_capability);
  out.PutReading("sm_count", gpu.sm_count);
  if (gpu.memory_total.value > 0) {
    out.Put("memory_total_bytes", gpu.memory_total.value);
  } else {
    out.Unavailable("memory_total_bytes", "the driver does not say");
  }
  out.PutReading("memory_used_bytes", gpu.memory_used);
  out.PutReading("utilization", gpu.utilization);
  out.PutReading("compute_mode", gpu.compute_mode,
                 [](ComputeMode mode) { return Json(ComputeModeName(mode)); });
  // Where nobody asked for it nothing is said of it.
  if (gpu.time_slice != Reading<TimeSlice>()) {
    out.PutReading("time_slice", gpu.time_slice,
                   [](TimeSlice time_slice) { return Json(TimeSliceName(time_slice)); });
  }
  out.PutReading("persistence_mode", gpu.persistence_mode);
  out.PutReading("virtualization", gpu.virtualization);
  out.PutReading("mig_mode", gpu.mig_mode, [](MigMode mode) {
    return Json{{"current", mode.current}, {"pending", mode.pending}};
  });
  out.Put("memory_slots", gpu.memory_slots);
  out.Put("mig_profiles",
          ArrayOf(gpu.mig_profiles, [](const MigProfile& profile) { return ToJson(profile); }));
  out.Put("mig_instances",
          ArrayOf(gpu.mig_instances, [](const MigInstance& instance) { return ToJson(instance); }));
  if (gpu.vgpu) out.Put("vgpu", ToJson(*gpu.vgpu));
  out.Put("processes",
          ArrayOf(gpu.processes, [](const GpuProcess& process) { return ToJson(process); }));
  out.Put("mps_daemons", ArrayOf(gpu.mps_daemons, [](const MpsDaemon& daemon) {
            return Json{{"pid", daemon.pid},
                        {"ours", daemon.ours},
                        {"pipe_directory", daemon.pipe_directory}};
          }));
  out.Put("health", ToJson(gpu.health));
  if (gpu.price_per_hour) out.Put("price_per_hour", *gpu.price_per_hour);
  if (gpu.spot_price_per_hour) out.Put("spot_price_per_hour", *gpu.spot_price_per_hour);
  return out.Take();
}

Json ToJson(const Capability& capability) {
  Json json = {{"gpu_uuid", capability.gpu_uuid},
               {"mechanism", MechanismName(capability.mechanism)},
               {"available", capability.available},
               {"reason", capability.reason},
               {"guarantees", ToJson(capability.guarantees)}};
  if (!capability.fails_open.empty()) json["fails_open"] = capability.fails_open;
  if (capability.partition_sms > 0) json["partition_sms"] = capability.partition_sms;
  return json;
}

// ---- Reading ----

// A JsonReader that knows ranges, names and readings.
class Reader : public JsonReader {
 public:
  using JsonReader::JsonReader;

  int Within(const char* key, int least, int most) {
    const int64_t value = Int(key);
    if (value < least || value > most) {
      Wrong(key, fmt::format("is {}, not {} to {}", value, least, most));
      return least;
    }
    return static_cast<int>(value);
  }
  int Count(const char* key) { return Within(key, 0, kMaxInt); }

  std::string NonEmpty(const char* key) {
    std::string text = String(key);
    if (text.empty()) Wrong(key, "is empty");
    return text;
  }

  template <typename Enum, size_t n>
  Enum OneOf(const char* key, const Named<Enum> (&table)[n]) {
    const std::string name = String(key);
    for (const auto& row : table) {
      if (name == row.name) return row.value;
    }
    std::string names;
    for (const auto& row : table) names += (names.empty() ? "" : ", ") + std::string(row.name);
    Wrong(key, fmt::format("is '{}', not one of {}", name, names));
    return table[0].value;
  }

  // Whether the value is there, or a reason why it is not.
  bool States(const char* key) {
    return Has(key) || (Has("unavailable") && Object("unavailable").contains(key));
  }

  // `decode` reads the member when it is there.
  template <typename T, typename Decode>
  Reading<T> Readable(const char* key, Decode decode) {
    if (Has(key)) return Reading<T>(decode());
    return Reading<T>::Absent(ReasonFor(key));
  }

  // What `parse` (ParseGuarantee, ParseTime, ...) makes of a string.
  template <typename T>
  T Parsed(const char* key, Result<T> (*parse)(std::string_view)) {
    const Result<T> value = parse(String(key));
    if (value) return *value;
    Add(Fail(ErrorCode::kInvalid, fmt::format("{}.{}: {}", where(), key, value.error().message),
             value.error().hint));
    return T{};
  }

  template <typename Decode>
  auto ArrayOf(const char* key, Decode decode) {
    std::vector<decltype(decode(std::declval<Reader&>()))> values;
    const Json& array = Array(key);
    values.reserve(std::min<size_t>(array.size(), 1024));
    for (size_t i = 0; i < array.size() && status(); ++i) {
      Reader item(array[i], fmt::format("{}.{}[{}]", where(), key, i));
      values.push_back(decode(item));
      Add(item.status());
    }
    return values;
  }

  template <typename Decode>
  auto Nested(const char* key, Decode decode) {
    Reader item(Object(key), fmt::format("{}.{}", where(), key));
    auto value = decode(item);
    Add(item.status());
    return value;
  }

  void Wrong(const char* key, const std::string& what) {
    Add(Fail(ErrorCode::kInvalid, fmt::format("{}.{} {}", where(), key, what)));
  }

 private:
  std::string ReasonFor(const char* key) {
    if (!Has("unavailable")) return kNotStated;
    const Json& unavailable = Object("unavailable");
    const auto reason = unavailable.find(key);
    if (reason == unavailable.end()) return kNotStated;
    if (!reason->is_string()) {
      Wrong("unavailable", fmt::format("gives no text as the reason for {}", key));
      return kNotStated;
    }
    return reason->get<std::string>();
  }
};

MigPlacement ReadPlacement(Reader& in) {
  const int start = in.Within("start", 0, kMaxSlots - 1);
  return {start, in.Within("size", 1, kMaxSlots - start)};
}

Guarantees ReadGuarantees(Reader& in) {
  return {in.Parsed("memory", ParseGuarantee), in.Parsed("compute", ParseGuarantee),
          in.Parsed("fault", ParseGuarantee), in.Parsed("access", ParseGuarantee)};
}

MigProfile ReadProfile(Reader& in) {
  MigProfile profile;
  profile.name = in.NonEmpty("name");
  profile.id = in.Count("id");
  profile.nvml_profile = in.Count("nvml_profile");
  profile.compute_slices = in.Within("compute_slices", 0, kMaxSlots);
  profile.max_instances = in.Within("max_instances", 0, kMaxSlots);
  profile.memory = Bytes{in.Unsigned("memory_bytes")};
  profile.sm_count = in.Count("sm_count");
  profile.engines = in.Nested("engines", [](Reader& engines) {
    return EngineCounts{engines.Count("copy"), engines.Count("decoder"), engines.Count("encoder"),
                        engines.Count("jpeg"), engines.Count("ofa")};
  });
  profile.variant = in.OneOf("variant", kVariants);
  profile.placements = in.ArrayOf("placements", ReadPlacement);
  return profile;
}

MigComputeInstance ReadComputeInstance(Reader& in) {
  MigComputeInstance instance;
  instance.id = in.Count("id");
  instance.uuid = in.String("uuid");
  instance.profile_id = in.Count("profile_id");
  instance.compute_slices = in.Within("compute_slices", 0, kMaxSlots);
  instance.placement = in.Nested("placement", ReadPlacement);
  return instance;
}

MigInstance ReadInstance(Reader& in) {
  MigInstance instance;
  instance.id = in.Count("id");
  instance.profile = in.NonEmpty("profile");
  instance.profile_id = in.Count("profile_id");
  instance.placement = in.Nested("placement", ReadPlacement);
  instance.memory = Bytes{in.Unsigned("memory_bytes")};
  instance.memory_used = in.Readable<Bytes>(
      "memory_used_bytes", [&in] { return Bytes{in.Unsigned("memory_used_bytes")}; });
  instance.compute_instances = in.ArrayOf("compute_instances", ReadComputeInstance);
  return instance;
}

GpuProcess ReadProcess(Reader& in) {
  GpuProcess process;
  process.pid = in.Count("pid");
  process.command = in.String("command");
  process.uid = in.Readable<uint32_t>("uid", [&in] {
    const uint64_t uid = in.Unsigned("uid");
    if (uid > std::numeric_limits<uint32_t>::max()) in.Wrong("uid", "is no user id");
    return static_cast<uint32_t>(uid);
  });
  process.user = in.String("user");
  process.container = in.String("container");
  process.memory_used = in.Readable<Bytes>(
      "memory_used_bytes", [&in] { return Bytes{in.Unsigned("memory_used_bytes")}; });
  if (in.Has("gpu_instance")) process.gpu_instance = in.Count("gpu_instance");
  if (in.Has("compute_instance")) process.compute_instance = in.Count("compute_instance");
  process.graphics = in.Bool("graphics");
  return process;
}

GpuHealth ReadHealth(Reader& in) {
  GpuHealth health;
  health.usable = in.Bool("usable");
  const Json& problems = in.Array("problems");
  for (size_t i = 0; i < problems.size(); ++i) {
    if (problems[i].is_string()) {
      health.problems.push_back(problems[i].get<std::string>());
    } else {
      in.Wrong("problems", fmt::format("has no text at {}", i));
    }
  }
  health.recovery_action =
      in.Readable<std::string>("recovery_action", [&in] { return in.String("recovery_action"); });
  health.remapped_rows = in.Readable<RemappedRows>("remapped_rows", [&in] {
    return in.Nested("remapped_rows", [](Reader& rows) {
      return RemappedRows{rows.Unsigned("correctable"), rows.Unsigned("uncorrectable"),
                          rows.Bool("pending"), rows.Bool("failed")};
    });
  });
  health.uncorrectable_ecc_errors = in.Readable<uint64_t>(
      "uncorrectable_ecc_errors", [&in] { return in.Unsigned("uncorrectable_ecc_errors"); });
  return health;
}

std::optional<double> ReadPrice(Reader& in, const char* key) {
  if (!in.Has(key)) return std::nullopt;
  const double price = in.Number(key);
  if (!std::isfinite(price) || price < 0) in.Wrong(key, "is no price");
  return price;
}

// What placement code may rely on: everything lies within the slots, and instances do not overlap.
void CheckSlots(const Gpu& gpu, Reader& in) {
  for (size_t i = 0; i < gpu.mig_profiles.size(); ++i) {
    for (const MigPlacement placement : gpu.mig_profiles[i].placements) {
      if (placement.start + placement.size > gpu.memory_slots) {
        in.Wrong("mig_profiles", fmt::format("[{}] has a placement at {}, beyond the {} of the GPU",
                                             i, SlotsText(placement), gpu.memory_slots));
      }
    }
  }
  uint64_t taken = 0;
  for (size_t i = 0; i < gpu.mig_instances.size(); ++i) {
    const MigPlacement placement = gpu.mig_instances[i].placement;
    if (placement.start + placement.size > gpu.memory_slots) {
      in.Wrong("mig_instances", fmt::format("[{}] is at {}, beyond the {} of the GPU", i,
                                            SlotsText(placement), gpu.memory_slots));
      return;
    }
    const uint64_t ones =
        placement.size == kMaxSlots ? ~uint64_t{0} : (uint64_t{1} << placement.size) - 1;
    const uint64_t mask = ones << placement.start;
    if ((taken & mask) != 0) {
      in.Wrong("mig_instances",
               fmt::format("[{}] overlaps another at {}", i, SlotsText(placement)));
    }
    taken |= mask;
  }
}

MpsDaemon ReadMpsDaemon(Reader& in) {
  return {in.Count("pid"), in.Bool("ours"), in.String("pipe_directory")};
}

Gpu ReadGpu(Reader& in) {
  Gpu gpu;
  gpu.uuid = in.NonEmpty("uuid");
  gpu.index = in.Count("index");
  gpu.name = in.String("name");
  gpu.model = in.String("model");
  gpu.pci_bus_id = in.String("pci_bus_id");
  gpu.pci_device_id = in.String("pci_device_id");
  gpu.minor_number = in.Readable<int>("minor_number", [&in] { return in.Count("minor_number"); });
  gpu.architecture = in.String("architecture");
  gpu.compute_capability = in.Readable<std::string>(
      "compute_capability", [&in] { return in.String("compute_capability"); });
  gpu.sm_count = in.Readable<int>("sm_count", [&in] { return in.Within("sm_count", 1, kMaxInt); });
  if (in.Has("memory_total_bytes")) gpu.memory_total = Bytes{in.Unsigned("memory_total_bytes")};
  gpu.memory_used = in.Readable<Bytes>("memory_used_bytes",
                                       [&in] { return Bytes{in.Unsigned("memory_used_bytes")}; });
  gpu.utilization = in.Readable<double>("utilization", [&in] {
    const double ratio = in.Number("utilization");
    if (!(ratio >= 0 && ratio <= 1)) in.Wrong("utilization", "is not between 0 and 1");
    return ratio;
  });
  gpu.compute_mode = in.Readable<ComputeMode>(
      "compute_mode", [&in] { return in.OneOf("compute_mode", kComputeModes); });
  if (in.States("time_slice")) {
    gpu.time_slice = in.Readable<TimeSlice>(
        "time_slice", [&in] { return in.Parsed<TimeSlice>("time_slice", ParseTimeSlice); });
  }
  gpu.persistence_mode =
      in.Readable<bool>("persistence_mode", [&in] { return in.Bool("persistence_mode"); });
  gpu.virtualization =
      in.Readable<std::string>("virtualization", [&in] { return in.String("virtualization"); });
  gpu.mig_mode = in.Readable<MigMode>("mig_mode", [&in] {
    return in.Nested("mig_mode", [](Reader& mode) {
      return MigMode{mode.Bool("current"), mode.Bool("pending")};
    });
  });
  gpu.memory_slots = in.Within("memory_slots", 0, kMaxSlots);
  gpu.mig_profiles = in.ArrayOf("mig_profiles", ReadProfile);
  gpu.mig_instances = in.ArrayOf("mig_instances", ReadInstance);
  if (in.Has("vgpu")) {
    Result<GpuVgpu> vgpu = GpuVgpuFromJson(in.Object("vgpu"));
    if (vgpu)
      gpu.vgpu = *std::move(vgpu);
    else
      in.Add(FailedWhile(in.where(), vgpu.error()));
  }
  gpu.processes = in.ArrayOf("processes", ReadProcess);
  if (in.Has("mps_daemons")) gpu.mps_daemons = in.ArrayOf("mps_daemons", ReadMpsDaemon);
  gpu.health = in.Nested("health", ReadHealth);
  gpu.price_per_hour = ReadPrice(in, "price_per_hour");
  gpu.spot_price_per_hour = ReadPrice(in, "spot_price_per_hour");
  if (in.status()) CheckSlots(gpu, in);
  return gpu;
}

Capability ReadCapability(Reader& in) {
  Capability capability;
  capability.gpu_uuid = in.NonEmpty("gpu_uuid");
  capability.mechanism = in.Parsed("mechanism", ParseMechanism);
  capability.available = in.Bool("available");
  capability.reason = in.String("reason");
  capability.guarantees = in.Nested("guarantees", ReadGuarantees);
  if (in.Has("fails_open")) capability.fails_open = in.String("fails_open");
  if (in.Has("partition_sms")) capability.partition_sms = in.Count("partition_sms");
  return capability;
}

Result<Time> TimeFromText(std::string_view text) { return ParseTime(std::string(text)); }

}  // namespace

const char* ComputeModeName(ComputeMode mode) { return NameOf(kComputeModes, mode); }
Result<ComputeMode> ParseComputeMode(std::string_view name) {
  for (const auto& known : kComputeModes) {
    if (name == known.name) return known.value;
  }
  return Fail(ErrorCode::kInvalid, fmt::format("there is no compute mode '{}'", name));
}
const char* MigVariantName(MigVariant variant) { return NameOf(kVariants, variant); }

Json ToJson(const Machine& machine) {
  Writer out;
  out.Put("format_version", kFormatVersion);
  out.Put("simulated_fleet", machine.simulated_fleet);
  out.Put("hostname", machine.hostname);
  out.PutReading("driver_version", machine.driver_version);
  out.PutReading("cuda_version", machine.cuda_version);
  out.Put("read_at", FormatTime(machine.read_at));
  out.Put("fingerprint", machine.fingerprint);
  out.Put("gpus", ArrayOf(machine.gpus, [](const Gpu& gpu) { return ToJson(gpu); }));
  out.Put("capabilities", ArrayOf(machine.capabilities,
                                  [](const Capability& capability) { return ToJson(capability); }));
  return out.Take();
}

Result<Machine> MachineFromJson(const Json& json) {
  Reader in(json, "machine");
  const std::string version = in.String("format_version");
  if (in.status() && version.rfind("1.", 0) != 0) {
    return Fail(ErrorCode::kInvalid,
                fmt::format("machine.format_version is '{}'; this build reads 1.x", version),
                "write the file again with 'tranche inventory -o json' of this build");
  }
  Machine machine;
  machine.simulated_fleet = in.Bool("simulated_fleet");
  machine.hostname = in.String("hostname");
  machine.driver_version =
      in.Readable<std::string>("driver_version", [&in] { return in.String("driver_version"); });
  machine.cuda_version =
      in.Readable<std::string>("cuda_version", [&in] { return in.String("cuda_version"); });
  machine.read_at = in.Parsed("read_at", TimeFromText);
  machine.fingerprint = in.String("fingerprint");
  if (in.Array("gpus").size() > kMaxGpus) {
    in.Wrong("gpus", fmt::format("has more than {} members", kMaxGpus));
  }
  machine.gpus = in.ArrayOf("gpus", ReadGpu);
  machine.capabilities = in.ArrayOf("capabilities", ReadCapability);
  std::set<std::string> uuids;
  for (const Gpu& gpu : machine.gpus) {
    if (!uuids.insert(gpu.uuid).second) in.Wrong("gpus", "has " + gpu.uuid + " twice");
  }
  if (!in.status()) {
    Error error = in.status().error();
    if (error.hint.empty()) {
      error.hint = "use a file written by 'tranche inventory -o json'";
    }
    return tl::unexpected(std::move(error));
  }
  return machine;
}

}  // namespace tranche
