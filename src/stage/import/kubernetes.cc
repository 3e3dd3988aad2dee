#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "model/spec_rules.h"
#include "stage/import/claims.h"
#include "stage/import/formats.h"
#include "stage/import/targets.h"

namespace tranche::importing {
namespace {

constexpr std::string_view kPrefix = "nvidia.com/";
constexpr std::string_view kMigPrefix = "nvidia.com/mig-";
constexpr int64_t kMostGpus = kMaxGpusPerWorkload;

const std::map<std::string, std::string>& AnnotationReasons() {
  static const std::string kPlacement = "where it goes is the plan's to find";
  static const std::map<std::string, std::string> kReasons = {
      {"nvidia.com/nouse-gputype", "a spec names the GPU that is wanted, not those that are not"},
      {"nvidia.com/use-gpuuuid", "a spec does not say which GPU"},
      {"nvidia.com/nouse-gpuuuid", "a spec does not say which GPU"},
      {"nvidia.com/numa-bind", kPlacement},
      {"hami.io/node-scheduler-policy", kPlacement},
      {"hami.io/gpu-scheduler-policy", kPlacement}};
  return kReasons;
}

const YamlNode* Below(const YamlNode* node, std::initializer_list<const char*> keys) {
  for (const char* key : keys) {
    if (node == nullptr || !node->IsMap()) return nullptr;
    node = node->Find(key);
  }
  return node;
}

std::string TextOf(const YamlNode* node) {
  return node != nullptr && node->IsScalar() ? node->scalar : "";
}

// What a container asks for, of the resources that are GPUs.
struct Ask {
  const YamlNode* at = nullptr;
  int64_t gpus = 0;
  bool shared = false;                // "nvidia.com/gpu.shared"
  std::optional<int64_t> memory_mib;  // HAMi
  std::optional<int64_t> memory_percent;
  std::optional<int64_t> cores_percent;
  std::vector<std::pair<std::string, int64_t>> slices;  // MIG profiles
  bool hami() const { return memory_mib || memory_percent || cores_percent; }
  bool any() const { return gpus > 0 || !slices.empty() || hami(); }
};

class PodReader {
 public:
  PodReader(Reading& reading, Claims& claims) : reading_(reading), claims_(claims) {}

  // `template_node` holds `spec` and perhaps `metadata`; `owner` names what made it.
  void Read(const YamlNode& owner, const YamlNode& template_node, int replicas) {
    const YamlNode* spec = template_node.Find("spec");
    if (spec == nullptr || !spec->IsMap()) {
      reading_.Add(template_node, "the pod has no spec", "spec: {containers: [...]}");
      return;
    }
    name_ = TextOf(Below(&owner, {"metadata", "name"}));
    if (name_.empty()) name_ = TextOf(Below(&owner, {"metadata", "generateName"}));
    team_ = TextOf(Below(&owner, {"metadata", "namespace"}));
    replicas_ = replicas;
    ReadMetadata(owner);
    if (&owner != &template_node) ReadMetadata(template_node);
    gpu_ = NodeSelectorGpu(*spec);
    const YamlNode* containers = spec->Find("containers");
    if (containers == nullptr || !containers->IsSequence() || containers->items.empty()) {
      reading_.Add(*spec, "the pod has no containers", "containers: [{name: main, image: ...}]");
      return;
    }
    if (const YamlNode* init = spec->Find("initContainers")) {
      reading_.Note(*init, "initContainers", "a workload has one program; nothing runs before it");
    }
    ReadClaims(*spec);
    std::vector<std::pair<const YamlNode*, Ask>> asking;
    size_t without = 0;
    for (const YamlNode& container : containers->items) {
      if (!container.IsMap()) {
        reading_.Add(container, "a container is " + Describe(container) + ", not a map");
        continue;
      }
      Ask ask = AskOf(container);
      if (ask.any() || !ClaimNames(container).empty()) {
        asking.emplace_back(&container, std::move(ask));
      } else {
        ++without;
      }
    }
    if (asking.empty()) {
      reading_.Note(owner, name_, "asks for no GPU, so it is not part of the spec");
      return;
    }
    if (without > 0) {
      reading_.Note(*containers, "containers",
                    fmt::format("{} of {} ask for no GPU and are left out", without, name_));
    }
    for (const auto& [container, ask] : asking) {
      AddContainer(*container, ask, asking.size() > 1);
    }
  }

