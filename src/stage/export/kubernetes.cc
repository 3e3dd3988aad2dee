#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "base/quote.h"
#include "stage/export/formats.h"

namespace tranche::exporting {
namespace {

constexpr int kMostMpsReplicas = 48;

// Of the device plugin: a profile's "+" becomes a dot.
std::string MigResource(std::string profile) {
  std::replace(profile.begin(), profile.end(), '+', '.');
  return "nvidia.com/mig-" + profile;
}

std::string Resources(const Replica& replica) {
  const Slice& slice = replica.assignment->slice;
  switch (replica.mechanism()) {
    case Mechanism::kMig:
      return fmt::format("          {}: \"1\"\n", Quote(MigResource(slice.profile)));
    case Mechanism::kExclusive:
      return fmt::format("          nvidia.com/gpu: \"{}\"\n", 1 + slice.more_gpu_uuids.size());
    case Mechanism::kFraction: {
      std::string text =
          fmt::format("          nvidia.com/gpu: \"1\"\n          nvidia.com/gpumem: \"{}\"\n",
                      slice.memory.value >> 20);
      if (slice.compute_fraction < 1) {
        text += fmt::format("          nvidia.com/gpucores: \"{}\"\n",
                            std::max(1, static_cast<int>(slice.compute_fraction * 100 + 1e-6)));
      }
      return text;
    }
    default:
      return "          nvidia.com/gpu: \"1\"\n";
  }
}

std::string PodOf(const Replica& replica) {
  const Workload& workload = *replica.workload;
  std::string text =
      fmt::format("apiVersion: v1\nkind: Pod\nmetadata:\n  name: {}\n  labels:\n    app: {}\n",
                  replica.name, Quote(workload.name));
  if (replica.mechanism() == Mechanism::kFraction) {
    text += "  annotations:\n    nvidia.com/vgpu-mode: hami-core\n";
  }
  const bool serves = replica.port != 0;
  text +=
      fmt::format("spec:\n  restartPolicy: {}\n  containers:\n    - name: main\n      image: {}\n",
                  serves ? "Always" : "OnFailure", Quote(replica.image));
  if (!replica.entrypoint.empty()) text += "      command: " + QuoteList(replica.entrypoint) + "\n";
  if (!replica.arguments.empty()) text += "      args: " + QuoteList(replica.arguments) + "\n";
  std::map<std::string, std::string> env = replica.env;
  // Paths of this machine; the plugin sets its own.
  for (const char* name : {"CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT",
                           "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"}) {
    if (workload.env.count(name) == 0) env.erase(name);
  }
  if (!env.empty()) {
    text += "      env:\n";
    for (const auto& [name, value] : env) {
      text += fmt::format("        - name: {}\n          value: {}\n", name, Quote(value));
    }
  }
  if (serves) text += fmt::format("      ports:\n        - containerPort: {}\n", replica.port);
  return text + "      resources:\n        limits:\n" + Resources(replica);
}

std::string ServiceOf(const Workload& workload, int port) {
  return fmt::format(
      "apiVersion: v1\nkind: Service\nmetadata:\n  name: {0}\nspec:\n  selector:\n    app: {1}\n"
      "  ports:\n    - port: {2}\n      targetPort: {2}\n",
      workload.name, Quote(workload.name), port);
}

std::string Indented(const std::string& text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    out += "    " + text.substr(at, end - at) + "\n";
    at = end + 1;
  }
  return out;
}

std::string ConfigMap(const std::string& name, const std::string& config) {
  return fmt::format(
      "apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: {}\ndata:\n  config.yaml: |\n{}", name,
      Indented(config));
}

// How many share each GPU by one mechanism. The plugin knows one number for all GPUs of a node.
int ReplicasPerGpu(const std::vector<GpuUse>& uses, const char* mechanism, Exported* out) {
  size_t most = 0, least = SIZE_MAX;
  bool equal = true;
  for (const GpuUse& use : uses) {
    most = std::max(most, use.replicas.size());
    least = std::min(least, use.replicas.size());
    for (const Replica* replica : use.replicas) {
      const uint64_t first = use.replicas.front()->assignment->slice.memory.value;
      const uint64_t mine = replica->assignment->slice.memory.value;
      // Parts of a GPU are told apart from a GiB on.
      equal = equal && std::max(first, mine) - std::min(first, mine) < GiB(1).value;
    }
  }
  if (most > least) {
    out->notes.push_back(fmt::format(
        "the device plugin has one number of replicas for all GPUs of a node: {} for {}, where "
        "the plan has {} to {}",
        most, mechanism, least, most));
  }
  if (!equal) {
    out->notes.push_back(fmt::format(
        "the device plugin gives every replica under {} an equal part, where the plan's are "
        "unequal",
        mechanism));
  }
  return static_cast<int>(most);
}

std::string PluginConfig(const Replicas& replicas, Exported* out) {
  const auto served = GpusWith(Mechanism::kMps, replicas);
  const auto sliced = GpusWith(Mechanism::kTimeSlicing, replicas);
  const bool mig = !GpusWith(Mechanism::kMig, replicas).empty();
  std::string config = "version: v1\n";
  std::string flags;
  if (!served.empty() && mig) {
    out->notes.push_back(
        "the device plugin refuses MPS and mixed MIG on one node; its MPS part is left out");
  }
  if (mig) flags += "  migStrategy: mixed\n";
  const bool mps = !served.empty() && !mig;
  if (mps) flags += "  mpsRoot: /run/nvidia/mps\n";
  if (!flags.empty()) config += "flags:\n" + flags;
  const auto sharing = [&](const char* key, const std::vector<GpuUse>& uses, const char* name) {
    const int count = ReplicasPerGpu(uses, name, out);
    if (count < 2) {
      out->notes.push_back(fmt::format("one replica under {} needs no sharing", name));
      return;
    }
    if (key == std::string("mps") && count > kMostMpsReplicas) {
      out->notes.push_back(
          fmt::format("the device plugin takes at most {} replicas under MPS", kMostMpsReplicas));
      return;
    }
    if (config.find("sharing:") == std::string::npos) config += "sharing:\n";
    config += fmt::format(
        "  {}:\n    resources:\n      - name: nvidia.com/gpu\n        replicas: {}\n", key, count);
  };
  if (mps) sharing("mps", served, "MPS");
  if (!sliced.empty() && mps) {
    out->notes.push_back(
        "the device plugin uses MPS where both MPS and time-slicing are given; "
        "time-slicing needs nodes of its own");
  } else if (!sliced.empty()) {
    sharing("timeSlicing", sliced, "time-slicing");
  }
  return config == "version: v1\n" ? "" : config;
}

std::string MigPartedConfig(const ExportInput& input, const Replicas& replicas) {
  const auto uses = GpusWith(Mechanism::kMig, replicas);
  if (uses.empty()) return "";
  std::string config = "version: v1\nmig-configs:\n  tranche:\n";
  for (const GpuUse& use : uses) {
    std::map<std::string, int> counts;
    for (const Replica* replica : use.replicas) ++counts[replica->assignment->slice.profile];
    // What stays on the GPU and is not ours belongs to its layout too.
    if (use.gpu != nullptr) {
      for (const MigInstance& instance : use.gpu->mig_instances) {
        const bool ours =
            std::any_of(use.replicas.begin(), use.replicas.end(), [&](const Replica* replica) {
              return replica->assignment->slice.placement == instance.placement;
            });
        const bool goes =
            std::any_of(input.plan.steps.begin(), input.plan.steps.end(), [&](const Step& step) {
              return step.kind == StepKind::kDestroyInstance && step.gpu_uuid == use.uuid &&
                     step.slice && step.slice->placement == instance.placement;
            });
        if (!ours && !goes) ++counts[instance.profile];
      }
    }
    config += fmt::format("    - devices: [{}]\n      mig-enabled: true\n      mig-devices:\n",
                          use.index);
    for (const auto& [profile, count] : counts) {
      config += fmt::format("        \"{}\": {}\n", profile, count);
    }
  }
  return config;
}

}  // namespace

