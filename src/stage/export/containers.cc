#include <fmt/format.h>

#include <algorithm>

#include "base/quote.h"
#include "model/cdi.h"
#include "stage/export/formats.h"

namespace tranche::exporting {
namespace {

// Compose fills in $VARIABLES, so a dollar of one's own is written twice.
std::string ComposeText(const std::string& text) {
  std::string out;
  for (const char c : text) out += c == '$' ? "$$" : std::string(1, c);
  return Quote(out);
}

std::string ComposeList(const std::vector<std::string>& words) {
  std::string out = "[";
  for (const std::string& word : words) out += (out.size() > 1 ? ", " : "") + ComposeText(word);
  return out + "]";
}

std::string ComposeDevices(const Replica& replica) {
  if (replica.device.empty()) {
    return fmt::format("[\"${{{}:?the UUID of its slice, as tranche export shell makes it}}\"]",
                       replica.variable);
  }
  std::vector<std::string> uuids;
  for (size_t at = 0; at <= replica.device.size();) {
    const size_t end = std::min(replica.device.find(',', at), replica.device.size());
    uuids.push_back(replica.device.substr(at, end - at));
    at = end + 1;
  }
  return QuoteList(uuids);
}

std::string ComposeService(const Replica& replica) {
  std::string text =
      fmt::format("  {}:\n    image: {}\n", replica.name, ComposeText(replica.image));
  if (!replica.entrypoint.empty()) {
    text += "    entrypoint: " + ComposeList(replica.entrypoint) + "\n";
  }
  if (!replica.arguments.empty()) text += "    command: " + ComposeList(replica.arguments) + "\n";
  if (replica.port != 0) {
    text += fmt::format("    ports: [\"127.0.0.1:{0}:{0}\"]\n", replica.port);
  }
  if (!replica.env.empty()) {
    text += "    environment:\n";
    for (const auto& [name, value] : replica.env) {
      text += fmt::format("      {}: {}\n", name, ComposeText(value));
    }
    if (replica.partition_sms > 0) {
      text += fmt::format(
          "      CUDA_MPS_SM_PARTITION: \"${{{}:?its SMs, as tranche export shell divides "
          "them}}\"\n",
          replica.partition_variable());
    }
  }
  if (replica.mechanism() == Mechanism::kMps) {
    text += "    ipc: host\n";
    text += fmt::format("    volumes: [\"{0}:{0}\"]\n", replica.env.at("CUDA_MPS_PIPE_DIRECTORY"));
  }
  text += "    restart: unless-stopped\n";
  text += fmt::format(
      "    deploy:\n      resources:\n        reservations:\n          devices:\n"
      "            - driver: nvidia\n              device_ids: {}\n"
      "              capabilities: [gpu]\n",
      ComposeDevices(replica));
  return text;
}

}  // namespace

void ExportCompose(const ExportInput& input, const Replicas& replicas, Exported* out) {
  std::string services;
  bool mps = false, made_later = false, divided = false;
  for (const Replica& replica : replicas) {
    if (replica.image.empty()) {
      out->notes.push_back(replica.name + " names no image, so no container can run it");
    } else if (replica.mechanism() == Mechanism::kFraction ||
               replica.mechanism() == Mechanism::kVgpu) {
      out->notes.push_back(fmt::format("{}: compose cannot say {}; tranche apply runs it",
                                       replica.name, MechanismName(replica.mechanism())));
    } else {
      services += ComposeService(replica);
      mps = mps || replica.mechanism() == Mechanism::kMps;
      made_later = made_later || replica.device.empty();
      divided = divided || replica.partition_sms > 0;
      if (replica.mechanism() == Mechanism::kTimeSlicing) {
        out->notes.push_back(replica.name + ": nothing holds it to its memory under time-slicing");
      }
    }
  }
  if (services.empty()) return;
  if (made_later) {
    out->notes.push_back(
        "the slices are made by 'tranche export shell'; put their UUIDs into .env as NAME=MIG-...");
  }
  if (divided) {
    out->notes.push_back(
        "SMs of their own are divided by 'tranche export shell'; put the partitions' names into "
        ".env as NAME_SMS=GPU-.../...");
  }
  if (mps) {
    out->notes.push_back("the MPS servers are started by 'tranche export shell' or systemd");
  }
  out->files.push_back(
      {"compose.yaml", Header(input, "#") + Comments(out->notes, "#") + "services:\n" + services});
}

void ExportCdi(const ExportInput& input, const Replicas& replicas, Exported* out) {
  std::vector<CdiDevice> devices;
  for (const Replica& replica : replicas) {
    const Slice& slice = replica.assignment->slice;
    if (replica.mechanism() == Mechanism::kFraction || replica.mechanism() == Mechanism::kVgpu) {
      out->notes.push_back(fmt::format("{}: {} is more than devices, so tranche apply runs it",
                                       replica.name, MechanismName(replica.mechanism())));
      continue;
    }
    std::vector<std::string> uuids = slice.more_gpu_uuids;
    uuids.insert(uuids.begin(), slice.gpu_uuid);
    CdiDevice device;
    device.name = replica.name;
    // Of any GPU.
    device.nodes = {"/dev/nvidiactl", "/dev/nvidia-uvm", "/dev/nvidia-uvm-tools"};
    bool known = input.machine != nullptr;
    int minor = 0;
    for (const std::string& uuid : uuids) {
      const Gpu* gpu = known ? input.machine->FindGpu(uuid) : nullptr;
      known = gpu != nullptr && gpu->minor_number;
      if (!known) break;
      minor = *gpu->minor_number;
      device.nodes.push_back(fmt::format("/dev/nvidia{}", minor));
    }
    if (!known) {
      out->notes.push_back(replica.name +
                           ": the device node of its GPU is not at hand; --machine "
                           "FILE, or export on the machine itself");
      continue;
    }
    if (replica.in_instance()) {
      const MigInstance* instance = replica.gpu->FindInstance(*slice.placement);
      std::vector<int> minors;
      if (instance != nullptr && !replica.device.empty()) {
        const std::string base = fmt::format("gpu{}/gi{}", minor, instance->id);
        for (const std::string& name :
             {base + "/access",
              fmt::format("{}/ci{}/access", base, instance->compute_instances.front().id)}) {
          const auto found = input.mig_minors.find(name);
          if (found != input.mig_minors.end()) minors.push_back(found->second);
        }
      }
      if (minors.size() != 2) {
        out->notes.push_back(replica.name +
                             (replica.device.empty()
                                  ? ": its slice is not made yet, so it has no devices"
                                  : ": its capability nodes are not at hand; export on the machine "
                                    "itself, where /proc/driver/nvidia-caps says them"));
        continue;
      }
      for (const int cap : minors) {
        device.nodes.push_back(fmt::format("/dev/nvidia-caps/nvidia-cap{}", cap));
      }
    }
    if (replica.mechanism() == Mechanism::kMps) {
      for (const char* name :
           {"CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT",
            "CUDA_MPS_CLIENT_PRIORITY", "CUDA_MPS_PIPE_DIRECTORY"}) {
        const auto set = replica.env.find(name);
        if (set != replica.env.end()) device.environment.push_back(set->first + "=" + set->second);
      }
      const std::string& pipes = replica.env.at("CUDA_MPS_PIPE_DIRECTORY");
      device.mounts.push_back({pipes, pipes, true});
      if (replica.partition_sms > 0) {
        out->notes.push_back(fmt::format(
            "{}: which SMs are its own is not in it; run it with CUDA_MPS_SM_PARTITION as {} of "
            "tranche export shell says",
            replica.name, replica.partition_variable()));
      }
    }
    if (replica.mechanism() == Mechanism::kTimeSlicing) {
      out->notes.push_back(replica.name + ": nothing holds it to its memory under time-slicing");
    }
    devices.push_back(std::move(device));
  }
  if (devices.empty()) return;
  out->notes.push_back(
      "the driver's libraries are not in it: ask for them as a second device, such as "
      "management.nvidia.com/gpu=all of nvidia-ctk cdi generate");
  if (const auto spec = PrintCdi(devices))
    out->files.push_back({"tranche.dev-slice.json", *spec});
  else
    out->notes.push_back("no CDI file: " + spec.error().message);
}

}  // namespace tranche::exporting