 private:
  void ReadMetadata(const YamlNode& object) {
    const YamlNode* annotations = Below(&object, {"metadata", "annotations"});
    if (annotations == nullptr || !annotations->IsMap()) return;
    for (const YamlMember& member : annotations->members) {
      const std::string& key = member.key.scalar;
      if (key == "nvidia.com/vgpu-mode") {
        const auto mode = reading_.Word(member.value, key, {"hami-core", "mig", "mps"});
        if (mode) mode_ = *mode;
      } else if (key == "nvidia.com/use-gputype") {
        annotated_gpu_ = GpuNamed(member.value, key);
      } else if (const auto reason = AnnotationReasons().find(key);
                 reason != AnnotationReasons().end()) {
        reading_.Note(member.key, key, reason->second);
      }
    }
  }

  // The catalog's key, when the name means one GPU.
  std::string GpuNamed(const YamlNode& node, const std::string& path) {
    std::string text = node.scalar;
    const std::string shared = "-SHARED";
    if (text.size() > shared.size() && text.substr(text.size() - shared.size()) == shared) {
      text.resize(text.size() - shared.size());
    }
    if (const size_t mig = text.find("-MIG-"); mig != std::string::npos) text.resize(mig);
    const auto found = reading_.catalog().FindGpu(text);
    if (found) return (*found)->key;
    reading_.Note(node, path,
                  fmt::format("{} is not one GPU of the catalog, so any will do", Quoted(text)));
    return "";
  }

  std::string NodeSelectorGpu(const YamlNode& spec) {
    const YamlNode* selector = spec.Find("nodeSelector");
    if (selector == nullptr || !selector->IsMap()) return annotated_gpu_;
    std::string gpu = annotated_gpu_;
    for (const YamlMember& member : selector->members) {
      if (member.key.scalar == "nvidia.com/gpu.product") {
        gpu = GpuNamed(member.value, "nodeSelector." + member.key.scalar);
      } else {
        reading_.Note(member.key, "nodeSelector." + member.key.scalar, "a spec is for one machine");
      }
    }
    return gpu;
  }

  Ask AskOf(const YamlNode& container) {
    Ask ask;
    const YamlNode* resources = container.Find("resources");
    if (resources == nullptr || !resources->IsMap()) return ask;
    ask.at = resources;
    std::set<std::string> seen;
    // Of extended resources the limits are the requests.
    for (const char* part : {"limits", "requests"}) {
      const YamlNode* map = reading_.MapAt(*resources, part, std::string("resources.") + part);
      if (map == nullptr) continue;
      for (const YamlMember& member : map->members) {
        const std::string& key = member.key.scalar;
        if (key.rfind(kPrefix, 0) != 0 || !seen.insert(key).second) continue;
        ReadResource(key, member.value, &ask);
      }
    }
    return ask;
  }

  void ReadResource(const std::string& key, const YamlNode& node, Ask* ask) {
    const auto quantity = node.IsScalar() ? Quantity(node.scalar) : std::nullopt;
    if (!quantity || *quantity < 0) {
      reading_.Add(node, fmt::format("{} is {}, not a whole number", key, Describe(node)),
                   "GPUs and their parts are counted in whole numbers: \"1\"");
      return;
    }
    const auto percent = [&](std::optional<int64_t>* into) {
      if (*quantity > 100) {
        reading_.Add(node, fmt::format("{} is {}, more than 100", key, *quantity), "a percentage");
      } else if (*quantity > 0) {
        *into = *quantity;
      }
    };
    if (key == "nvidia.com/gpu" || key == "nvidia.com/gpu.shared") {
      if (*quantity > kMostGpus) {
        reading_.Add(node, fmt::format("{} GPUs are more than {}", *quantity, kMostGpus));
        return;
      }
      ask->gpus += *quantity;
      ask->shared = ask->shared || key != "nvidia.com/gpu";
    } else if (key == "nvidia.com/gpumem") {
      if (*quantity > int64_t{1} << 24) {
        reading_.Add(node, fmt::format("{} is {} MiB, more than any GPU has", key, *quantity),
                     "it is counted in MiB");
      } else if (*quantity > 0) {
        ask->memory_mib = *quantity;
      }
    } else if (key == "nvidia.com/gpumem-percentage") {
      percent(&ask->memory_percent);
    } else if (key == "nvidia.com/gpucores") {
      percent(&ask->cores_percent);
    } else if (key == "nvidia.com/priority") {
      if (*quantity == 1) {
        reading_.Note(node, key,
                      "who goes first is not part of a spec; preemptible: true lets a "
                      "workload be stopped for others");
      }
    } else if (key.rfind(kMigPrefix, 0) == 0) {
      const auto profile = ParseProfileName(std::string_view(key).substr(kMigPrefix.size()));
      if (!profile) {
        reading_.Add(node, Quoted(key) + " is no MIG profile", "as in nvidia.com/mig-1g.10gb");
      } else if (*quantity > 1000) {
        reading_.Add(node, fmt::format("{} slices are more than 1000", *quantity));
      } else if (*quantity > 0) {
        ask->slices.emplace_back(profile->plain(), *quantity);
      }
    } else {
      reading_.Note(node, key, "is no resource that import knows");
    }
  }

