#include "stage/import/mig_parted.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/suggest.h"
#include "stage/import/formats.h"
#include "stage/import/targets.h"

namespace tranche::importing {
namespace {

// One entry of a configuration's list.
struct Entry {
  const YamlNode* node = nullptr;
  std::vector<std::string> filters;  // "0x233010DE[:0x...]", upper case digits
  bool all = false;
  std::vector<int> indices;
  bool enabled = false;
  std::vector<std::pair<const YamlNode*, int>> devices;  // the key, and how many
};

bool IsHex(std::string_view text) {
  return text.size() == 10 && text[0] == '0' && (text[1] == 'x' || text[1] == 'X') &&
         std::all_of(text.begin() + 2, text.end(), [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
         });
}

std::string Upper(std::string_view hex) {
  std::string out(hex);
  for (size_t i = 2; i < out.size(); ++i) {
    if (out[i] >= 'a' && out[i] <= 'f') out[i] = static_cast<char>(out[i] - 'a' + 'A');
  }
  if (out.size() > 1) out[1] = 'x';
  return out;
}

class ConfigReader {
 public:
  explicit ConfigReader(Reading& reading) : reading_(reading) {}

  std::optional<Entry> Read(const YamlNode& node, const std::string& path) {
    if (!node.IsMap()) {
      reading_.Add(node, fmt::format("{} is {}, not a map", path, Describe(node)),
                   "{devices: all, mig-enabled: true, mig-devices: {1g.10gb: 2}}");
      return std::nullopt;
    }
    reading_.CheckKeys(node, path, {"device-filter", "devices", "mig-enabled", "mig-devices"},
                       false);
    Entry entry;
    entry.node = &node;
    bool good = ReadFilter(node, path, &entry);
    good = ReadDevices(node, path, &entry) && good;
    good = ReadEnabled(node, path, &entry) && good;
    return good ? std::optional(entry) : std::nullopt;
  }

 private:
  bool ReadFilter(const YamlNode& node, const std::string& path, Entry* entry) {
    const YamlNode* filter = node.Find("device-filter");
    if (filter == nullptr || filter->IsNull()) return true;
    const auto add = [&](const YamlNode& one) {
      const size_t colon = one.scalar.find(':');
      const std::string_view text = one.scalar;
      if (!one.IsScalar() || !IsHex(text.substr(0, colon)) ||
          (colon != std::string::npos && !IsHex(text.substr(colon + 1)))) {
        reading_.Add(one, fmt::format("{}.device-filter: {} is no PCI id", path, Describe(one)),
                     "device and vendor as in \"0x233010DE\", then perhaps \":0x16C110DE\"");
        return false;
      }
      if (one.scalar.empty()) return true;
      if (colon != std::string::npos) {
        reading_.Note(one, "device-filter",
                      "the subsystem of " + one.scalar + " is not looked at, only the device");
      }
      entry->filters.push_back(Upper(text.substr(0, colon)));
      return true;
    };
    if (filter->IsScalar()) return filter->scalar.empty() || add(*filter);
    if (!filter->IsSequence()) {
      reading_.Add(*filter, fmt::format("{}.device-filter is {}, not a PCI id or a list of them",
                                        path, Describe(*filter)));
      return false;
    }
    bool good = true;
    for (const YamlNode& one : filter->items) good = add(one) && good;
    return good;
  }

  bool ReadDevices(const YamlNode& node, const std::string& path, Entry* entry) {
    const YamlNode* devices = node.Find("devices");
    if (devices == nullptr || devices->IsNull()) {
      reading_.Add(node, fmt::format("{} has no devices", path), "add devices: all, or [0, 1]");
      return false;
    }
    if (devices->IsScalar()) {
      entry->all = devices->scalar == "all";
      if (!entry->all) {
        reading_.Add(*devices,
                     fmt::format("{}.devices is {}, not all or a list", path, Describe(*devices)),
                     "devices: all, or devices: [0, 1]");
      }
      return entry->all;
    }
    if (!devices->IsSequence()) {
      reading_.Add(*devices,
                   fmt::format("{}.devices is {}, not all or a list", path, Describe(*devices)),
                   "devices: all, or devices: [0, 1]");
      return false;
    }
    bool good = true;
    for (const YamlNode& one : devices->items) {
      const auto index = reading_.Integer(one, path + ".devices");
      if (index && (*index < 0 || *index > 1023)) {
        reading_.Add(one, fmt::format("{}.devices: there is no GPU {}", path, *index));
      } else if (index) {
        if (std::find(entry->indices.begin(), entry->indices.end(), *index) ==
            entry->indices.end()) {
          entry->indices.push_back(static_cast<int>(*index));
        }
        continue;
      }
      good = false;
    }
    return good;
  }

