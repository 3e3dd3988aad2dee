#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <set>

#include "stage/import/formats.h"
#include "stage/import/targets.h"

namespace tranche::importing {
namespace {

constexpr const char* kPrefix = "nvidia.com/";
constexpr const char* kMigPrefix = "nvidia.com/mig-";
// Of one server; the plugin's own limit.
constexpr int64_t kMostMpsReplicas = 48;
constexpr int64_t kMostMpsReplicasBeforeVolta = 16;
constexpr int64_t kMostReplicas = 10000;

const std::vector<std::string> kStrategies = {"envvar", "volume-mounts", "cdi-annotations",
                                              "cdi-cri"};

// Keys of `flags`, and why a spec says nothing of them.
const std::map<std::string, std::string>& FlagReasons() {
  static const std::string kFound = "Tranche finds the driver by itself";
  static const std::string kDevices = "Tranche decides how a workload is given its devices";
  static const std::map<std::string, std::string> kReasons = {
      {"migStrategy", "how the plugin names resources; a spec says what each workload needs"},
      {"failOnInitError", "without a driver Tranche says so, and exits with 69"},
      {"mpsRoot", "Tranche keeps the directories of MPS itself"},
      {"nvidiaDriverRoot", kFound},
      {"nvidiaDevRoot", kFound},
      {"gdrcopyEnabled", "no device of another driver is given to workloads"},
      {"gdsEnabled", "no device of another driver is given to workloads"},
      {"mofedEnabled", "no device of another driver is given to workloads"},
      {"useNodeFeatureAPI", "labels of nodes are not part of a spec"},
      {"deviceDiscoveryStrategy", kFound},
      {"plugin", kDevices},
      {"gfd", "labels of nodes are not part of a spec"}};
  return kReasons;
}

std::vector<std::string> FlagNames() {
  std::vector<std::string> names;
  for (const auto& [name, why] : FlagReasons()) names.push_back(name);
  return names;
}

bool IsSubdomain(std::string_view text) {
  bool label_is_empty = true;
  char last = '.';
  for (const char c : text) {
    const bool word = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    if (!word && c != '-' && c != '.') return false;
    if ((c == '.' || c == '-') && last == '.') return false;
    if (c == '.' && (label_is_empty || last == '-')) return false;
    label_is_empty = c == '.';
    last = c;
  }
  return !text.empty() && last != '.' && last != '-';
}

bool AllDigits(std::string_view text) {
  return !text.empty() &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

bool IsUuid(std::string_view text) {
  if (text.size() != 36) return false;
  for (size_t i = 0; i < text.size(); ++i) {
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    const char c = text[i];
    const bool hex = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
    if (dash ? c != '-' : !hex) return false;
  }
  return true;
}

// "0", "0:1", "GPU-<uuid>", "MIG-<uuid>", "MIG-GPU-<uuid>/<gi>/<ci>".
bool IsDeviceReference(std::string_view text) {
  if (AllDigits(text)) return true;
  const size_t colon = text.find(':');
  if (colon != std::string_view::npos) {
    return AllDigits(text.substr(0, colon)) && AllDigits(text.substr(colon + 1));
  }
  if (text.substr(0, 8) == "MIG-GPU-") {
    const size_t first = text.find('/');
    const size_t second = first == std::string_view::npos ? first : text.find('/', first + 1);
    return second != std::string_view::npos && IsUuid(text.substr(8, first - 8)) &&
           AllDigits(text.substr(first + 1, second - first - 1)) &&
           AllDigits(text.substr(second + 1));
  }
  return (text.substr(0, 4) == "GPU-" || text.substr(0, 4) == "MIG-") && IsUuid(text.substr(4));
}

struct Resource {
  const YamlNode* node = nullptr;
  std::string name;  // with the prefix
  int64_t replicas = 1;
  std::optional<int64_t> devices;  // how many; absent = all
};

class PluginReader {
 public:
  explicit PluginReader(Reading& reading) : reading_(reading) {}

  void Run(const YamlNode& root) {
    reading_.CheckKeys(root, "", {"version", "flags", "resources", "sharing", "imex"}, true);
    ReadVersion(root);
    ReadFlags(root);
    ReadImex(root);
    if (const YamlNode* resources = root.Find("resources"); resources != nullptr) {
      reading_.Note(*resources, "resources",
                    "the plugin does not use it either; names come from the sharing");
    }
    const YamlNode* sharing = reading_.MapAt(root, "sharing", "sharing");
    if (sharing == nullptr) {
      if (reading_.ok()) AddWholeGpus(root);
      return;
    }
    reading_.CheckKeys(*sharing, "sharing", {"timeSlicing", "mps"}, true);
    const YamlNode* slicing = reading_.MapAt(*sharing, "timeSlicing", "sharing.timeSlicing");
    const YamlNode* mps = reading_.MapAt(*sharing, "mps", "sharing.mps");
    std::vector<Resource> sliced, served;
    if (slicing != nullptr) sliced = ReadShared(*slicing, "sharing.timeSlicing", false);
    if (mps != nullptr) {
      served = ReadShared(*mps, "sharing.mps", true);
      CheckMps(*mps, root, served);
    }
    if (slicing != nullptr && mps != nullptr) {
      reading_.Note(*slicing, "sharing.timeSlicing", "with both, the plugin uses MPS");
      sliced.clear();
    }
    if (!reading_.ok()) return;
    for (const Resource& resource : sliced) AddShared(resource, Mechanism::kTimeSlicing);
    for (const Resource& resource : served) AddShared(resource, Mechanism::kMps);
    if (slicing == nullptr && mps == nullptr) AddWholeGpus(root);
  }

 private:
  void ReadVersion(const YamlNode& root) {
    const YamlNode* version = root.Find("version");
    if (version == nullptr || version->IsNull()) return;
    if (version->IsScalar() && (version->scalar.empty() || version->scalar == "v1")) return;
    reading_.Add(*version, "unknown version: " + Describe(*version), "version: v1");
  }

  void ReadFlags(const YamlNode& root) {
    const YamlNode* flags = reading_.MapAt(root, "flags", "flags");
    if (flags == nullptr) return;
    reading_.CheckKeys(*flags, "flags", FlagNames(), true);
    for (const YamlMember& member : flags->members) {
      const auto reason = FlagReasons().find(member.key.scalar);
      if (reason == FlagReasons().end()) continue;
      const std::string path = "flags." + member.key.scalar;
      reading_.Note(member.key, path, reason->second);
      if (member.value.IsNull()) continue;
      if (member.key.scalar == "migStrategy") {
        strategy_ = reading_.Word(member.value, path, {"none", "single", "mixed"});
      } else if (member.key.scalar == "deviceDiscoveryStrategy") {
        reading_.Word(member.value, path, {"auto", "nvml", "tegra"});
      } else if (member.key.scalar == "plugin") {
        ReadPluginFlags(member.value);
      } else if (member.key.scalar.find("Enabled") != std::string::npos ||
                 member.key.scalar == "failOnInitError" ||
                 member.key.scalar == "useNodeFeatureAPI") {
        reading_.Bool(member.value, path);
      } else if (member.key.scalar != "gfd") {
        reading_.Text(member.value, path);
      }
    }
  }

  void ReadPluginFlags(const YamlNode& plugin) {
    if (!plugin.IsMap()) {
      reading_.Add(plugin, "flags.plugin is " + Describe(plugin) + ", not a map");
      return;
    }
    if (const YamlNode* list = plugin.Find("deviceListStrategy"); list != nullptr) {
      const std::string path = "flags.plugin.deviceListStrategy";
      if (list->IsSequence()) {
        for (const YamlNode& one : list->items) reading_.Word(one, path, kStrategies);
      } else {
        reading_.Word(*list, path, kStrategies);
      }
    }
    if (const YamlNode* id = plugin.Find("deviceIDStrategy"); id != nullptr) {
      reading_.Word(*id, "flags.plugin.deviceIDStrategy", {"uuid", "index"});
    }
    if (const YamlNode* policy = plugin.Find("sharedDevicesAllocationPolicy"); policy != nullptr) {
      reading_.Word(*policy, "flags.plugin.sharedDevicesAllocationPolicy",
                    {"distributed", "packed"});
    }
    if (const YamlNode* pass = plugin.Find("passDeviceSpecs"); pass != nullptr) {
      reading_.Bool(*pass, "flags.plugin.passDeviceSpecs");
    }
  }

  void ReadImex(const YamlNode& root) {
    const YamlNode* imex = reading_.MapAt(root, "imex", "imex");
    if (imex == nullptr) return;
    reading_.Note(*imex, "imex", "channels between nodes are not part of a spec");
    const YamlNode* ids = reading_.ListAt(*imex, "channelIDs", "imex.channelIDs");
    if (ids == nullptr) return;
    if (ids->items.size() > 1 ||
        (ids->items.size() == 1 && (!ids->items[0].IsScalar() || ids->items[0].scalar != "0"))) {
      reading_.Add(*ids, "imex.channelIDs is neither [] nor [0]", "channelIDs: [0]");
    }
  }

  std::vector<Resource> ReadShared(const YamlNode& shared, const std::string& path, bool mps) {
    reading_.CheckKeys(shared, path,
                       {"renameByDefault", "failRequestsGreaterThanOne", "resources", "replicas"},
                       true);
    if (const YamlNode* rename = shared.Find("renameByDefault"); rename != nullptr) {
      if (reading_.Bool(*rename, path + ".renameByDefault").value_or(false)) {
        reading_.Note(*rename, path + ".renameByDefault",
                      "resources have no names in a spec, so none becomes .shared");
      }
    }
    if (const YamlNode* fail = shared.Find("failRequestsGreaterThanOne"); fail != nullptr) {
      reading_.Bool(*fail, path + ".failRequestsGreaterThanOne");
      reading_.Note(*fail, path + ".failRequestsGreaterThanOne",
                    "a workload says what it needs, and two shares of one GPU are never given as "
                    "if they were more");
    }
    std::vector<Resource> resources;
    const YamlNode* list = shared.Find("resources");
    const YamlNode* bare = shared.Find("replicas");
    if ((list == nullptr || list->IsNull()) && bare != nullptr) {
      Resource resource;
      resource.node = &shared;
      resource.name = "nvidia.com/gpu";
      if (ReadReplicas(*bare, path, mps, &resource)) resources.push_back(resource);
      reading_.Note(*bare, path + ".replicas",
                    "the plugin refuses this for want of resources:; taken as resources: [{name: "
                    "nvidia.com/gpu, replicas: " +
                        bare->scalar + "}]");
      return resources;
    }
    if (list == nullptr || list->IsNull() || (list->IsSequence() && list->items.empty())) {
      reading_.Add(list == nullptr ? shared : *list, path + ": no resources specified",
                   "resources: [{name: nvidia.com/gpu, replicas: 4}]");
      return resources;
    }
    if (!list->IsSequence()) {
      reading_.Add(*list, fmt::format("{}.resources is {}, not a list", path, Describe(*list)));
      return resources;
    }
    if (bare != nullptr) {
      reading_.Note(*bare, path + ".replicas", "the plugin reads it in resources only");
    }
    for (size_t i = 0; i < list->items.size(); ++i) {
      auto one = ReadResource(list->items[i], fmt::format("{}.resources[{}]", path, i), mps);
      if (one) resources.push_back(std::move(*one));
    }
    return resources;
  }

  std::optional<Resource> ReadResource(const YamlNode& node, const std::string& path, bool mps) {
    if (!node.IsMap()) {
      reading_.Add(node, fmt::format("{} is {}, not a map", path, Describe(node)),
                   "{name: nvidia.com/gpu, replicas: 4}");
      return std::nullopt;
    }
    reading_.CheckKeys(node, path, {"name", "replicas", "rename", "devices"}, true);
    Resource resource;
    resource.node = &node;
    bool good = ReadName(node, path, &resource);
    const YamlNode* replicas = node.Find("replicas");
    if (replicas == nullptr || replicas->IsNull()) {
      reading_.Add(node, path + " has no replicas", "add replicas: 4");
      good = false;
    } else {
      good = ReadReplicas(*replicas, path, mps, &resource) && good;
    }
    if (const YamlNode* rename = node.Find("rename"); rename != nullptr) {
      reading_.Text(*rename, path + ".rename");
      reading_.Note(*rename, path + ".rename", "the plugin does not use it either");
    }
    if (const YamlNode* devices = node.Find("devices"); devices != nullptr) {
      good = ReadDevices(*devices, path + ".devices", &resource) && good;
    }
    return good ? std::optional(resource) : std::nullopt;
  }

  bool ReadName(const YamlNode& node, const std::string& path, Resource* resource) {
    const YamlNode* name = node.Find("name");
    if (name == nullptr || name->IsNull() || (name->IsScalar() && name->scalar.empty())) {
      reading_.Add(node, path + " has no name", "add name: nvidia.com/gpu");
      return false;
    }
    const auto text = reading_.Text(*name, path + ".name");
    if (!text) return false;
    const bool prefixed = text->rfind(kPrefix, 0) == 0;
    resource->name = prefixed ? *text : kPrefix + *text;
    if (resource->name.size() > 63) {
      reading_.Add(*name, fmt::format("{}.name is longer than 63 characters", path));
      return false;
    }
    if (!IsSubdomain(std::string_view(resource->name).substr(std::string_view(kPrefix).size()))) {
      reading_.Add(*name, fmt::format("{}.name: {} is no name of a resource", path, Quoted(*text)),
                   "small letters, digits, '-' and '.', as in nvidia.com/gpu");
      return false;
    }
    return true;
  }

  bool ReadReplicas(const YamlNode& node, const std::string& path, bool mps, Resource* resource) {
    const auto number = reading_.Integer(node, path + ".replicas");
    if (!number) return false;
    if (*number < 2) {
      reading_.Add(node,
                   fmt::format("{}: number of replicas must be >= 2, and is {}", path, *number),
                   "a GPU that is not shared needs no entry");
      return false;
    }
    if (*number > kMostReplicas) {
      reading_.Add(node,
                   fmt::format("{}: {} replicas are more than {}", path, *number, kMostReplicas));
      return false;
    }
    if (mps && *number > kMostMpsReplicas) {
      reading_.Add(node,
                   fmt::format("{}: one MPS server takes at most {} clients, not {}", path,
                               kMostMpsReplicas, *number),
                   "use 48 replicas or fewer");
      return false;
    }
    resource->replicas = *number;
    return true;
  }

  bool ReadDevices(const YamlNode& node, const std::string& path, Resource* resource) {
    if (node.IsSequence()) {
      bool good = true;
      std::set<std::string> named;
      for (const YamlNode& one : node.items) {
        if (!one.IsScalar() || !IsDeviceReference(one.scalar)) {
          reading_.Add(one, fmt::format("{}: {} names no device", path, Describe(one)),
                       "an index (0), a MIG device of one (0:1), GPU-<uuid> or MIG-<uuid>");
          good = false;
        } else {
          named.insert(one.scalar);
        }
      }
      if (good && named.empty()) {
        reading_.Add(node, path + " is an empty list", "devices: all");
        return false;
      }
      resource->devices = static_cast<int64_t>(named.size());
      reading_.Note(node, path,
                    "the plugin shares all devices whatever is listed here, and a spec does not "
                    "say which GPU: as many are taken as are listed, wherever they are");
      return good;
    }
    if (node.IsScalar() && node.scalar == "all") return true;
    if (node.IsScalar() && !node.quoted && AllDigits(node.scalar) && node.scalar.size() < 5 &&
        node.scalar.find_first_not_of('0') != std::string::npos) {
      resource->devices = std::stoi(node.scalar);
      reading_.Note(node, path, "the plugin shares all devices; as many are taken as it says");
      return true;
    }
    reading_.Add(node,
                 fmt::format("{} is {}, not all, a number above 0 or a list", path, Describe(node)),
                 "devices: all");
    return false;
  }

  void CheckMps(const YamlNode& mps, const YamlNode& root, const std::vector<Resource>& resources) {
    if (strategy_ == "mixed") {
      const YamlNode* at = root.Find("flags")->Find("migStrategy");
      reading_.Add(*at, "sharing.mps is not possible with migStrategy mixed",
                   "share MIG devices by timeSlicing, or leave MIG to another node");
    }
    const YamlNode* flags = root.Find("flags");
    if (flags == nullptr || !flags->IsMap() || flags->Find("mpsRoot") == nullptr) {
      reading_.Note(mps, "flags.mpsRoot",
                    "not given; the plugin alone would refuse MPS without it, and its Helm chart "
                    "sets it. Tranche keeps the directories of MPS itself");
    }
    for (const Resource& resource : resources) {
      if (resource.name.rfind(kMigPrefix, 0) == 0) {
        reading_.Add(*resource.node, "MPS on MIG devices is not possible: " + resource.name,
                     "share nvidia.com/gpu, or MIG devices by timeSlicing");
      }
      for (const TargetGpu& gpu : TargetsOf(reading_)) {
        if (IsBeforeVolta(gpu) && resource.replicas > kMostMpsReplicasBeforeVolta) {
          reading_.Add(*resource.node,
                       fmt::format("{} takes at most {} clients of MPS, not {}", gpu.model,
                                   kMostMpsReplicasBeforeVolta, resource.replicas));
          break;
        }
      }
    }
  }

  bool IsBeforeVolta(const TargetGpu& gpu) const {
    for (const CatalogGpu& known : reading_.catalog().gpus()) {
      if (known.key != gpu.model || known.compute_capability.empty()) continue;
      return known.compute_capability[0] < '7' && known.compute_capability.find('.') == 1;
    }
    return false;
  }

  // What the file is meant for: models with how many of each; "" and one when nobody said.
  std::map<std::string, std::pair<int, Bytes>> Gpus(const Resource& resource) {
    std::map<std::string, std::pair<int, Bytes>> gpus;
    int64_t left = resource.devices.value_or(INT64_MAX);
    for (const TargetGpu& gpu : TargetsOf(reading_)) {
      if (left-- <= 0) break;
      auto& [count, memory] = gpus[gpu.model];
      memory = count == 0 ? gpu.memory : std::min(memory, gpu.memory);
      ++count;
    }
    if (!gpus.empty()) return gpus;
    const SmallestGpu smallest = SmallestOf(reading_.catalog());
    gpus[""] = {static_cast<int>(resource.devices.value_or(1)), smallest.memory};
    reading_.Note(*resource.node, "memory",
                  fmt::format("the file says nothing of memory, so a part is that of the smallest "
                              "GPU known ({}); --gpu MODEL:COUNT or --machine FILE says which GPUs "
                              "are meant{}",
                              smallest.model, resource.devices ? "" : ", and how many"));
    return gpus;
  }

  void AddShared(const Resource& resource, Mechanism mechanism) {
    if (resource.name.rfind(kMigPrefix, 0) == 0) {
      AddSharedSlice(resource);
      return;
    }
    for (const auto& [model, count_and_memory] : Gpus(resource)) {
      const auto& [count, memory] = count_and_memory;
      DraftWorkload workload;
      workload.name = LabelOf(std::string_view(resource.name).substr(std::string(kPrefix).size()));
      workload.comment =
          fmt::format("{}: {} replicas of each GPU", resource.name, resource.replicas);
      workload.gpu = model;
      workload.mechanism = mechanism;
      workload.replicas = static_cast<int>(resource.replicas) * count;
      workload.memory = Bytes{memory.value / static_cast<uint64_t>(resource.replicas)};
      if (mechanism == Mechanism::kMps) {
        workload.isolation = "process";
        // In whole percents, as the plugin tells the MPS server.
        workload.compute = static_cast<double>(100 / resource.replicas) / 100;
      } else {
        workload.isolation = "none";
        reading_.Note(*resource.node, "memory",
                      "time-slicing limits no memory; a part of the GPU is planned for each "
                      "replica, so that they fit together");
      }
      reading_.draft().Add(std::move(workload));
    }
  }

  void AddSharedSlice(const Resource& resource) {
    const std::string profile = resource.name.substr(std::string(kMigPrefix).size());
    const auto name = ParseProfileName(profile);
    if (!name) {
      reading_.Add(*resource.node, Quoted(resource.name) + " is no MIG profile",
                   "a profile looks like mig-1g.10gb");
      return;
    }
    const MigSlice slice = MigSliceOf(name->plain(), "", reading_);
    DraftWorkload workload;
    workload.name = LabelOf("mig-" + profile);
    workload.comment =
        fmt::format("{}: {} replicas of each slice", resource.name, resource.replicas);
    workload.isolation = "none";
    workload.mechanism = Mechanism::kTimeSlicing;
    workload.replicas = static_cast<int>(resource.replicas * resource.devices.value_or(1));
    workload.memory = Bytes{slice.memory.value / static_cast<uint64_t>(resource.replicas)};
    reading_.Note(*resource.node, resource.name,
                  "a spec does not say that a MIG slice is shared in turn: taken as turns on a "
                  "GPU, each with its part of the slice's memory; how many such slices there are "
                  "is not in the file");
    reading_.draft().Add(std::move(workload));
  }

  void AddWholeGpus(const YamlNode& root) {
    Resource whole;
    whole.node = &root;
    reading_.Note(root, "sharing", "none: each GPU is given whole");
    for (const auto& [model, count_and_memory] : Gpus(whole)) {
      DraftWorkload workload;
      workload.name = "gpu";
      workload.comment = "nvidia.com/gpu: a whole GPU";
      workload.isolation = "hardware";
      workload.mechanism = Mechanism::kExclusive;
      workload.gpu = model;
      workload.memory = count_and_memory.second;
      workload.replicas = count_and_memory.first;
      reading_.draft().Add(std::move(workload));
    }
  }

  Reading& reading_;
  std::optional<std::string> strategy_;
};

}  // namespace

void ReadDevicePlugin(const YamlNode& root, Reading& reading) { PluginReader(reading).Run(root); }

}  // namespace tranche::importing