  void ReadClaims(const YamlNode& spec) {
    pod_claims_.clear();
    const YamlNode* list = reading_.ListAt(spec, "resourceClaims", "resourceClaims");
    if (list == nullptr) return;
    for (const YamlNode& one : list->items) {
      const std::string name = TextOf(one.Find("name"));
      const std::string claim = TextOf(one.Find("resourceClaimName"));
      const std::string made_of = TextOf(one.Find("resourceClaimTemplateName"));
      if (name.empty() || claim.empty() == made_of.empty()) {
        reading_.Add(one,
                     "a claim of a pod has a name and either a resourceClaimName or a "
                     "resourceClaimTemplateName");
        continue;
      }
      pod_claims_[name] = claim.empty() ? made_of : claim;
    }
  }

  // As the container calls them, each with the request it wants of it ("" = all).
  std::vector<std::pair<const YamlNode*, std::string>> ClaimNames(const YamlNode& container) {
    std::vector<std::pair<const YamlNode*, std::string>> names;
    const YamlNode* list = Below(&container, {"resources", "claims"});
    if (list == nullptr || !list->IsSequence()) return names;
    for (const YamlNode& one : list->items) {
      names.emplace_back(&one, TextOf(one.Find("request")));
    }
    return names;
  }

  void AddContainer(const YamlNode& container, const Ask& ask, bool one_of_several) {
    DraftWorkload workload;
    workload.name = LabelOf(name_);
    if (one_of_several) {
      workload.name = LabelOf(name_ + "-" + TextOf(container.Find("name")));
    }
    if (IsLabel(team_) && team_ != "default") workload.team = team_;
    workload.replicas = replicas_;
    workload.gpu = gpu_;
    ReadProgram(container, &workload);
    for (const auto& [profile, count] : ask.slices) {
      AddSlices(workload, profile, count, *ask.at);
    }
    if (ask.gpus > 0 || ask.hami()) AddGpus(workload, ask, container);
    for (const auto& [node, request] : ClaimNames(container)) {
      const auto found = pod_claims_.find(TextOf(node->Find("name")));
      if (found == pod_claims_.end()) {
        reading_.Add(*node,
                     fmt::format("the pod has no claim {}", Quoted(TextOf(node->Find("name")))),
                     "add it to resourceClaims");
        continue;
      }
      claims_.Use(found->second, request, workload, *node, reading_);
    }
  }

  void AddSlices(DraftWorkload workload, const std::string& profile, int64_t count,
                 const YamlNode& at) {
    const DraftWorkload slice = MigWorkload(profile, workload.gpu, 1, at, reading_);
    workload.isolation = slice.isolation;
    workload.mechanism = slice.mechanism;
    workload.memory = slice.memory;
    workload.compute = slice.compute;
    workload.comment = slice.comment;
    if (count > 1) {
      workload.replicas *= static_cast<int>(count);
      reading_.Note(at, workload.name,
                    fmt::format("asks for {} slices, of which one process can use only one: taken "
                                "as that many replicas",
                                count));
    }
    reading_.draft().Add(std::move(workload));
  }

