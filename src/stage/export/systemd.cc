#include <fmt/format.h>

#include <algorithm>

#include "stage/export/formats.h"

namespace tranche::exporting {
namespace {

constexpr const char* kSlicesFile = "/etc/tranche-export/slices.env";

// One argument of ExecStart=. systemd reads specifiers and variables in it.
std::string Word(const std::string& text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (c == '%' || c == '$') {
      out += c;
      out += c;
    } else if (c == '\n') {
      out += "\\n";
    } else {
      out += c;
    }
  }
  return out + '"';
}

// The same in Environment=, where there are no variables.
std::string EnvironmentWord(const std::string& text) {
  std::string out = Word(text);
  for (size_t at = out.find("$$"); at != std::string::npos; at = out.find("$$", at + 1)) {
    out.erase(at, 1);
  }
  return out;
}

std::string UnitOf(const ExportInput& input, const Replica& replica) {
  const bool mig = replica.mechanism() == Mechanism::kMig;
  std::string text = Header(input, "#");
  std::string after = "network-online.target";
  if (mig) after += " tranche-slices.service";
  const std::string mps = fmt::format("tranche-mps-gpu{}.service", replica.assignment->gpu_index);
  if (replica.mechanism() == Mechanism::kMps) after += " " + mps;
  text += fmt::format("[Unit]\nDescription={} on {} of {}\nWants=network-online.target\nAfter={}\n",
                      replica.name, FormatBytes(replica.assignment->slice.memory),
                      replica.assignment->gpu_model, after);
  if (mig) text += "Requires=tranche-slices.service\n";
  if (replica.mechanism() == Mechanism::kMps) {
    // Without its server it would have the whole GPU.
    text += fmt::format("BindsTo={}\n", mps);
  }
  text += "\n[Service]\n";
  const bool container = replica.program.empty();
  std::string command;
  if (mig) text += fmt::format("EnvironmentFile={}\n", kSlicesFile);
  for (const auto& [name, value] : replica.env) {
    text += fmt::format("Environment={}\n", EnvironmentWord(name + "=" + value));
  }
  if (container) {
    command = "/usr/bin/env docker run --rm --name " + Word(replica.name);
    command += mig ? fmt::format(" --gpus \"\\\"device=${{{}}}\\\"\"", replica.variable)
                   : " --gpus " + Word("\"device=" + replica.device + "\"");
    if (replica.port != 0) command += fmt::format(" -p 127.0.0.1:{0}:{0}", replica.port);
    if (replica.mechanism() == Mechanism::kMps) {
      command += fmt::format(" --ipc host -v {0}:{0}", MpsPipes(replica.assignment->gpu_index));
    }
    for (const auto& [name, value] : replica.env) command += " -e " + name;
    if (!replica.entrypoint.empty()) {
      command += " --entrypoint " + Word(replica.entrypoint.front());
    }
    command += " " + Word(replica.image);
    for (const std::string& argument : replica.arguments) command += " " + Word(argument);
  } else if (replica.mechanism() == Mechanism::kFraction) {
    command = fmt::format("/usr/bin/env tranche run --gpu {} --memory {}", Word(replica.device),
                          FormatBytesExact(replica.assignment->slice.memory));
    if (replica.assignment->slice.compute_fraction < 1) {
      // A percent sign begins a specifier.
      command += fmt::format(" --compute {:g}%%", replica.assignment->slice.compute_fraction * 100);
    }
    command += " --";
    for (const std::string& word : replica.program) command += " " + Word(word);
  } else {
    command = mig ? fmt::format("/usr/bin/env CUDA_VISIBLE_DEVICES=${{{}}}", replica.variable)
                  : "/usr/bin/env " + Word("CUDA_VISIBLE_DEVICES=" + replica.device);
    for (const std::string& word : replica.program) command += " " + Word(word);
  }
  text += "ExecStart=" + command + "\nRestart=on-failure\nRestartSec=5\n";
  if (!replica.workload->working_directory.empty() && !container) {
    text += "WorkingDirectory=" + replica.workload->working_directory + "\n";
  }
  return text + "\n[Install]\nWantedBy=multi-user.target\n";
}

void AddMps(const ExportInput& input, const Replicas& replicas, Exported* out) {
  for (const GpuUse& use : GpusWith(Mechanism::kMps, replicas)) {
    const std::string settings = fmt::format(
        "Environment=CUDA_VISIBLE_DEVICES={}\nEnvironment=CUDA_MPS_PIPE_DIRECTORY={}\n"
        "Environment=CUDA_MPS_LOG_DIRECTORY={}\n",
        use.uuid, MpsPipes(use.index), MpsLogs(use.index));
    std::string text = Header(input, "#");
    text += fmt::format("[Unit]\nDescription=MPS on gpu{}\n\n[Service]\nType=forking\n{}",
                        use.index, settings);
    Bytes most;
    double compute = 0;
    for (const Replica* replica : use.replicas) {
      most = std::max(most, replica->assignment->slice.memory);
      compute = std::max(compute, replica->assignment->slice.compute_fraction);
    }
    text += fmt::format(
        "ExecStartPre=/usr/bin/env nvidia-smi -i {0} -c EXCLUSIVE_PROCESS\n"
        "ExecStartPre=/usr/bin/env mkdir -p {1} {2}\n"
        "ExecStart=/usr/bin/env nvidia-cuda-mps-control -d\n"
        "# The most that any client has; each may only lower it for itself.\n"
        "ExecStartPost=/bin/sh -c \"echo set_default_device_pinned_mem_limit 0 {3}M | "
        "nvidia-cuda-mps-control\"\n"
        "ExecStartPost=/bin/sh -c \"echo set_default_active_thread_percentage {4} | "
        "nvidia-cuda-mps-control\"\n"
        "ExecStop=/bin/sh -c \"echo quit | nvidia-cuda-mps-control\"\n"
        "ExecStopPost=/usr/bin/env nvidia-smi -i {0} -c DEFAULT\n"
        "Restart=on-failure\n\n[Install]\nWantedBy=multi-user.target\n",
        use.uuid, MpsPipes(use.index), MpsLogs(use.index), most.value >> 20,
        std::clamp(static_cast<int>(compute * 100 + 0.5), 1, 100));
    out->files.push_back({fmt::format("tranche-mps-gpu{}.service", use.index), text});
  }
}

}  // namespace