  bool ReadEnabled(const YamlNode& node, const std::string& path, Entry* entry) {
    const YamlNode* enabled = node.Find("mig-enabled");
    if (enabled == nullptr || enabled->IsNull()) {
      reading_.Add(node, fmt::format("{} has no mig-enabled", path), "add mig-enabled: true");
      return false;
    }
    const auto value = reading_.Bool(*enabled, path + ".mig-enabled");
    if (!value) return false;
    entry->enabled = *value;
    const YamlNode* devices = node.Find("mig-devices");
    if (devices == nullptr) {
      if (!entry->enabled) return true;
      reading_.Add(node, fmt::format("{} has no mig-devices", path),
                   "add mig-devices: {1g.10gb: 2}, or {} for none");
      return false;
    }
    if (devices->IsNull()) return true;
    if (!devices->IsMap()) {
      reading_.Add(*devices,
                   fmt::format("{}.mig-devices is {}, not a map", path, Describe(*devices)));
      return false;
    }
    if (!entry->enabled && !devices->members.empty()) {
      reading_.Add(*devices, fmt::format("{} has mig-devices without MIG", path),
                   "remove them, or set mig-enabled: true");
      return false;
    }
    return ReadProfiles(*devices, path + ".mig-devices", entry);
  }

  bool ReadProfiles(const YamlNode& map, const std::string& path, Entry* entry) {
    bool good = true;
    int64_t sum = 0;
    for (const YamlMember& member : map.members) {
      if (!ParseProfileName(member.key.scalar)) {
        reading_.Add(member.key,
                     fmt::format("{}: {} is no profile", path, Quoted(member.key.scalar)),
                     "a profile looks like 1g.10gb, 1c.3g.40gb or 1g.10gb+me");
        good = false;
      }
      const auto count = reading_.Integer(member.value, path + "." + member.key.scalar);
      if (!count) {
        good = false;
      } else if (*count < 0 || *count > 1000) {
        reading_.Add(member.value, fmt::format("{}.{} is {}, which is not a number of slices", path,
                                               member.key.scalar, *count));
        good = false;
      } else {
        sum += *count;
        if (*count > 0) entry->devices.emplace_back(&member.key, static_cast<int>(*count));
      }
    }
    if (good && !map.members.empty() && sum == 0) {
      reading_.Add(map, fmt::format("{}: every count is 0", path), "use {} for none");
      good = false;
    }
    return good;
  }

  Reading& reading_;
};

// The catalog's GPUs that a filter lets through.
std::vector<std::string> ModelsOf(const Entry& entry, const Catalog& catalog) {
  std::vector<std::string> models;
  for (const CatalogGpu& gpu : catalog.gpus()) {
    for (const std::string& id : gpu.pci_device_ids) {
      if (std::find(entry.filters.begin(), entry.filters.end(), Upper(id)) != entry.filters.end()) {
        models.push_back(gpu.key);
        break;
      }
    }
  }
  return models;
}

bool Matches(const Entry& entry, const TargetGpu& gpu) {
  if (!entry.filters.empty() && std::find(entry.filters.begin(), entry.filters.end(),
                                          Upper(gpu.pci_device_id)) == entry.filters.end()) {
    return false;
  }
  return entry.all ||
         std::find(entry.indices.begin(), entry.indices.end(), gpu.index) != entry.indices.end();
}

class ConfigImport {
 public:
  explicit ConfigImport(Reading& reading) : reading_(reading) {}

  void Run(const std::vector<Entry>& entries) {
    const std::vector<TargetGpu> targets = TargetsOf(reading_);
    if (targets.empty()) {
      WithoutGpus(entries);
    } else {
      OnGpus(entries, targets);
    }
  }

