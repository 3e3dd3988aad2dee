#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "stage/export/formats.h"

namespace tranche::exporting {
namespace {

// A string of Protocol Buffers' text format.
std::string ProtoText(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c == '\n' ? ' ' : c;
  }
  return out + '"';
}

std::string DeviceWord(const Replica& replica) {
  return replica.device.empty() ? "\"$" + replica.variable + "\"" : ShellWord(replica.device);
}

// Of a process that holds all these copies; "" where they are no clients of MPS.
std::string MpsEnvironment(const std::vector<const Replica*>& copies) {
  const Replica& first = *copies.front();
  std::string words;
  for (const char* name : {"CUDA_MPS_CLIENT_PRIORITY", "CUDA_MPS_PIPE_DIRECTORY"}) {
    const auto found = first.env.find(name);
    if (found != first.env.end()) words += fmt::format(" {}={}", name, found->second);
  }
  if (first.mechanism() != Mechanism::kMps) return "";
  if (first.partition_sms > 0) {
    return words + fmt::format(" CUDA_MPS_SM_PARTITION=${}", first.partition_variable());
  }
  const auto percentage = MpsPercentage(first);
  if (!percentage) return words;
  const int all = std::min(100, *percentage * static_cast<int>(copies.size()));
  return fmt::format(" CUDA_MPS_ACTIVE_THREAD_PERCENTAGE={}{}", all, words);
}

}  // namespace

void ExportTriton(const ExportInput& input, const Replicas& replicas, Exported* out) {
  // Of one model on one GPU, copies run in one server.
  std::map<std::pair<std::string, std::string>, std::vector<const Replica*>> servers;
  for (const Replica& replica : replicas) {
    if (!replica.workload->model && !IsTriton(replica)) {
      out->notes.push_back(replica.name + " serves no model");
      continue;
    }
    if (replica.mechanism() == Mechanism::kVgpu) {
      out->notes.push_back(replica.name + " belongs to a virtual machine");
      continue;
    }
    // A process sees one MIG slice only, and is in one partition of MPS, so each has a server of
    // its own. Who shares one by MPS shares a server too.
    const Slice& slice = replica.assignment->slice;
    const std::string place =
        replica.mechanism() == Mechanism::kMig || replica.partition_sms > 0 ? replica.name
        : slice.placement ? fmt::format("{}:{}", slice.gpu_uuid, slice.placement->start)
                          : slice.gpu_uuid;
    servers[{replica.workload->name, place}].push_back(&replica);
  }
  for (const auto& [key, members] : servers) {
    const Replica& first = *members.front();
    const size_t gpus = 1 + first.assignment->slice.more_gpu_uuids.size();
    std::string text = Header(input, "#");
    text += fmt::format("# A server that sees {} alone: CUDA_VISIBLE_DEVICES={}\n",
                        first.device.empty() ? first.assignment->slice.profile : "this GPU",
                        first.device.empty() ? "$" + first.variable : first.device);
    const std::string mps = MpsEnvironment(members);
    if (!mps.empty()) text += "# It is a client of MPS:" + mps + "\n";
    if (members.size() > 1) {
      text +=
          fmt::format("# {} copies in one process, which holds the memory of all: {}.\n",
                      members.size(), FormatBytes(first.assignment->slice.memory * members.size()));
    }
    const std::string name = first.workload->model && !first.workload->model->name.empty()
                                 ? first.workload->model->name
                                 : first.workload->name;
    text += "# platform or backend, max_batch_size, input and output are the model's own.\n";
    text += fmt::format("name: {}\n", ProtoText(name));
    std::string numbers;
    for (size_t i = 0; i < gpus; ++i) numbers += fmt::format("{}{}", i == 0 ? "" : ", ", i);
    // In what the server sees its devices are numbered from 0.
    text += fmt::format(
        "instance_group [\n  {{\n    count: {}\n    kind: KIND_GPU\n"
        "    gpus: [ {} ]\n  }}\n]\n",
        members.size(), numbers);
    out->files.push_back({fmt::format("{}/{}/config.pbtxt", first.name, name), text});
    if (first.shared()) {
      out->notes.push_back(
          fmt::format("{}: Triton keeps no limit of memory; {} is what its slice holds", first.name,
                      FormatBytes(first.assignment->slice.memory * members.size())));
    }
  }
}

void ExportVllm(const ExportInput& input, const Replicas& replicas, Exported* out) {
  std::string lines;
  std::map<std::string, int> sums;
  for (const Replica& replica : replicas) {
    if (!IsVllm(replica)) {
      out->notes.push_back(replica.name + " is not served by vLLM");
      continue;
    }
    lines += fmt::format("\n# {}: {} of {} by {}\n", replica.name,
                         FormatBytes(replica.assignment->slice.memory),
                         replica.assignment->gpu_model, MechanismName(replica.mechanism()));
    lines += "env CUDA_VISIBLE_DEVICES=" + DeviceWord(replica);
    for (const auto& [name, value] : replica.env) lines += " " + ShellWord(name + "=" + value);
    if (replica.partition_sms > 0) {
      lines += fmt::format(" CUDA_MPS_SM_PARTITION=\"${}\"", replica.partition_variable());
      out->notes.push_back(
          fmt::format("{}: set {} to the name of its SMs, as tranche export shell divides them",
                      replica.name, replica.partition_variable()));
    }
    if (!replica.program.empty()) {
      for (const std::string& word : replica.program) lines += " " + ShellWord(word);
    } else {
      // What an image of vLLM is given are the arguments of its server.
      lines += " python3 -m vllm.entrypoints.openai.api_server";
      for (const std::string& word : replica.arguments) lines += " " + ShellWord(word);
    }
    lines += " &\n";
    if (replica.mechanism() == Mechanism::kFraction ||
        replica.mechanism() == Mechanism::kTimeSlicing) {
      out->notes.push_back(replica.name + ": nothing but this flag keeps it to its memory");
    }
    if (replica.device.empty()) {
      out->notes.push_back(
          fmt::format("{}: set {} to the UUID of its slice, as tranche export "
                      "shell makes it",
                      replica.name, replica.variable));
    }
  }
  if (lines.empty()) return;
  out->files.push_back({"vllm.sh",
                        "#!/bin/bash\n" + Header(input, "#") + Comments(out->notes, "#") +
                            "# --gpu-memory-utilization is a share of all the memory that vLLM "
                            "sees, not of the slice.\nset -euo pipefail\n" +
                            lines + "\nwait\n",
                        true});
}

}  // namespace tranche::exporting
