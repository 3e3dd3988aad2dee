#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "stage/import/formats.h"
#include "stage/import/targets.h"

namespace tranche::importing {
namespace {

bool IsName(std::string_view text) {
  return !text.empty() && text.size() <= 64 && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
  });
}

struct Limits {
  std::optional<Bytes> memory;
  std::optional<double> compute;
  bool any() const { return memory || compute; }
};

class MpsReader {
 public:
  explicit MpsReader(Reading& reading) : reading_(reading) {}

  void Run(const YamlNode& root) {
    reading_.CheckKeys(root, "", {"schema_version", "servers", "features"}, false);
    const YamlNode* version = root.Find("schema_version");
    if (version == nullptr) {
      reading_.NoteAt(0, "schema_version", "not given; read as 1.0");
    } else if (version->scalar != "1.0") {
      reading_.Add(*version, "schema_version " + Describe(*version) + " is not known",
                   "schema_version = \"1.0\"");
    }
    if (const YamlNode* features = root.Find("features"); features != nullptr) {
      reading_.Note(*features, "features",
                    "Tranche turns on what it needs of MPS where the driver has it");
    }
    const YamlNode* servers = reading_.MapAt(root, "servers", "servers");
    if (servers == nullptr || servers->members.empty()) {
      if (reading_.ok()) reading_.Add(root, "the file names no server", "[servers.NAME]");
      return;
    }
    for (const YamlMember& member : servers->members) ReadServer(member);
  }

 private:
  bool CheckName(const YamlNode& key, const std::string& path) {
    if (IsName(key.scalar)) return true;
    reading_.Add(key, fmt::format("{} is no name in MPS", path),
                 "1 to 64 small letters, digits and '_'");
    return false;
  }

  Limits ReadLimits(const YamlNode& map, const std::string& path) {
    Limits limits;
    if (const YamlNode* memory = map.Find("pinned_memory_limit"); memory != nullptr) {
      limits.memory = Memory(*memory, path + ".pinned_memory_limit");
    }
    if (const YamlNode* compute = map.Find("active_thread_percentage"); compute != nullptr) {
      double percent = 0;
      const char* const end = compute->scalar.data() + compute->scalar.size();
      const auto parsed = std::from_chars(compute->scalar.data(), end, percent);
      if (!compute->IsScalar() || parsed.ec != std::errc() || parsed.ptr != end || percent <= 0 ||
          percent > 100) {
        reading_.Add(*compute, fmt::format("{}.active_thread_percentage is {}, not 1 to 100", path,
                                           Describe(*compute)));
      } else {
        limits.compute = percent / 100;
      }
    }
    if (const YamlNode* priority = map.Find("client_priority"); priority != nullptr) {
      if (priority->scalar != "0" && priority->scalar != "1") {
        reading_.Add(*priority, fmt::format("{}.client_priority is {}, not 0 or 1", path,
                                            Describe(*priority)));
      } else if (priority->scalar == "1") {
        reading_.Note(*priority, path + ".client_priority",
                      "a hint to the driver that a spec does not give");
      }
    }
    return limits;
  }

  std::optional<Bytes> Memory(const YamlNode& node, const std::string& path) {
    static const std::string kUnits = "KMG";
    uint64_t number = 0;
    const char* const end = node.scalar.data() + node.scalar.size();
    const auto parsed = std::from_chars(node.scalar.data(), end, number);
    const size_t unit = parsed.ptr + 1 == end ? kUnits.find(*parsed.ptr) : std::string::npos;
    if (!node.IsScalar() || parsed.ec != std::errc() || unit == std::string::npos || number == 0 ||
        number > (uint64_t{1} << 40) >> (10 * unit)) {
      reading_.Add(node, fmt::format("{} is {}, not a size", path, Describe(node)),
                   "a whole number with K, M or G, as in \"10G\"");
      return std::nullopt;
    }
    return Bytes{number << (10 * (unit + 1))};
  }