  void AddGpus(DraftWorkload workload, const Ask& ask, const YamlNode& container) {
    const Bytes whole = WholeMemory(container, workload.gpu, ask);
    const bool part = ask.hami() || !mode_.empty();
    if (!part && !ask.shared) {
      workload.isolation = "hardware";
      workload.mechanism = Mechanism::kExclusive;
      workload.gpus = static_cast<int>(ask.gpus);
      workload.memory = whole;
      reading_.Note(*ask.at, "nvidia.com/gpu",
                    "taken as whole GPUs; where a device plugin shares them it is one share: "
                    "import the plugin's configuration for its size");
      reading_.draft().Add(std::move(workload));
      return;
    }
    if (!part) {
      workload.isolation = "none";
      workload.memory = Bytes{whole.value / 10};
      reading_.Note(*ask.at, "nvidia.com/gpu.shared",
                    "how large a share is stands in the device plugin's configuration; a tenth of "
                    "a GPU stands here for it");
      reading_.draft().Add(std::move(workload));
      return;
    }
    if (ask.memory_mib) {
      workload.memory = MiB(static_cast<uint64_t>(*ask.memory_mib));
    } else if (ask.memory_percent) {
      workload.memory = Bytes{whole.value / 100 * static_cast<uint64_t>(*ask.memory_percent)};
    } else {
      workload.memory = whole;
      reading_.Note(*ask.at, "nvidia.com/gpumem", "not given: HAMi gives all of a GPU's memory");
    }
    if (ask.cores_percent) workload.compute = static_cast<double>(*ask.cores_percent) / 100;
    if (ask.gpus > 1) {
      workload.isolation = "hardware";
      workload.mechanism = Mechanism::kExclusive;
      workload.gpus = static_cast<int>(ask.gpus);
      workload.compute.reset();
      // Of each GPU in HAMi, of each GPU in a spec.
      reading_.Note(*ask.at, "nvidia.com/gpu",
                    "shares of several GPUs: a workload has a share of one, or whole GPUs, and "
                    "whole ones are taken");
      reading_.draft().Add(std::move(workload));
      return;
    }
    workload.isolation = mode_ == "mig" ? "hardware" : "process";
    workload.mechanism = mode_ == "mig"   ? Mechanism::kMig
                         : mode_ == "mps" ? Mechanism::kMps
                                          : Mechanism::kFraction;
    reading_.draft().Add(std::move(workload));
  }

  Bytes WholeMemory(const YamlNode& container, const std::string& gpu, const Ask& ask) {
    for (const CatalogGpu& known : reading_.catalog().gpus()) {
      if (!gpu.empty() && known.key == gpu && known.memory) return Usable(*known.memory);
    }
    const std::vector<TargetGpu> targets = TargetsOf(reading_);
    if (!targets.empty()) {
      Bytes least = targets.front().memory;
      for (const TargetGpu& target : targets) least = std::min(least, target.memory);
      return least;
    }
    const SmallestGpu smallest = SmallestOf(reading_.catalog());
    if (!ask.memory_mib) {
      reading_.Note(container, "memory",
                    fmt::format("nothing says which GPUs there are, so a GPU is as large as the "
                                "smallest known ({}); --gpu MODEL says it",
                                smallest.model));
    }
    return smallest.memory;
  }

  void ReadProgram(const YamlNode& container, DraftWorkload* workload) {
    workload->image = TextOf(container.Find("image"));
    workload->command = Words(container, "command");
    std::vector<std::string> args = Words(container, "args");
    if (workload->command.empty()) {
      if (workload->image.empty() && !args.empty()) {
        reading_.Note(container, "args", "there is no image and no command that they belong to");
        args.clear();
      }
      workload->args = std::move(args);
    } else {
      workload->command.insert(workload->command.end(), args.begin(), args.end());
    }
    if (const YamlNode* env = reading_.ListAt(container, "env", "env")) {
      for (const YamlNode& one : env->items) ReadVariable(one, workload);
    }
    for (const char* key : {"envFrom", "volumeMounts", "volumeDevices", "livenessProbe",
                            "readinessProbe", "startupProbe", "lifecycle", "securityContext"}) {
      if (const YamlNode* node = container.Find(key)) {
        reading_.Note(*node, key, "is not part of a spec");
      }
    }
    const YamlNode* ports = container.Find("ports");
    if (ports == nullptr || !ports->IsSequence() || ports->items.empty()) return;
    const YamlNode* port = ports->items[0].Find("containerPort");
    const auto number = port != nullptr && port->IsScalar() ? Quantity(port->scalar) : std::nullopt;
    if (!number || *number < 1 || *number > 65535) {
      reading_.Add(ports->items[0], "containerPort is no port", "a number from 1 to 65535");
      return;
    }
    if (used_ports_.insert(static_cast<int>(*number)).second && *number + replicas_ - 1 <= 65535) {
      for (int i = 1; i < replicas_; ++i) used_ports_.insert(static_cast<int>(*number) + i);
      workload->port = static_cast<int>(*number);
    } else {
      reading_.Note(*port, "containerPort",
                    "on one machine each port is taken once; the workload needs ${PORT} in its "
                    "arguments");
    }
    if (ports->items.size() > 1) {
      reading_.Note(ports->items[1], "ports", "a workload has one port; the first is taken");
    }
  }

