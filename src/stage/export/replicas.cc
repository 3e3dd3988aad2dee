#include "stage/export/replicas.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <tuple>

namespace tranche::exporting {
namespace {

constexpr int kFirstPort = 8000;
constexpr const char* kPort = "${PORT}";
constexpr const char* kUtilization = "--gpu-memory-utilization";
constexpr int kMostOfSlice = 90;  // in hundredths

std::string WithPort(std::string text, int port) {
  for (size_t at = text.find(kPort); at != std::string::npos; at = text.find(kPort, at)) {
    text.replace(at, std::string(kPort).size(), std::to_string(port));
  }
  return text;
}

bool Serves(const Workload& workload) {
  const auto asks = [](const std::string& text) { return text.find(kPort) != std::string::npos; };
  return workload.engine != ServingEngine::kCommand || workload.port || !workload.route.empty() ||
         std::any_of(workload.command.begin(), workload.command.end(), asks) ||
         std::any_of(workload.args.begin(), workload.args.end(), asks);
}

// Engines that fetch checkpoints know a model by the repository that it was published in.
std::string PublishedName(const Workload& workload, const Catalog& catalog) {
  if (!workload.model || workload.model->name.empty()) return "";
  const Result<const CatalogModel*> model = catalog.FindModel(workload.model->name);
  if (!model) return workload.model->name;
  for (const std::string& alias : (*model)->aliases) {
    if (alias.find('/') != std::string::npos) return alias;
  }
  return workload.model->name;
}

void SetProgram(const ExportInput& input, Replica* replica) {
  const Workload& workload = *replica->workload;
  const std::string port = std::to_string(replica->port);
  const std::string model = PublishedName(workload, input.catalog);
  std::vector<std::string> rest = replica->assignment->engine_flags;
  rest.insert(rest.end(), workload.args.begin(), workload.args.end());
  // On a machine's own network only this machine may ask; in a container it is the container that
  // is published or not.
  std::vector<std::string> own, inside, outside;
  switch (workload.engine) {
    case ServingEngine::kCommand:
      replica->image = workload.image;
      if (!workload.command.empty()) {
        replica->program = workload.command;
        replica->entrypoint = {workload.command.front()};
        replica->arguments.assign(workload.command.begin() + 1, workload.command.end());
      } else {
        replica->arguments = rest;
      }
      return;
    case ServingEngine::kVllm:
      replica->image = "vllm/vllm-openai:latest";
      own = {"--port", port};
      outside = {"--host", "127.0.0.1"};
      replica->program = {"vllm", "serve"};
      replica->arguments = {"--model", model};
      if (!model.empty()) replica->program.push_back(model);
      if (model.empty()) replica->arguments.clear();
      break;
    case ServingEngine::kTriton:
      own = {"--http-port", port};
      outside = {"--http-address", "127.0.0.1"};
      replica->program = {"tritonserver"};
      replica->entrypoint = {"tritonserver"};
      break;
    case ServingEngine::kLlamaCpp:
      replica->image = "ghcr.io/ggml-org/llama.cpp:server-cuda";
      own = {"--port", port};
      inside = {"--host", "0.0.0.0"};
      outside = {"--host", "127.0.0.1"};
      replica->program = {"llama-server"};
      break;
    case ServingEngine::kModelServer:
      own = {"--port", port, "--model", model.empty() ? workload.name : model};
      replica->program = {"tranche-model-server"};
      break;
  }
  if (!workload.image.empty()) replica->image = workload.image;
  for (std::vector<std::string>* words : {&replica->program, &replica->arguments}) {
    const std::vector<std::string>& where = words == &replica->program ? outside : inside;
    words->insert(words->end(), where.begin(), where.end());
    words->insert(words->end(), own.begin(), own.end());
    words->insert(words->end(), rest.begin(), rest.end());
  }
}

// What stands behind the flag, as "--flag value" or "--flag=value", in hundredths.
std::optional<double> UtilizationIn(const std::vector<std::string>& words) {
  std::optional<double> found;
  for (size_t i = 0; i < words.size(); ++i) {
    std::string value;
    if (words[i] == kUtilization && i + 1 < words.size()) value = words[i + 1];
    if (words[i].rfind(std::string(kUtilization) + "=", 0) == 0) {
      value = words[i].substr(std::string(kUtilization).size() + 1);
    }
    if (value.empty()) continue;
    char* end = nullptr;
    const double number = std::strtod(value.c_str(), &end);
    found = *end == 0 && number > 0 ? number * 100 : 1e9;
  }
  return found;
}

void SetUtilization(int percent, std::vector<std::string>* words) {
  std::vector<std::string> kept;
  for (size_t i = 0; i < words->size(); ++i) {
    const std::string& word = (*words)[i];
    if (word == kUtilization) {
      ++i;
    } else if (word.rfind(std::string(kUtilization) + "=", 0) != 0) {
      kept.push_back(word);
    }
  }
  kept.push_back(kUtilization);
  kept.push_back(fmt::format("0.{:02}", percent));
  *words = std::move(kept);
}

void LimitVllm(const ExportInput& input, Replica* replica, std::vector<std::string>* notes) {
  if (!IsVllm(*replica)) return;
  const Bytes memory = GpuMemory(*replica, input.catalog);
  if (memory.value == 0) {
    notes->push_back(fmt::format("{}: the memory of its GPU is not known, so {} is left alone",
                                 replica->name, kUtilization));
    return;
  }
  const int most = UtilizationPercent(*replica, memory);
  const auto asked = UtilizationIn(replica->arguments);
  // Less is the user's own affair, more would be somebody else's memory.
  if (asked && *asked <= most) return;
  if (UtilizationIn(replica->workload->args)) {
    notes->push_back(fmt::format("{}: {} is lowered to 0.{:02}, which is what its slice holds",
                                 replica->name, kUtilization, most));
  }
  SetUtilization(most, &replica->arguments);
  if (!replica->program.empty()) SetUtilization(most, &replica->program);
}

std::optional<int> SmsOf(const Replica& replica, const Catalog& catalog) {
  if (replica.gpu != nullptr && replica.gpu->sm_count) return *replica.gpu->sm_count;
  const auto known = catalog.FindGpu(replica.assignment->gpu_model);
  return known ? (*known)->sm_count : std::nullopt;
}

// How it finds its server, and what it has there.
void SetMps(const ExportInput& input, Replica* replica, std::vector<std::string>* notes) {
  const Slice& slice = replica->assignment->slice;
  auto& env = replica->env;
  const bool own_sms =
      !slice.placement && replica->workload->isolation.axes.compute >= Guarantee::kDriver;
  if (const auto sms = SmsOf(*replica, input.catalog); own_sms && sms) {
    replica->partition_sms = static_cast<int>(std::lround(slice.compute_fraction * *sms));
  } else if (own_sms) {
    notes->push_back(fmt::format(
        "{}: how many SMs its GPU has is not at hand, so that it has no partition of its own but a "
        "ceiling for each of its processes",
        replica->name));
  }
  const auto percentage = MpsPercentage(*replica);
  if (percentage && replica->partition_sms == 0) {
    env["CUDA_MPS_ACTIVE_THREAD_PERCENTAGE"] = std::to_string(*percentage);
  }
  env["CUDA_MPS_PINNED_DEVICE_MEM_LIMIT"] = fmt::format("0={}M", slice.memory.value >> 20);
  env["CUDA_MPS_PIPE_DIRECTORY"] = MpsPipes(replica->assignment->gpu_index, slice.placement);
  if (replica->workload->preemptible) env["CUDA_MPS_CLIENT_PRIORITY"] = "1";
}

}  // namespace

bool Replica::shared() const {
  return mechanism() != Mechanism::kExclusive && mechanism() != Mechanism::kMig &&
         mechanism() != Mechanism::kVgpu;
}

bool IsVllm(const Replica& replica) {
  if (replica.workload->engine == ServingEngine::kVllm) return true;
  const auto has = [](const std::string& text) { return text.find("vllm") != std::string::npos; };
  return has(replica.image) ||
         std::any_of(replica.workload->command.begin(), replica.workload->command.end(), has);
}

bool IsTriton(const Replica& replica) {
  return replica.workload->engine == ServingEngine::kTriton ||
         replica.image.find("tritonserver") != std::string::npos;
}

Bytes GpuMemory(const Replica& replica, const Catalog& catalog) {
  // A client within an instance sees that.
  const MigProfile* profile = replica.in_instance() && replica.gpu != nullptr
                                  ? replica.gpu->FindProfile(replica.assignment->slice.profile)
                                  : nullptr;
  if (profile != nullptr && profile->memory.value > 0) return profile->memory;
  if (replica.gpu != nullptr && replica.gpu->memory_total.value > 0) {
    return replica.gpu->memory_total;
  }
  const auto known = catalog.FindGpu(replica.assignment->gpu_model);
  return known && (*known)->memory ? *(*known)->memory : Bytes{0};
}

int UtilizationPercent(const Replica& replica, Bytes gpu_memory) {
  if (!replica.shared()) return kMostOfSlice;
  // Of what tenants can have, of which the driver keeps a sixtieth.
  const uint64_t usable = std::max<uint64_t>(1, gpu_memory.value - gpu_memory.value / 60);
  const double share =
      static_cast<double>(replica.assignment->slice.memory.value) / static_cast<double>(usable);
  // Sizes are in whole MiB, so a third of a GPU is a little less than a third.
  return std::clamp(static_cast<int>(kMostOfSlice * share + 0.02), 1, kMostOfSlice);
}

std::vector<Replica> ReplicasOf(const ExportInput& input, bool own_addresses,
                                std::vector<std::string>* notes) {
  std::set<int> taken;
  std::map<std::string, int> chosen;
  for (const Workload& workload : input.plan.spec.workloads) {
    for (int i = 0; workload.port && i < workload.replicas; ++i) taken.insert(*workload.port + i);
  }
  int next = kFirstPort;
  std::vector<Replica> replicas;
  for (const Assignment& assignment : input.plan.assignments) {
    const auto workload =
        std::find_if(input.plan.spec.workloads.begin(), input.plan.spec.workloads.end(),
                     [&](const Workload& one) { return one.name == assignment.workload; });
    if (workload == input.plan.spec.workloads.end()) continue;
    Replica replica;
    replica.assignment = &assignment;
    replica.workload = &*workload;
    replica.name = fmt::format("{}-{}", assignment.workload, assignment.replica);
    for (const char c : replica.name) {
      replica.variable += c == '-' ? '_' : static_cast<char>(c >= 'a' && c <= 'z' ? c - 32 : c);
    }
    if (replica.variable[0] >= '0' && replica.variable[0] <= '9') {
      replica.variable = "_" + replica.variable;
    }
    const Slice& slice = assignment.slice;
    if (input.machine != nullptr) replica.gpu = input.machine->FindGpu(slice.gpu_uuid);
    if (slice.placement) {
      const MigInstance* instance = replica.gpu != nullptr && slice.placement
                                        ? replica.gpu->FindInstance(*slice.placement)
                                        : nullptr;
      if (instance != nullptr && instance->profile == slice.profile &&
          instance->compute_instances.size() == 1) {
        replica.device = instance->compute_instances.front().uuid;
      }
      // Who shares an instance has it from one variable.
      if (slice.mechanism == Mechanism::kMps)
        replica.variable = fmt::format("GPU{}_AT_{}", assignment.gpu_index, slice.placement->start);
    } else {
      replica.device = slice.gpu_uuid;
      for (const std::string& more : slice.more_gpu_uuids) replica.device += "," + more;
    }
    if (workload->port) {
      replica.port = *workload->port + (own_addresses ? 0 : assignment.replica);
    } else if (Serves(*workload) && own_addresses && chosen.count(workload->name) > 0) {
      replica.port = chosen[workload->name];
    } else if (Serves(*workload)) {
      while (taken.count(next) > 0) ++next;
      replica.port = chosen[workload->name] = next++;
    }
    SetProgram(input, &replica);
    LimitVllm(input, &replica, notes);
    for (std::vector<std::string>* words :
         {&replica.program, &replica.entrypoint, &replica.arguments}) {
      for (std::string& word : *words) word = WithPort(word, replica.port);
    }
    for (const auto& [name, value] : workload->env) {
      replica.env[name] = WithPort(value, replica.port);
    }
    if (slice.mechanism == Mechanism::kMps) SetMps(input, &replica, notes);
    if (!workload->env_from.empty()) {
      notes->push_back(
          fmt::format("{}: secrets are not exported; hand it {} by what your tool has for them",
                      replica.name, workload->env_from));
    }
    replicas.push_back(std::move(replica));
  }
  return replicas;
}

std::vector<GpuUse> GpusWith(Mechanism mechanism, const std::vector<Replica>& replicas) {
  std::vector<GpuUse> uses;
  for (const Replica& replica : replicas) {
    if (replica.mechanism() != mechanism) continue;
    const std::string& uuid = replica.assignment->slice.gpu_uuid;
    const std::optional<MigPlacement> instance =
        mechanism == Mechanism::kMps ? replica.assignment->slice.placement : std::nullopt;
    auto use = std::find_if(uses.begin(), uses.end(), [&](const GpuUse& one) {
      return one.uuid == uuid && one.instance == instance;
    });
    if (use == uses.end()) {
      uses.push_back({uuid, replica.assignment->gpu_index, replica.gpu, {}, instance});
      use = uses.end() - 1;
    }
    use->replicas.push_back(&replica);
  }
  std::sort(uses.begin(), uses.end(), [](const GpuUse& a, const GpuUse& b) {
    return std::tie(a.index, a.instance) < std::tie(b.index, b.instance);
  });
  return uses;
}

MpsMost MostOfClients(const GpuUse& use) {
  MpsMost most;
  for (const Replica* replica : use.replicas) {
    most.memory = std::max(most.memory, replica->assignment->slice.memory);
    most.thread_percentage =
        std::max(most.thread_percentage, MpsPercentage(*replica).value_or(100));
  }
  return most;
}

bool IsPartitioned(const GpuUse& use) {
  return std::any_of(use.replicas.begin(), use.replicas.end(),
                     [](const Replica* replica) { return replica->partition_sms > 0; });
}

std::string ShellWord(const std::string& text) {
  const bool plain =
      !text.empty() && text.find_first_not_of(
                           "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
                           "_-./:=,@%+") == std::string::npos;
  if (plain) return text;
  std::string out = "'";
  for (const char c : text) {
    if (c == '\'') {
      out += "'\\''";
    } else {
      out += c;
    }
  }
  return out + "'";
}

std::string XmlText(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&':
        out += "&amp;";
        break;
      case '<':
        out += "&lt;";
        break;
      case '>':
        out += "&gt;";
        break;
      case '\'':
        out += "&apos;";
        break;
      case '"':
        out += "&quot;";
        break;
      default:
        out += c;
    }
  }
  return out;
}