 private:
  void OnGpus(const std::vector<Entry>& entries, const std::vector<TargetGpu>& targets) {
    std::vector<int> used(entries.size(), 0);
    std::string left_alone;
    for (const TargetGpu& gpu : targets) {
      // mig-parted carries out every entry that matches, in order: the last one stays.
      const Entry* last = nullptr;
      for (size_t i = 0; i < entries.size(); ++i) {
        if (!Matches(entries[i], gpu)) continue;
        ++used[i];
        if (last != nullptr) {
          reading_.Note(
              *last->node, "devices",
              fmt::format("a later entry is for gpu{} too, and the last one counts", gpu.index));
        }
        last = &entries[i];
      }
      if (last == nullptr) {
        left_alone += fmt::format("{}gpu{}", left_alone.empty() ? "" : ", ", gpu.index);
        continue;
      }
      Add(*last, gpu.model, 1);
    }
    if (!left_alone.empty()) {
      reading_.NoteAt(0, "devices", "no entry is for " + left_alone + ", which gets no slices");
    }
    for (size_t i = 0; i < entries.size(); ++i) {
      if (used[i] > 0) continue;
      reading_.Note(*entries[i].node, "device-filter", "there is no such GPU here");
    }
  }

  void WithoutGpus(const std::vector<Entry>& entries) {
    bool filtered = false;
    for (const Entry& entry : entries) {
      const std::vector<std::string> models = ModelsOf(entry, reading_.catalog());
      if (!entry.filters.empty()) {
        if (filtered && !entry.devices.empty()) {
          reading_.Note(*entry.node, "device-filter",
                        fmt::format("is for other GPUs{}, and a spec is for those at hand; "
                                    "--gpu MODEL takes what is for it",
                                    models.empty() ? "" : " (" + models.front() + ")"));
          continue;
        }
        filtered = true;
        if (models.empty()) {
          reading_.Note(*entry.node, "device-filter",
                        "the catalog knows no GPU by these ids, so any GPU will do");
        } else if (models.size() > 1) {
          reading_.Note(*entry.node, "device-filter",
                        "a spec names one kind of GPU or none, so any GPU will do");
        }
      }
      if (entry.all) {
        reading_.Note(*entry.node, "devices",
                      "how many GPUs `all` is was not said: taken as one; --gpu MODEL:COUNT or "
                      "--machine FILE says it");
      }
      Add(entry, models.size() == 1 ? models.front() : "",
          entry.all ? 1 : static_cast<int>(entry.indices.size()));
    }
  }

  void Add(const Entry& entry, const std::string& gpu, int gpus) {
    if (gpus == 0) return;
    if (!entry.indices.empty()) {
      reading_.Note(*entry.node, "devices",
                    "a spec does not say which GPU by its number: as many slices are asked for, "
                    "wherever they fit");
    }
    if (!entry.enabled) {
      DraftWorkload whole;
      whole.name = "gpu";
      whole.comment = "a whole GPU";
      whole.isolation = "hardware";
      whole.mechanism = Mechanism::kExclusive;
      whole.gpu = gpu;
      whole.replicas = gpus;
      whole.memory = WholeMemory(gpu);
      reading_.draft().Add(std::move(whole));
      return;
    }
    if (entry.devices.empty()) {
      reading_.Note(*entry.node, "mig-devices",
                    "no slices: MIG mode alone is nothing that a workload asks for");
    }
    for (const auto& [key, count] : entry.devices) {
      reading_.draft().Add(MigWorkload(key->scalar, gpu, count * gpus, *key, reading_));
    }
  }

  Bytes WholeMemory(const std::string& model) const {
    for (const TargetGpu& gpu : TargetsOf(reading_)) {
      if (gpu.model == model && gpu.memory.value > 0) return gpu.memory;
    }
    for (const CatalogGpu& gpu : reading_.catalog().gpus()) {
      if (gpu.key == model && gpu.memory) return Usable(*gpu.memory);
    }
    return SmallestOf(reading_.catalog()).memory;
  }

