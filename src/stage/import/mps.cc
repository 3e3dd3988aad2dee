#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "model/mps_chunk.h"
#include "stage/import/formats.h"
#include "stage/import/targets.h"

namespace tranche::importing {
namespace {

bool IsName(std::string_view text) {
  return !text.empty() && text.size() <= 64 && std::all_of(text.begin(), text.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
  });
}

// Of a namespace that is to be of no use to anybody: less than a CUDA context takes.
constexpr Bytes kNoContext = MiB(64);

struct Limits {
  std::optional<Bytes> memory;
  std::optional<double> compute;
  bool own_sms = false;  // `compute` is a static partition
  bool any() const { return memory || compute; }
};

// SMs that are divided for good. The file does not say whose it is: who is called alike, as in what
// `tranche export mps` writes, else somebody of its own.
struct Partition {
  std::string name;
  double share = 0;  // of the SMs of its GPU
  int gpus = 1;      // that have such a one
  const YamlNode* at = nullptr;
  bool taken = false;
};

// "gpu0", as `tranche export mps` calls the server of a GPU: it says nothing of who its clients
// are.
bool IsNamedForGpu(const std::string& server) {
  return server.size() > 3 && server.rfind("gpu", 0) == 0 &&
         server.find_first_not_of("0123456789", 3) == std::string::npos;
}

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
    ReadFeatures(root);
    const YamlNode* servers = reading_.MapAt(root, "servers", "servers");
    if (servers == nullptr || servers->members.empty()) {
      if (reading_.ok()) reading_.Add(root, "the file names no server", "[servers.NAME]");
      return;
    }
    for (const YamlMember& member : servers->members) ReadServer(member);
  }

 private:
  void ReadFeatures(const YamlNode& root) {
    const YamlNode* features = reading_.MapAt(root, "features", "features");
    if (features == nullptr) return;
    reading_.CheckKeys(*features, "features", {"memacct", "context-share"}, false);
    for (const auto& [name, more] :
         {std::pair("memacct", "audit_log"), std::pair("context-share", "default_socket")}) {
      const std::string path = std::string("features.") + name;
      const YamlNode* feature = reading_.MapAt(*features, name, path);
      if (feature == nullptr) continue;
      reading_.CheckKeys(*feature, path, {"enabled", more}, false);
      if (const YamlNode* enabled = feature->Find("enabled"); enabled != nullptr) {
        reading_.Bool(*enabled, path + ".enabled");
      }
      if (const YamlNode* audit = feature->Find("audit_log"); audit != nullptr) {
        reading_.Bool(*audit, path + ".audit_log");
      }
    }
    reading_.Note(*features, "features",
                  "Tranche turns on what it needs of MPS where the driver has it");
  }

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
      if (!compute->IsScalar() || parsed.ec != std::errc() || parsed.ptr != end ||
          !(percent >= 1 && percent <= 100)) {
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
        reading_.Note(
            *priority, path + ".client_priority",
            "a hint to the driver; what is `preemptible: true` gets it, but may be stopped as "
            "well, so that this is yours to say");
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
    const int gpus = ReadAllowed(server, path);
    std::vector<Partition> partitions = ReadDevices(server, path);
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
    const bool alone = namespaces == nullptr || namespaces->members.empty();
    const bool has_default = !alone && namespaces->Find("default") != nullptr;
    const std::string prefix =
        !alone && IsNamedForGpu(member.key.scalar) ? "" : member.key.scalar + "-";
    Limits rest = own;  // of clients that name no namespace
    for (size_t i = 0; !alone && i < namespaces->members.size(); ++i) {
      const YamlMember& one = namespaces->members[i];
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
      const bool is_default = one.key.scalar == "default";
      if (is_default) {
        if (!limits.memory) limits.memory = own.memory;
        if (!limits.compute) limits.compute = own.compute;
        rest = limits;
        if (IsForNobody(limits, one.key, inner)) continue;
      } else if (!limits.any()) {
        reading_.Note(one.key, inner,
                      "has no limits, so MPS would give it the whole GPU whatever its server says");
      }
      if (!good) continue;
      int count = gpus;
      if (!is_default && !partitions.empty() &&
          std::none_of(partitions.begin(), partitions.end(),
                       [&](const Partition& other) { return other.name == one.key.scalar; })) {
        reading_.Note(one.key, inner,
                      "has no SM partition, beside others that have: Tranche gives all workloads "
                      "of a GPU one or none");
      }
      for (Partition& partition : partitions) {
        if (partition.name != one.key.scalar || partition.taken) continue;
        partition.taken = true;
        limits.compute = partition.share;
        limits.own_sms = true;
        count = partition.gpus;
        break;
      }
      AddWorkload(one.key, prefix + one.key.scalar, limits, count);
    }
    if (!good_name) return;
    bool others = false;
    for (const Partition& partition : partitions) {
      if (partition.taken) continue;
      others = true;
      Limits limits = IsTooLittle(rest) ? Limits{} : rest;
      limits.compute = partition.share;
      limits.own_sms = true;
      AddWorkload(*partition.at, prefix + partition.name, limits, partition.gpus);
    }
    // What a server limits binds the clients that name no namespace.
    const bool wanted = alone ? !others : own.any() && !has_default;
    if (wanted && !IsForNobody(own, member.key, path)) {
      AddWorkload(member.key, member.key.scalar, own, gpus);
    }
  }

  static bool IsTooLittle(const Limits& limits) {
    return limits.memory && *limits.memory < kNoContext;
  }

  // The way to say that every client shall name a namespace.
  bool IsForNobody(const Limits& limits, const YamlNode& at, const std::string& path) {
    if (!IsTooLittle(limits)) return false;
    reading_.Note(at, path,
                  fmt::format("{} hold no CUDA context, so that it is for nobody and no workload",
                              FormatBytes(*limits.memory)));
    return true;
  }

  // How many GPUs the server is for.
  int ReadAllowed(const YamlNode& server, const std::string& path) {
    const YamlNode* allowed = server.Find("allowed_devices");
    if (allowed == nullptr) return 1;
    const auto text = reading_.Text(*allowed, path + ".allowed_devices");
    reading_.Note(*allowed, path + ".allowed_devices",
                  "a spec does not say which GPU: as many shares are asked for, wherever they fit");
    return text ? 1 + static_cast<int>(std::count(text->begin(), text->end(), ',')) : 1;
  }

  std::vector<Partition> ReadDevices(const YamlNode& server, const std::string& path) {
    std::vector<Partition> partitions;
    const YamlNode* devices = reading_.ListAt(server, "devices", path + ".devices");
    if (devices == nullptr) return partitions;
    for (size_t i = 0; i < devices->items.size(); ++i) {
      const std::string inner = fmt::format("{}.devices[{}]", path, i);
      const YamlNode& device = devices->items[i];
      if (!device.IsMap()) {
        reading_.Add(device, fmt::format("{} is {}, not a table", inner, Describe(device)));
        continue;
      }
      reading_.CheckKeys(device, inner, {"uuid", "sm_partitions"}, false);
      const YamlNode* uuid = device.Find("uuid");
      if (uuid == nullptr) {
        reading_.Add(device, inner + " has no uuid", "uuid = \"GPU-...\"");
      } else {
        reading_.Text(*uuid, inner + ".uuid");
      }
      const YamlNode* list = reading_.ListAt(device, "sm_partitions", inner + ".sm_partitions");
      if (list == nullptr) continue;
      const Gpu* gpu = GpuNamed(uuid != nullptr ? uuid->scalar : "");
      if (gpu == nullptr) {
        reading_.Note(device, inner + ".sm_partitions",
                      "chunks are of another size on each GPU; --gpu MODEL says which it is");
      }
      for (size_t k = 0; k < list->items.size(); ++k) {
        ReadPartition(list->items[k], fmt::format("{}.sm_partitions[{}]", inner, k), gpu,
                      &partitions);
      }
    }
    return partitions;
  }

  // The GPU of the machine or the model that was named; nullptr when nobody said.
  const Gpu* GpuNamed(const std::string& uuid) const {
    const Machine* machine = reading_.options().machine;
    if (machine == nullptr || machine->gpus.empty()) return nullptr;
    const Gpu* known = machine->FindGpu(uuid);
    return known != nullptr ? known : &machine->gpus.front();
  }

  void ReadPartition(const YamlNode& node, const std::string& path, const Gpu* gpu,
                     std::vector<Partition>* partitions) {
    if (!node.IsMap()) {
      reading_.Add(node, fmt::format("{} is {}, not a table", path, Describe(node)));
      return;
    }
    reading_.CheckKeys(node, path, {"name", "chunks", "include_remainder"}, false);
    const YamlNode* name = node.Find("name");
    const YamlNode* chunks = node.Find("chunks");
    if (name == nullptr) reading_.Add(node, path + " has no name", "name = \"large\"");
    if (chunks == nullptr) reading_.Add(node, path + " has no chunks", "chunks = 4");
    const bool named = name != nullptr && CheckName(*name, path + ".name");
    // What is no number is a mistake already.
    const int64_t count =
        chunks != nullptr ? reading_.Integer(*chunks, path + ".chunks").value_or(1) : 1;
    if (count < 1) {
      reading_.Add(*chunks, fmt::format("{}.chunks is {}, not 1 or more", path, count));
      return;
    }
    if (const YamlNode* remainder = node.Find("include_remainder"); remainder != nullptr) {
      if (reading_.Bool(*remainder, path + ".include_remainder").value_or(false)) {
        reading_.Note(*remainder, path + ".include_remainder",
                      "a spec does not say who has the SMs that make no whole chunk");
      }
    }
    if (!named || chunks == nullptr || gpu == nullptr) return;
    const int chunk = gpu->compute_capability ? MpsChunkSms(*gpu->compute_capability) : 0;
    if (chunk == 0 || !gpu->sm_count) {
      reading_.Note(node, path,
                    fmt::format("how large a chunk of {} is, is not known", NameOf(*gpu)));
      return;
    }
    if (count > *gpu->sm_count / chunk) {
      reading_.Add(*chunks, fmt::format("{}.chunks is {}, and {} has {}", path, count, NameOf(*gpu),
                                        *gpu->sm_count / chunk));
      return;
    }
    const double share = static_cast<double>(count * chunk) / *gpu->sm_count;
    for (Partition& other : *partitions) {
      if (other.name != name->scalar || other.share != share) continue;
      ++other.gpus;
      return;
    }
    partitions->push_back({name->scalar, share, 1, name});
  }

  static const std::string& NameOf(const Gpu& gpu) {
    return gpu.model.empty() ? gpu.name : gpu.model;
  }

  void AddWorkload(const YamlNode& at, const std::string& name, const Limits& limits, int gpus) {
    DraftWorkload workload;
    workload.name = LabelOf(name);
    workload.isolation = limits.own_sms ? "{memory: cooperative, compute: driver}" : "process";
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