void ExportKubernetes(const ExportInput& input, const Replicas& replicas, Exported* out) {
  std::string pods;
  const auto separate = [&] { return pods.empty() ? "" : "---\n"; };
  std::set<std::string> served;
  for (const Replica& replica : replicas) {
    if (replica.image.empty()) {
      out->notes.push_back(replica.name + " names no image, so it is no pod");
      continue;
    }
    if (replica.mechanism() == Mechanism::kVgpu) {
      out->notes.push_back(replica.name + ": pods have no vGPU");
      continue;
    }
    if (replica.mechanism() == Mechanism::kFraction) {
      out->notes.push_back(replica.name + ": a part of a GPU is said as HAMi reads it");
    }
    if (replica.partition_sms > 0) {
      out->notes.push_back(replica.name +
                           ": the device plugin has no static partitions of MPS, so that its SMs "
                           "are not its own there");
    }
    pods += separate() + PodOf(replica);
    if (replica.port != 0 && served.insert(replica.workload->name).second) {
      pods += "---\n" + ServiceOf(*replica.workload, replica.port);
    }
  }
  const std::string plugin = PluginConfig(replicas, out);
  const std::string layout = MigPartedConfig(input, replicas);
  std::sort(out->notes.begin(), out->notes.end());
  out->notes.erase(std::unique(out->notes.begin(), out->notes.end()), out->notes.end());
  const std::string header = Header(input, "#");
  if (!pods.empty()) {
    out->files.push_back({"pods.yaml", header + Comments(out->notes, "#") + pods});
  }
  if (!plugin.empty()) {
    out->files.push_back(
        {"device-plugin.yaml", header + ConfigMap("tranche-device-plugin", plugin)});
  }
  if (!layout.empty()) {
    out->files.push_back({"mig-parted.yaml", header + ConfigMap("tranche-mig-parted", layout)});
  }
}

}  // namespace tranche::exporting
