// A configuration of MPS by its protocol 3, which names servers and namespaces.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <set>

#include "model/mps_chunk.h"
#include "stage/export/formats.h"

namespace tranche::exporting {
namespace {

constexpr const char* kPipes = "/run/nvidia-mps";  // of a daemon of root
constexpr int kFirstDriver = 615;
constexpr size_t kLongestName = 64;

// As MPS takes them, [a-z0-9_]{1,64}; "default" is the one that is always there.
class Names {
 public:
  std::string Of(const Replica& replica) {
    // Who has one replica only is called as its workload, so that the file reads as what was meant.
    std::string name = replica.workload->replicas > 1 ? replica.name : replica.workload->name;
    for (char& c : name) {
      const bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
      if (!plain) c = '_';
    }
    name.resize(std::min(name.size(), kLongestName));
    const std::string wanted = name;
    for (int number = 2; !taken_.insert(name).second; ++number) {
      const std::string suffix = fmt::format("_{}", number);
      name = wanted.substr(0, kLongestName - suffix.size()) + suffix;
    }
    return name;
  }

 private:
  std::set<std::string> taken_ = {"default"};
};

std::string SizeText(Bytes memory) {
  const uint64_t mib = std::max<uint64_t>(1, memory.value >> 20);
  return mib % 1024 == 0 ? fmt::format("{}G", mib / 1024) : fmt::format("{}M", mib);
}

// In percent, as much as any of its processes may use; absent where nothing was said.
std::optional<int> Percentage(const Workload& workload) {
  if (!workload.compute) return std::nullopt;
  const double percent = std::ceil(workload.compute->limit.value * 100 - 1e-6);
  return std::clamp(static_cast<int>(percent), 1, 100);
}

// SMs of a chunk: as this driver has them, else by what is known of such GPUs.
int SmsOfChunk(const ExportInput& input, const Replica& replica) {
  if (input.machine != nullptr) {
    for (const Capability& one : input.machine->capabilities) {
      if (one.gpu_uuid == replica.assignment->slice.gpu_uuid && one.mechanism == Mechanism::kMps &&
          one.partition_sms > 0) {
        return one.partition_sms;
      }
    }
  }
  const auto known = input.catalog.FindGpu(replica.assignment->gpu_model);
  const std::string version = replica.gpu != nullptr && replica.gpu->compute_capability
                                  ? *replica.gpu->compute_capability
                              : known ? (*known)->compute_capability
                                      : "";
  return MpsChunkSms(version);
}

std::string ServerText(const ExportInput& input, const GpuUse& use, Exported* out) {
  const std::string server = fmt::format("gpu{}", use.index);
  std::string text = fmt::format(
      "\n# {}, for one user: whoever starts the daemon, unless `uid = N` names another.\n"
      "[servers.{}]\nallowed_devices = \"{}\"\n",
      use.replicas.front()->assignment->gpu_model, server, use.uuid);
  std::string partitions;
  std::string namespaces = fmt::format(
      "\n# Too little for any program: one that finds no namespace of its own is not to run here.\n"
      "[servers.{0}.namespaces.default]\npinned_memory_limit = \"1M\"\n"
      "active_thread_percentage = \"1\"\nclient_priority = \"1\"\n",
      server);
  Names names;
  for (const Replica* replica : use.replicas) {
    const std::string name = names.Of(*replica);
    const int chunk = replica->partition_sms > 0 ? SmsOfChunk(input, *replica) : 0;
    namespaces += fmt::format("\n# {} finds it by CUDA_MPS_PIPE_DIRECTORY={}/{}/{}\n",
                              replica->name, kPipes, server, name);
    if (chunk > 0) {
      namespaces += fmt::format(
          "# and its SMs by CUDA_MPS_SM_PARTITION={}/VISIBLE-UUID\n"
          "# of `nvidia-cuda-mps-control sm-partition list --server={}`\n",
          use.uuid, server);
      partitions +=
          fmt::format("\n[[servers.{}.devices.sm_partitions]]\nname = \"{}\"\nchunks = {}\n",
                      server, name, (replica->partition_sms + chunk - 1) / chunk);
    } else if (replica->partition_sms > 0) {
      out->notes.push_back(fmt::format(
          "{}: of which chunks of SMs its GPU is made is not known, so that it has a ceiling and "
          "none of its own",
          replica->name));
    }
    namespaces += fmt::format("[servers.{}.namespaces.{}]\npinned_memory_limit = \"{}\"\n", server,
                              name, SizeText(replica->assignment->slice.memory));
    const auto percentage = Percentage(*replica->workload);
    // In a partition a percentage means nothing.
    if (percentage && chunk == 0) {
      namespaces += fmt::format("active_thread_percentage = \"{}\"\n", *percentage);
    }
    namespaces += fmt::format("client_priority = \"{}\"\n", replica->workload->preemptible ? 1 : 0);
  }
  if (!partitions.empty()) {
    text += fmt::format("\n[[servers.{}.devices]]\nuuid = \"{}\"\n", server, use.uuid) + partitions;
  }
  return text + namespaces;
}

void NoteDriver(const ExportInput& input, Exported* out) {
  if (input.machine == nullptr || !input.machine->driver_version) return;
  const std::string& version = *input.machine->driver_version;
  int major = 0;
  std::from_chars(version.data(), version.data() + version.size(), major);
  if (major >= kFirstDriver) return;
  out->notes.push_back(
      fmt::format("such files are read from driver {} (CUDA 13.4) on; this machine has {}",
                  kFirstDriver, version));
}

}  // namespace

void ExportMps(const ExportInput& input, const Replicas& replicas, Exported* out) {
  for (const Replica& replica : replicas) {
    if (replica.mechanism() != Mechanism::kMps) {
      out->notes.push_back(fmt::format("{} is not shared by MPS but by {}", replica.name,
                                       MechanismName(replica.mechanism())));
    } else if (replica.in_instance()) {
      out->notes.push_back(fmt::format(
          "{} is within a MIG instance, where MPS has no namespaces; tranche export shell says it",
          replica.name));
    }
  }
  std::string servers, commands;
  for (const GpuUse& use : GpusWith(Mechanism::kMps, replicas)) {
    if (use.instance) continue;
    servers += ServerText(input, use, out);
    commands += fmt::format("#   nvidia-smi -i {} -c EXCLUSIVE_PROCESS\n", use.uuid);
  }
  if (servers.empty()) return;
  NoteDriver(input, out);
  out->notes.push_back(
      "what a namespace limits is each of its processes; in a spec it is the workload as a whole");
  out->notes.push_back("programs are not in it; they are started as its comments say");
  out->files.push_back(
      {"mps.toml",
       Header(input, "#") + Comments(out->notes, "#") +
           "# Without the first a program that does not find MPS has the whole GPU:\n" + commands +
           "#   nvidia-cuda-mps-control -d -p 3 -a mps.toml\n\nschema_version = \"1.0\"\n" +
           servers});
}

}  // namespace tranche::exporting