std::string Header(const ExportInput& input, const std::string& comment) {
  return fmt::format("{} Written by tranche export, from plan {}.\n", comment, input.plan.id);
}

std::string Comments(const std::vector<std::string>& notes, const std::string& comment) {
  std::string out;
  for (const std::string& note : notes) {
    std::string line = note;
    std::replace(line.begin(), line.end(), '\n', ' ');
    out += comment + " " + line + "\n";
  }
  return out;
}

namespace {

std::string MpsFolder(int gpu_index, std::optional<MigPlacement> instance) {
  return fmt::format("/run/nvidia-mps/gpu{}{}", gpu_index,
                     instance ? fmt::format("-at-{}", instance->start) : "");
}

}  // namespace

std::string MpsPipes(int gpu_index, std::optional<MigPlacement> instance) {
  return MpsFolder(gpu_index, instance) + "/pipe";
}
std::string MpsLogs(int gpu_index, std::optional<MigPlacement> instance) {
  return MpsFolder(gpu_index, instance) + "/log";
}

std::optional<int> MpsPercentage(const Replica& replica) {
  const Slice& slice = replica.assignment->slice;
  double share = slice.compute_fraction;
  if (slice.placement) {
    // A slice's share is of the GPU, a client's of the instance.
    const MigProfile* profile =
        replica.gpu != nullptr ? replica.gpu->FindProfile(slice.profile) : nullptr;
    if (profile == nullptr || profile->sm_count == 0 || !replica.gpu->sm_count) return std::nullopt;
    share *= static_cast<double>(*replica.gpu->sm_count) / profile->sm_count;
  }
  return std::clamp(static_cast<int>(share * 100 + 1e-6), 1, 100);
}

}  // namespace tranche::exporting