  Reading& reading_;
};

}  // namespace

std::vector<std::string> MigPartedConfigs(const YamlNode& root) {
  std::vector<std::string> names;
  const YamlNode* configs = root.Find("mig-configs");
  if (configs == nullptr) return names;
  for (const YamlMember& member : configs->members) names.push_back(member.key.scalar);
  return names;
}

namespace {

// The entries of the configuration of that name; all mistakes of the file are noted.
std::vector<Entry> ReadEntries(const YamlNode& root, const std::string& name, Reading& reading) {
  reading.CheckKeys(root, "", {"version", "mig-configs"}, false);
  const YamlNode* version = root.Find("version");
  if (version == nullptr || version->IsNull()) {
    reading.Add(root, "the file has no version", "add version: v1");
  } else if (!version->IsScalar() || version->scalar != "v1") {
    reading.Add(*version, "unknown version: " + Describe(*version), "version: v1");
  }
  const YamlNode* configs = root.Find("mig-configs");
  if (configs == nullptr || !configs->IsMap() || configs->members.empty()) {
    reading.Add(configs == nullptr ? root : *configs, "mig-configs holds no configuration",
                "mig-configs: {custom: [{devices: all, mig-enabled: true, mig-devices: "
                "{1g.10gb: 7}}]}");
    return {};
  }
  ConfigReader reader(reading);
  std::vector<Entry> chosen;
  for (const YamlMember& member : configs->members) {
    const std::string path = "mig-configs." + member.key.scalar;
    if (!member.value.IsSequence() || member.value.items.empty()) {
      reading.Add(member.value.IsSequence() ? member.value : member.key,
                  fmt::format("{} is {}", path,
                              member.value.IsSequence() ? "an empty list"
                                                        : Describe(member.value) + ", not a list"),
                  "a configuration is a list of {devices, mig-enabled, mig-devices}");
      continue;
    }
    for (size_t i = 0; i < member.value.items.size(); ++i) {
      auto entry = reader.Read(member.value.items[i], fmt::format("{}[{}]", path, i));
      if (entry && member.key.scalar == name) chosen.push_back(std::move(*entry));
    }
  }
  return chosen;
}

}  // namespace

void ReadMigParted(const YamlNode& root, const std::string& name, Reading& reading) {
  const std::vector<Entry> chosen = ReadEntries(root, name, reading);
  if (reading.ok()) ConfigImport(reading).Run(chosen);
}

}  // namespace tranche::importing

namespace tranche {

tl::expected<std::vector<MigPartedWant>, std::vector<ImportMistake>> ReadMigPartedWants(
    std::string_view text, const std::string& config, const Machine& machine,
    const Catalog& catalog) {
  ImportOptions options;
  options.machine = &machine;
  importing::Reading reading(options, catalog);
  constexpr YamlLimits kLimits = {size_t{4} << 20, 20, 300000};
  std::vector<YamlError> duplicates;
  const auto root = ParseYaml(text, kLimits, &duplicates);
  if (!root) {
    const YamlError& error = root.error();
    reading.AddAt(error.line, error.column, error.message, error.hint);
    return tl::unexpected(reading.TakeMistakes());
  }
  for (const YamlError& error : duplicates) {
    reading.AddAt(error.line, error.column, error.message, error.hint);
  }
  std::string name = config;
  const std::vector<std::string> names =
      root->IsMap() ? importing::MigPartedConfigs(*root) : std::vector<std::string>();
  if (name.empty() && names.size() == 1) name = names.front();
  if (std::find(names.begin(), names.end(), name) == names.end() && !names.empty()) {
    const std::string meant = DidYouMean(name, names);
    reading.AddAt(0, 0,
                  name.empty() ? "the file has several configurations"
                               : fmt::format("the file has no configuration '{}'", name),
                  meant.empty() ? fmt::format("choose one of {}", fmt::join(names, ", ")) : meant);
  }
  const std::vector<importing::Entry> entries = importing::ReadEntries(*root, name, reading);
  std::vector<MigPartedWant> wants;
  const std::vector<importing::TargetGpu> targets = importing::TargetsOf(reading);
  for (const importing::Entry& entry : entries) {
    for (const importing::TargetGpu& gpu : targets) {
      if (!importing::Matches(entry, gpu)) continue;
      MigPartedWant want;
      want.gpu_index = gpu.index;
      want.mig_enabled = entry.enabled;
      for (const auto& [key, count] : entry.devices) want.devices[key->scalar] += count;
      wants.push_back(std::move(want));
    }
  }
  if (!reading.ok()) return tl::unexpected(reading.TakeMistakes());
  return wants;
}

}  // namespace tranche
