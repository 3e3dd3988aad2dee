#include "model/vgpu.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "base/json.h"
#include "base/suggest.h"

namespace tranche {
namespace {

template <typename E, size_t N>
Result<E> Parse(std::string_view name, const std::array<E, N>& all, const char* (*name_of)(E),
                const char* what) {
  std::vector<std::string> names;
  for (const E value : all) {
    if (name == name_of(value)) return value;
    names.emplace_back(name_of(value));
  }
  const std::string similar = DidYouMean(name, names);
  std::string known;
  for (const std::string& one : names) known += (known.empty() ? "" : ", ") + one;
  return Fail(ErrorCode::kInvalid, fmt::format("'{}' is not {}", name, what),
              similar.empty() ? "use one of " + known : similar);
}

int Count(JsonReader& reader, const char* key) {
  const int64_t value = reader.Int(key);
  if (value >= 0 && value <= std::numeric_limits<int>::max()) return static_cast<int>(value);
  reader.Add(Fail(ErrorCode::kInvalid, fmt::format("{}.{} is {}", reader.where(), key, value)));
  return 0;
}

template <typename T>
T Taken(JsonReader& reader, const char* key, Result<T> (*parse)(std::string_view)) {
  const Result<T> value = parse(reader.String(key));
  if (value) return *value;
  reader.Add(FailedWhile(fmt::format("{}.{}", reader.where(), key), value.error()));
  return T{};
}

Json ToJson(const VgpuOffer& offer) {
  Json json = {{"type", offer.name},
               {"series", VgpuSeriesName(offer.series)},
               {"framebuffer_bytes", offer.framebuffer.value},
               {"reserved_bytes", offer.reserved.value},
               {"most", offer.most}};
  if (offer.mig_slices > 0) json["mig_slices"] = offer.mig_slices;
  if (!offer.mig_profile.empty()) json["mig_profile"] = offer.mig_profile;
  if (offer.most_mixed > 0) json["most_mixed"] = offer.most_mixed;
  if (offer.most_per_instance > 1) json["most_per_instance"] = offer.most_per_instance;
  return json;
}

VgpuOffer OfferFromJson(JsonReader& reader) {
  VgpuOffer offer;
  offer.name = reader.String("type");
  offer.series = Taken(reader, "series", ParseVgpuSeries);
  offer.framebuffer = Bytes{reader.Unsigned("framebuffer_bytes")};
  offer.reserved = Bytes{reader.Unsigned("reserved_bytes")};
  offer.most = Count(reader, "most");
  if (reader.Has("mig_slices")) offer.mig_slices = Count(reader, "mig_slices");
  if (reader.Has("mig_profile")) offer.mig_profile = reader.String("mig_profile");
  if (reader.Has("most_mixed")) offer.most_mixed = Count(reader, "most_mixed");
  if (reader.Has("most_per_instance")) offer.most_per_instance = Count(reader, "most_per_instance");
  const bool counted = offer.most >= 1 && offer.most_per_instance >= 1;
  if (reader.status() && (!counted || offer.framebuffer < offer.reserved)) {
    reader.Add(Fail(ErrorCode::kInvalid, reader.where() + " is no type that a GPU could have"));
  }
  return offer;
}

Json ToJson(const VgpuThere& there) {
  Json json = {{"id", there.id},     {"function", there.function},
               {"type", there.type}, {"mig_slices", there.mig_slices},
               {"ours", there.ours}, {"holders", there.holders}};
  if (there.framebuffer) json["framebuffer_bytes"] = there.framebuffer->value;
  if (there.gpu_instance) json["gpu_instance"] = *there.gpu_instance;
  if (there.placement_id) json["placement_id"] = *there.placement_id;
  if (!there.workload.empty()) {
    json["workload"] = there.workload;
    json["replica"] = there.replica;
  }
  return json;
}

VgpuThere ThereFromJson(JsonReader& reader) {
  VgpuThere there;
  there.id = reader.String("id");
  there.function = reader.String("function");
  there.type = reader.String("type");
  there.mig_slices = Count(reader, "mig_slices");
  there.ours = reader.Bool("ours");
  for (const Json& pid : reader.Array("holders")) {
    if (!pid.is_number_integer() || pid.get<int64_t>() < 1 ||
        pid.get<int64_t>() > std::numeric_limits<int>::max()) {
      reader.Add(Fail(ErrorCode::kInvalid, reader.where() + ".holders holds no pids"));
      break;
    }
    there.holders.push_back(pid.get<int>());
  }
  if (reader.Has("framebuffer_bytes"))
    there.framebuffer = Bytes{reader.Unsigned("framebuffer_bytes")};
  if (reader.Has("gpu_instance")) there.gpu_instance = Count(reader, "gpu_instance");
  if (reader.Has("placement_id")) there.placement_id = Count(reader, "placement_id");
  if (reader.Has("workload")) {
    there.workload = reader.String("workload");
    there.replica = Count(reader, "replica");
  }
  return there;
}

std::string ReasonFor(JsonReader& reader, const char* key) {
  if (!reader.Has("unavailable")) return "not stated in this document";
  JsonReader reasons(reader.Object("unavailable"), reader.where() + ".unavailable");
  const std::string reason = reasons.Has(key) ? reasons.String(key) : "";
  reader.Add(reasons.status());
  return reason;
}

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

}  // namespace

const char* VgpuSeriesName(VgpuSeries series) {
  switch (series) {
    case VgpuSeries::kC:
      return "C";
    case VgpuSeries::kQ:
      return "Q";
    case VgpuSeries::kA:
      return "A";
    case VgpuSeries::kB:
      return "B";
  }
  return "C";
}

Result<VgpuSeries> ParseVgpuSeries(std::string_view name) {
  return Parse(name, kAllVgpuSeries, VgpuSeriesName, "a series of vGPUs");
}

const char* VgpuSchedulerName(VgpuScheduler scheduler) {
  switch (scheduler) {
    case VgpuScheduler::kBestEffort:
      return "best-effort";
    case VgpuScheduler::kEqualShare:
      return "equal-share";
    case VgpuScheduler::kFixedShare:
      return "fixed-share";
  }
  return "best-effort";
}

Result<VgpuScheduler> ParseVgpuScheduler(std::string_view name) {
  return Parse(name, kAllVgpuSchedulers, VgpuSchedulerName, "a vGPU scheduler");
}

const VgpuOffer* GpuVgpu::FindOffer(std::string_view name) const {
  const auto found = std::find_if(offers.begin(), offers.end(),
                                  [&](const VgpuOffer& offer) { return offer.name == name; });
  return found != offers.end() ? &*found : nullptr;
}

VgpuHostState GpuVgpu::state() const {
  VgpuHostState state{functions > 0, mixed.value_or(false), std::nullopt};
  if (scheduler) state.scheduler = *scheduler;
  return state;
}

Json ToJson(const GpuVgpu& vgpu) {
  Json json = {{"interface", vgpu.mediated ? "mdev" : "vendor-vfio"},
               {"functions", vgpu.functions},
               {"types", Json::array()},
               {"vgpus", Json::array()}};
  if (vgpu.mixed)
    json["mixed_sizes"] = *vgpu.mixed;
  else
    json["unavailable"]["mixed_sizes"] = vgpu.mixed.reason();
  if (vgpu.scheduler)
    json["scheduler"] = VgpuSchedulerName(*vgpu.scheduler);
  else
    json["unavailable"]["scheduler"] = vgpu.scheduler.reason();
  for (const VgpuOffer& offer : vgpu.offers) json["types"].push_back(ToJson(offer));
  for (const VgpuThere& there : vgpu.there) json["vgpus"].push_back(ToJson(there));
  return json;
}

Result<GpuVgpu> GpuVgpuFromJson(const Json& json) {
  JsonReader reader(json, "vgpu");
  GpuVgpu vgpu;
  const std::string interface = reader.String("interface");
  if (reader.status() && interface != "mdev" && interface != "vendor-vfio") {
    reader.Add(Fail(ErrorCode::kInvalid,
                    fmt::format("vgpu.interface is '{}', not mdev or vendor-vfio", interface)));
  }
  vgpu.mediated = interface == "mdev";
  vgpu.functions = Count(reader, "functions");
  vgpu.mixed = reader.Has("mixed_sizes") ? Reading<bool>(reader.Bool("mixed_sizes"))
                                         : Reading<bool>::Absent(ReasonFor(reader, "mixed_sizes"));
  vgpu.scheduler = reader.Has("scheduler")
                       ? Reading<VgpuScheduler>(Taken(reader, "scheduler", ParseVgpuScheduler))
                       : Reading<VgpuScheduler>::Absent(ReasonFor(reader, "scheduler"));
  for (const Json& item : reader.Array("types")) {
    JsonReader offer(item, fmt::format("vgpu.types[{}]", vgpu.offers.size()));
    vgpu.offers.push_back(OfferFromJson(offer));
    reader.Add(offer.status());
  }
  for (const Json& item : reader.Array("vgpus")) {
    JsonReader there(item, fmt::format("vgpu.vgpus[{}]", vgpu.there.size()));
    vgpu.there.push_back(ThereFromJson(there));
    reader.Add(there.status());
  }
  if (!reader.status()) return tl::unexpected(reader.status().error());
  return vgpu;
}

Json ToJson(const VgpuHostState& state) {
  Json json = {{"functions", state.functions}, {"mixed_sizes", state.mixed}};
  if (state.scheduler) json["scheduler"] = VgpuSchedulerName(*state.scheduler);
  return json;
}

Result<VgpuHostState> VgpuHostStateFromJson(const Json& json) {
  JsonReader reader(json, "vgpu_host");
  VgpuHostState state{reader.Bool("functions"), reader.Bool("mixed_sizes"), std::nullopt};
  if (reader.Has("scheduler")) state.scheduler = Taken(reader, "scheduler", ParseVgpuScheduler);
  if (!reader.status()) return tl::unexpected(reader.status().error());
  return state;
}

bool IsVgpuType(std::string_view text) {
  if (text.size() < 4 || text.size() > 64) return false;
  const size_t dash = text.rfind('-');
  if (dash == std::string_view::npos || dash == 0) return false;
  for (const char c : text.substr(0, dash)) {
    const bool letter = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
    if (!letter && !IsDigit(c) && c != '-' && c != ' ') return false;
  }
  std::string_view last = text.substr(dash + 1);
  const size_t letter = last.find_first_not_of("0123456789");
  if (letter == 0 || letter == std::string_view::npos || letter > 4 || last.front() == '0')
    return false;
  if (!ParseVgpuSeries(last.substr(letter, 1))) return false;
  last.remove_prefix(letter + 1);
  return last.empty() || last == "ME" || (last.size() == 1 && IsDigit(last.front()));
}

std::string ShortVgpuName(const std::string& name) {
  for (const char* maker : {"NVIDIA ", "GRID "}) {
    const std::string_view prefix = maker;
    if (name.rfind(prefix, 0) == 0) return name.substr(prefix.size());
  }
  return name;
}

}  // namespace tranche