  void ReadServer(const YamlMember& member) {
    const std::string path = "servers." + member.key.scalar;
    const bool good_name = CheckName(member.key, path);
    const YamlNode& server = member.value;
    if (!server.IsMap()) {
      reading_.Add(server, fmt::format("{} is {}, not a table", path, Describe(server)));
      return;
    }
    reading_.CheckKeys(server, path,
                       {"allowed_devices", "pinned_memory_limit", "active_thread_percentage",
                        "client_priority", "uid", "locality_domains", "namespaces", "devices"},
                       false);
    const Limits own = ReadLimits(server, path);
    const int gpus = ReadDevices(server, path);
    if (const YamlNode* uid = server.Find("uid"); uid != nullptr) {
      reading_.Integer(*uid, path + ".uid");
      reading_.Note(*uid, path + ".uid", "a workload runs as whoever applies the spec");
    }
    if (const YamlNode* locality = server.Find("locality_domains"); locality != nullptr) {
      if (reading_.Bool(*locality, path + ".locality_domains").value_or(false)) {
        reading_.Note(*locality, path + ".locality_domains", "is not part of a spec");
      }
    }
    const YamlNode* namespaces = reading_.MapAt(server, "namespaces", path + ".namespaces");
    const bool has_default = namespaces != nullptr && namespaces->Find("default") != nullptr;
    const bool alone = namespaces == nullptr || namespaces->members.empty();
    if (good_name && (alone || (own.any() && !has_default))) {
      // What a server limits binds the clients that name no namespace.
      AddWorkload(member.key, member.key.scalar, own, gpus);
    }
    if (alone) return;
    for (const YamlMember& one : namespaces->members) {
      const std::string inner = path + ".namespaces." + one.key.scalar;
      const bool good = CheckName(one.key, inner) && good_name;
      if (!one.value.IsMap()) {
        reading_.Add(one.value, fmt::format("{} is {}, not a table", inner, Describe(one.value)));
        continue;
      }
      reading_.CheckKeys(one.value, inner,
                         {"pinned_memory_limit", "active_thread_percentage", "client_priority"},
                         false);
      Limits limits = ReadLimits(one.value, inner);
      if (one.key.scalar == "default") {
        if (!limits.memory) limits.memory = own.memory;
        if (!limits.compute) limits.compute = own.compute;
      } else if (!limits.any()) {
        reading_.Note(one.key, inner,
                      "has no limits, so MPS would give it the whole GPU whatever its server says");
      }
      if (good) AddWorkload(one.key, member.key.scalar + "-" + one.key.scalar, limits, gpus);
    }
  }

  // How many GPUs the server is for.
  int ReadDevices(const YamlNode& server, const std::string& path) {
    int gpus = 1;
    if (const YamlNode* allowed = server.Find("allowed_devices"); allowed != nullptr) {
      if (const auto text = reading_.Text(*allowed, path + ".allowed_devices")) {
        gpus = 1 + static_cast<int>(std::count(text->begin(), text->end(), ','));
      }
      reading_.Note(*allowed, path + ".allowed_devices",
                    "a spec does not say which GPU: as many shares are asked for, wherever they "
                    "fit");
    }
    const YamlNode* devices = reading_.ListAt(server, "devices", path + ".devices");
    if (devices == nullptr) return gpus;
    for (size_t i = 0; i < devices->items.size(); ++i) {
      const std::string inner = fmt::format("{}.devices[{}]", path, i);
      const YamlNode& device = devices->items[i];
      if (!device.IsMap()) {
        reading_.Add(device, fmt::format("{} is {}, not a table", inner, Describe(device)));
        continue;
      }
      reading_.CheckKeys(device, inner, {"uuid", "sm_partitions"}, true);
      if (device.Find("sm_partitions") != nullptr) {
        reading_.Note(device, inner + ".sm_partitions",
                      "chunks are of another size on each GPU; say compute: 25% instead");
      }
    }
    return gpus;
  }

  void AddWorkload(const YamlNode& at, const std::string& name, const Limits& limits, int gpus) {
    DraftWorkload workload;
    workload.name = LabelOf(name);
    workload.isolation = "process";
    workload.mechanism = Mechanism::kMps;
    workload.memory = limits.memory;
    workload.compute = limits.compute;
    workload.replicas = gpus;
    if (!workload.memory) {
      const std::vector<TargetGpu> targets = TargetsOf(reading_);
      const SmallestGpu smallest = SmallestOf(reading_.catalog());
      const Bytes whole = targets.empty() ? smallest.memory : targets.front().memory;
      const double share = limits.compute.value_or(1);
      workload.memory = Bytes{static_cast<uint64_t>(static_cast<double>(whole.value) * share)};
      reading_.Note(at, "memory",
                    fmt::format("has no pinned_memory_limit, and a spec needs one: taken as its "
                                "share of {}",
                                targets.empty() ? "the smallest GPU known (" + smallest.model + ")"
                                                : "the GPU"));
    } else {
      reading_.Note(at, "pinned_memory_limit",
                    "is of each process; in a spec it is of the workload as a whole");
    }
    reading_.draft().Add(std::move(workload));
  }

  Reading& reading_;
};

}  // namespace

void ReadMps(const YamlNode& root, Reading& reading) { MpsReader(reading).Run(root); }

}  // namespace tranche::importing