  std::vector<std::string> Words(const YamlNode& container, const char* key) {
    std::vector<std::string> words;
    const YamlNode* list = reading_.ListAt(container, key, key);
    if (list == nullptr) return words;
    for (const YamlNode& one : list->items) {
      if (const auto word = reading_.Text(one, key)) words.push_back(*word);
    }
    return words;
  }

  void ReadVariable(const YamlNode& node, DraftWorkload* workload) {
    const std::string name = node.IsMap() ? TextOf(node.Find("name")) : "";
    if (name.empty()) {
      reading_.Add(node, "a variable of env has no name", "{name: LOG_LEVEL, value: info}");
      return;
    }
    if (node.Find("valueFrom") != nullptr) {
      reading_.Note(node, "env." + name,
                    "comes from elsewhere in the cluster; env_from: FILE keeps secrets");
    } else if (!IsEnvName(name)) {
      reading_.Note(node, "env." + name, "is no name of a variable");
    } else {
      workload->env[name] = TextOf(node.Find("value"));
    }
  }

  Reading& reading_;
  Claims& claims_;
  std::string name_, team_, gpu_, annotated_gpu_, mode_;
  int replicas_ = 1;
  std::map<std::string, std::string> pod_claims_;

 public:
  std::set<int> used_ports_;
};

struct Template {
  const YamlNode* node = nullptr;
  int replicas = 1;
};

// The pod that an object is or makes; nothing for other objects.
std::optional<Template> TemplateOf(const YamlNode& object, const std::string& kind,
                                   Reading& reading) {
  if (kind == "Pod") return Template{&object, 1};
  const YamlNode* node = nullptr;
  const YamlNode* count = nullptr;
  if (kind == "CronJob") {
    node = Below(&object, {"spec", "jobTemplate", "spec", "template"});
    count = Below(&object, {"spec", "jobTemplate", "spec", "parallelism"});
    reading.Note(object, "CronJob", "when it runs is not part of a spec");
  } else if (kind == "Job") {
    node = Below(&object, {"spec", "template"});
    count = Below(&object, {"spec", "parallelism"});
  } else if (kind == "Deployment" || kind == "StatefulSet" || kind == "ReplicaSet" ||
             kind == "DaemonSet") {
    node = Below(&object, {"spec", "template"});
    count = Below(&object, {"spec", "replicas"});
  } else {
    return std::nullopt;
  }
  if (node == nullptr || !node->IsMap()) {
    reading.Add(object, kind + " has no template of a pod", "spec: {template: {spec: ...}}");
    return std::nullopt;
  }
  Template found{node, 1};
  if (count != nullptr) {
    const auto number = reading.Integer(*count, "replicas");
    if (number && (*number < 0 || *number > kMaxReplicas)) {
      reading.Add(*count, fmt::format("{} replicas", *number),
                  fmt::format("0 to {}", kMaxReplicas));
    } else if (number) {
      found.replicas = static_cast<int>(*number);
    }
  }
  return found;
}

}  // namespace

void ReadKubernetes(const std::vector<const YamlNode*>& objects, Reading& reading) {
  Claims claims;
  for (const YamlNode* object : objects) {
    if (!object->IsMap()) reading.Add(*object, "an object is " + Describe(*object) + ", not a map");
  }
  // Classes first: claims may name one that comes later in the file.
  for (const bool classes : {true, false}) {
    for (const YamlNode* object : objects) {
      if ((TextOf(object->Find("kind")) == "DeviceClass") == classes) claims.Read(*object, reading);
    }
  }
  std::set<int> used_ports;
  for (const YamlNode* object : objects) {
    if (!object->IsMap()) continue;
    const std::string kind = TextOf(object->Find("kind"));
    if (Claims::IsClaim(kind)) continue;
    const auto made = TemplateOf(*object, kind, reading);
    if (!made) {
      if (reading.ok() && kind != "CronJob") {
        reading.Note(*object, kind.empty() ? "object" : kind, "asks for no GPU");
      }
      continue;
    }
    if (made->replicas == 0) {
      reading.Note(*object, kind, "has no replicas, so it is not part of the spec");
      continue;
    }
    PodReader pod(reading, claims);
    pod.used_ports_ = used_ports;
    pod.Read(*object, *made->node, made->replicas);
    used_ports = pod.used_ports_;
  }
  claims.AddUnused(reading);
}

}  // namespace tranche::importing