void ExportSystemd(const ExportInput& input, const Replicas& replicas, Exported* out) {
  bool mig = false;
  for (const Replica& replica : replicas) {
    const bool runs = !replica.program.empty() || !replica.image.empty();
    if (!runs) {
      out->notes.push_back(replica.name + " names nothing to run");
    } else if (replica.mechanism() == Mechanism::kVgpu ||
               (replica.mechanism() == Mechanism::kFraction && replica.program.empty())) {
      out->notes.push_back(
          fmt::format("{}: a unit cannot say {} of a container; tranche apply "
                      "runs it",
                      replica.name, MechanismName(replica.mechanism())));
    } else {
      mig = mig || replica.mechanism() == Mechanism::kMig;
      if (replica.mechanism() == Mechanism::kTimeSlicing) {
        out->notes.push_back(replica.name + ": nothing holds it to its memory under time-slicing");
      }
      out->files.push_back(
          {fmt::format("tranche-{}.service", replica.name), UnitOf(input, replica)});
    }
  }
  AddMps(input, replicas, out);
  if (!mig) return;
  std::string script = "#!/bin/bash\n" + Header(input, "#") +
                       "# Makes the slices once after each start of the machine.\n"
                       "set -euo pipefail\n" +
                       LayoutScript(input, replicas, out);
  script += "\n{\n";
  for (const Replica& replica : replicas) {
    if (replica.mechanism() != Mechanism::kMig) continue;
    script += fmt::format("  echo \"{0}=${0}\"\n", replica.variable);
  }
  script += fmt::format("}} >{}\n", kSlicesFile);
  out->files.push_back({"slices.sh", script, true});
  out->files.push_back(
      {"tranche-slices.service",
       Header(input, "#") +
           fmt::format("[Unit]\nDescription=The MIG slices of the exported plan\n\n[Service]\n"
                       "Type=oneshot\nRemainAfterExit=yes\n"
                       "ConfigurationDirectory=tranche-export\n"
                       "ExecStart=/usr/bin/env bash /etc/tranche-export/slices.sh\n\n"
                       "[Install]\nWantedBy=multi-user.target\n")});
  out->notes.push_back("slices.sh belongs into /etc/tranche-export");
}

}  // namespace tranche::exporting
