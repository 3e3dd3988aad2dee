#include <fmt/format.h>

#include <algorithm>

#include "stage/import/formats.h"

namespace tranche::importing {
namespace {

constexpr int64_t kLeastMemory = int64_t{1} << 20;

std::optional<Bytes> MemoryLimit(const YamlNode& node, const std::string& path, Reading& reading) {
  const auto bytes = node.IsScalar() ? Quantity(node.scalar) : std::nullopt;
  if (!bytes || *bytes < kLeastMemory) {
    reading.Add(node, fmt::format("{} is {}, not a size of 1Mi or more", path, Describe(node)),
                "as in 10Gi");
    return std::nullopt;
  }
  return Bytes{static_cast<uint64_t>(*bytes)};
}

void ReadMpsConfig(const YamlNode& config, const std::string& path, Reading& reading,
                   SharingConfig* out) {
  reading.CheckKeys(config, path,
                    {"defaultActiveThreadPercentage", "defaultPinnedDeviceMemoryLimit",
                     "defaultPerDevicePinnedMemoryLimit", "multiUser"},
                    false);
  if (const YamlNode* percent = config.Find("defaultActiveThreadPercentage")) {
    const auto number = reading.Integer(*percent, path + ".defaultActiveThreadPercentage");
    if (number && (*number < 1 || *number > 100)) {
      reading.Add(*percent, fmt::format("{}.defaultActiveThreadPercentage is {}, not 1 to 100",
                                        path, *number));
    } else if (number) {
      out->compute = static_cast<double>(*number) / 100;
    }
  }
  if (const YamlNode* memory = config.Find("defaultPinnedDeviceMemoryLimit")) {
    out->memory = MemoryLimit(*memory, path + ".defaultPinnedDeviceMemoryLimit", reading);
  }
  const std::string per_device = path + ".defaultPerDevicePinnedMemoryLimit";
  const YamlNode* map = reading.MapAt(config, "defaultPerDevicePinnedMemoryLimit", per_device);
  if (map != nullptr) {
    for (const YamlMember& member : map->members) {
      const auto limit = MemoryLimit(member.value, per_device + "." + member.key.scalar, reading);
      if (limit && (!out->memory || *limit < *out->memory)) out->memory = limit;
    }
    reading.Note(*map, per_device,
                 "a spec says one size for all GPUs of a workload: the least is taken");
  }
  if (const YamlNode* users = config.Find("multiUser")) {
    reading.Bool(*users, path + ".multiUser");
    reading.Note(*users, path + ".multiUser", "Tranche decides who may be a client of a server");
  }
}

}  // namespace

SharingConfig ReadGpuConfig(const YamlNode& node, const std::string& path, Reading& reading) {
  SharingConfig out;
  const YamlNode* kind = node.Find("kind");
  const std::string name = kind != nullptr ? kind->scalar : "";
  if (name == "VfioDeviceConfig") {
    reading.Note(node, path, "a GPU for a virtual machine; taken as a whole GPU");
    return out;
  }
  if (name != "GpuConfig" && name != "MigDeviceConfig") {
    reading.Add(kind == nullptr ? node : *kind,
                fmt::format("{} is of kind {}", path, kind == nullptr ? "none" : Quoted(name)),
                "GpuConfig, MigDeviceConfig or VfioDeviceConfig");
    return out;
  }
  reading.CheckKeys(node, path, {"apiVersion", "kind", "sharing"}, false);
  const YamlNode* sharing = reading.MapAt(node, "sharing", path + ".sharing");
  if (sharing == nullptr) return out;
  const std::string inner = path + ".sharing";
  reading.CheckKeys(*sharing, inner, {"strategy", "timeSlicingConfig", "mpsConfig"}, false);
  const YamlNode* strategy = sharing->Find("strategy");
  if (strategy == nullptr) {
    reading.Add(*sharing, inner + " has no strategy", "strategy: MPS, or TimeSlicing");
    return out;
  }
  const auto word = reading.Word(*strategy, inner + ".strategy", {"TimeSlicing", "MPS"});
  const YamlNode* slicing = reading.MapAt(*sharing, "timeSlicingConfig", inner);
  const YamlNode* mps = reading.MapAt(*sharing, "mpsConfig", inner);
  if (!word) return out;
  const bool is_mps = *word == "MPS";
  if (is_mps && slicing != nullptr) {
    reading.Add(*slicing, inner + ": timeSlicingConfig with strategy MPS", "remove one of the two");
  }
  if (!is_mps && mps != nullptr) {
    reading.Add(*mps, inner + ": mpsConfig with strategy TimeSlicing", "remove one of the two");
  }
  if (is_mps) {
    out.mechanism = Mechanism::kMps;
    if (mps != nullptr) ReadMpsConfig(*mps, inner + ".mpsConfig", reading, &out);
    return out;
  }
  if (slicing != nullptr) {
    reading.CheckKeys(*slicing, inner + ".timeSlicingConfig", {"interval"}, false);
    if (const YamlNode* interval = slicing->Find("interval")) {
      reading.Word(*interval, inner + ".timeSlicingConfig.interval",
                   {"Default", "Short", "Medium", "Long"});
      reading.Note(*interval, inner + ".timeSlicingConfig.interval",
                   "how long a turn is belongs to the GPU; a spec does not say it");
    }
  }
  if (name == "MigDeviceConfig") {
    reading.Note(*strategy, inner + ".strategy",
                 "has no effect on MIG devices, with NVIDIA's driver either");
    return out;
  }
  out.mechanism = Mechanism::kTimeSlicing;
  return out;
}

}  // namespace tranche::importing
