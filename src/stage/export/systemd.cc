#include <fmt/format.h>

#include <set>

#include "stage/export/formats.h"
#include "stage/export/mps_script.h"

namespace tranche::exporting {
namespace {

constexpr const char* kSlicesScript = "/etc/tranche-export/slices.sh";
constexpr const char* kSlicesFile = "/etc/tranche-export/slices.env";
constexpr const char* kMpsScript = "/etc/tranche-export/mps.sh";

constexpr const char* kMpsVerbs = R"sh(
run=/run/tranche-export
case ${1:-} in
  take)  # GPU
    nobody_else "$2"
    nvidia-smi -i "$2" -c EXCLUSIVE_PROCESS
    mkdir -p "$run"
    touch "$run/$2"
    ;;
  give_back)  # GPU: only what was taken
    [[ -e $run/$2 ]] || exit 0
    nvidia-smi -i "$2" -c DEFAULT
    rm "$run/$2"
    ;;
  divide)  # GPU FILE NAME=SMS...: FILE says NAME=PARTITION
    gpu=$2 file=$3
    shift 3
    mkdir -p "$(dirname "$file")"
    lines=
    for one in "$@"; do
      made=$(sm_partition "$gpu" "${one#*=}")
      lines+="${one%%=*}=$made"$'\n'
    done
    printf %s "$lines" >"$file"
    ;;
  *)
    echo "usage: mps.sh take GPU | give_back GPU | divide GPU FILE NAME=SMS..." >&2
    exit 64
    ;;
esac
)sh";

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

// "gpu0", "gpu0-at-4": of an MPS server.
std::string ServerName(int gpu_index, const std::optional<MigPlacement>& instance) {
  return fmt::format("gpu{}{}", gpu_index, instance ? fmt::format("-at-{}", instance->start) : "");
}

std::string PartitionsFile(int gpu_index) {
  return fmt::format("/run/tranche-export/gpu{}.env", gpu_index);
}

// The variable of an instance stands in a file.
std::string DeviceText(const Replica& replica) {
  return replica.in_instance() ? "${" + replica.variable + "}" : replica.device;
}

std::string Command(const Replica& replica) {
  const bool instance = replica.in_instance();
  const std::string partition =
      replica.partition_sms > 0
          ? fmt::format("CUDA_MPS_SM_PARTITION=${{{}}}", replica.partition_variable())
          : "";
  std::string command;
  if (replica.program.empty()) {
    command = "/usr/bin/env docker run --rm --name " + Word(replica.name);
    command += instance ? fmt::format(" --gpus \"\\\"device={}\\\"\"", DeviceText(replica))
                        : " --gpus " + Word("\"device=" + replica.device + "\"");
    if (replica.port != 0) command += fmt::format(" -p 127.0.0.1:{0}:{0}", replica.port);
    if (replica.mechanism() == Mechanism::kMps) {
      command += fmt::format(" --ipc host -v {0}:{0}", replica.env.at("CUDA_MPS_PIPE_DIRECTORY"));
    }
    for (const auto& [name, value] : replica.env) command += " -e " + name;
    if (!partition.empty()) command += " -e " + partition;
    if (!replica.entrypoint.empty()) {
      command += " --entrypoint " + Word(replica.entrypoint.front());
    }
    command += " " + Word(replica.image);
    for (const std::string& argument : replica.arguments) command += " " + Word(argument);
    return command;
  }
  if (replica.mechanism() == Mechanism::kFraction) {
    command = fmt::format("/usr/bin/env tranche run --gpu {} --memory {}", Word(replica.device),
                          FormatBytesExact(replica.assignment->slice.memory));
    if (replica.assignment->slice.compute_fraction < 1) {
      // A percent sign begins a specifier.
      command += fmt::format(" --compute {:g}%%", replica.assignment->slice.compute_fraction * 100);
    }
    command += " --";
  } else {
    command = instance ? "/usr/bin/env CUDA_VISIBLE_DEVICES=" + DeviceText(replica)
                       : "/usr/bin/env " + Word("CUDA_VISIBLE_DEVICES=" + replica.device);
    if (!partition.empty()) command += " " + partition;
  }
  for (const std::string& word : replica.program) command += " " + Word(word);
  return command;
}

std::string UnitOf(const ExportInput& input, const Replica& replica) {
  const bool instance = replica.in_instance();
  const bool mps = replica.mechanism() == Mechanism::kMps;
  const std::string server =
      fmt::format("tranche-mps-{}.service",
                  ServerName(replica.assignment->gpu_index, replica.assignment->slice.placement));
  std::string text = Header(input, "#");
  std::string after = "network-online.target";
  if (instance) after += " tranche-slices.service";
  if (mps) after += " " + server;
  text += fmt::format("[Unit]\nDescription={} on {} of {}\nWants=network-online.target\nAfter={}\n",
                      replica.name, FormatBytes(replica.assignment->slice.memory),
                      replica.assignment->gpu_model, after);
  if (instance) text += "Requires=tranche-slices.service\n";
  // Without its server it would have the whole GPU or instance.
  if (mps) text += fmt::format("BindsTo={}\n", server);
  text += "\n[Service]\n";
  if (instance) text += fmt::format("EnvironmentFile={}\n", kSlicesFile);
  if (replica.partition_sms > 0) {
    text += fmt::format("EnvironmentFile={}\n", PartitionsFile(replica.assignment->gpu_index));
  }
  for (const auto& [name, value] : replica.env) {
    text += fmt::format("Environment={}\n", EnvironmentWord(name + "=" + value));
  }
  text += "ExecStart=" + Command(replica) + "\nRestart=on-failure\nRestartSec=5\n";
  if (!replica.workload->working_directory.empty() && !replica.program.empty()) {
    text += "WorkingDirectory=" + replica.workload->working_directory + "\n";
  }
  return text + "\n[Install]\nWantedBy=multi-user.target\n";
}

std::string MpsUnit(const ExportInput& input, const GpuUse& use) {
  const std::string pipes = MpsPipes(use.index, use.instance);
  const std::string logs = MpsLogs(use.index, use.instance);
  const MpsMost most = MostOfClients(use);
  const bool partitioned = IsPartitioned(use);
  std::string text = Header(input, "#");
  if (use.instance) {
    text += fmt::format(
        "# Within MIG nothing keeps a program out that does not find the server.\n"
        "[Unit]\nDescription=MPS in the instance of gpu{} at {}\nRequires=tranche-slices.service\n"
        "After=tranche-slices.service\n\n[Service]\nType=forking\nEnvironmentFile={}\n",
        use.index, use.instance->start, kSlicesFile);
  } else {
    text += fmt::format(
        "[Unit]\nDescription=MPS on gpu{}\n\n[Service]\nType=forking\n"
        "Environment=CUDA_VISIBLE_DEVICES={}\n",
        use.index, use.uuid);
  }
  text +=
      fmt::format("Environment=CUDA_MPS_PIPE_DIRECTORY={}\nEnvironment=CUDA_MPS_LOG_DIRECTORY={}\n",
                  pipes, logs);
  if (!use.instance) {
    text += fmt::format("ExecStartPre=/usr/bin/env bash {} take {}\n", kMpsScript, use.uuid);
  }
  text += fmt::format("ExecStartPre=/usr/bin/env mkdir -p {} {}\n", pipes, logs);
  const std::string device =
      use.instance ? fmt::format(" CUDA_VISIBLE_DEVICES=${{{}}}", use.replicas.front()->variable)
                   : "";
  text += fmt::format("ExecStart=/usr/bin/env{} nvidia-cuda-mps-control -d{}\n", device,
                      partitioned ? " -S" : "");
  text += fmt::format(
      "# The most that any client has; each may only lower it for itself.\n"
      "ExecStartPost=/bin/sh -c \"echo set_default_device_pinned_mem_limit 0 {}M | "
      "nvidia-cuda-mps-control\"\n",
      most.memory.value >> 20);
  if (partitioned) {
    text += fmt::format(
        "# SMs of its own for each; who names none of these is refused.\n"
        "ExecStartPost=/usr/bin/env bash {} divide {} {}",
        kMpsScript, use.uuid, PartitionsFile(use.index));
    for (const Replica* replica : use.replicas) {
      text += fmt::format(" {}={}", replica->partition_variable(), replica->partition_sms);
    }
    text += "\n";
  } else {
    text += fmt::format(
        "ExecStartPost=/bin/sh -c \"echo set_default_active_thread_percentage {} | "
        "nvidia-cuda-mps-control\"\n",
        most.thread_percentage);
  }
  text += "ExecStop=/bin/sh -c \"echo quit | nvidia-cuda-mps-control\"\n";
  if (!use.instance) {
    text += fmt::format("ExecStopPost=/usr/bin/env bash {} give_back {}\n", kMpsScript, use.uuid);
  }
  return text + "Restart=on-failure\n\n[Install]\nWantedBy=multi-user.target\n";
}

void AddMps(const ExportInput& input, const Replicas& replicas, Exported* out) {
  bool undivided = false;
  for (const GpuUse& use : GpusWith(Mechanism::kMps, replicas)) {
    undivided = undivided || !use.instance;
    out->files.push_back(
        {fmt::format("tranche-mps-{}.service", ServerName(use.index, use.instance)),
         MpsUnit(input, use)});
  }
  if (!undivided) return;
  out->files.push_back({"mps.sh",
                        "#!/bin/bash\n" + Header(input, "#") +
                            "# What the units of MPS servers run.\nset -euo pipefail\n" +
                            kNobodyElse + "\nmps() { nvidia-cuda-mps-control; }\n" + kSmPartition +
                            kMpsVerbs,
                        true});
  out->notes.push_back("mps.sh belongs into /etc/tranche-export");
}

// Makes the slices, and says their UUIDs to the other units.
void AddSlices(const ExportInput& input, const Replicas& replicas, Exported* out) {
  std::string script = "#!/bin/bash\n" + Header(input, "#") +
                       "# Makes the slices once after each start of the machine.\n"
                       "set -euo pipefail\n" +
                       LayoutScript(input, replicas, out);
  script += "\n{\n";
  std::set<std::string> said;
  for (const Replica& replica : replicas) {
    const bool names_one = replica.mechanism() != Mechanism::kVgpu && replica.in_instance();
    if (!names_one || !said.insert(replica.variable).second) continue;
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
                       "ExecStart=/usr/bin/env bash {}\n\n"
                       "[Install]\nWantedBy=multi-user.target\n",
                       kSlicesScript)});
  out->notes.push_back("slices.sh belongs into /etc/tranche-export");
}

}  // namespace

void ExportSystemd(const ExportInput& input, const Replicas& replicas, Exported* out) {
  bool slices = false;
  for (const Replica& replica : replicas) {
    const bool runs = !replica.program.empty() || !replica.image.empty();
    // A server has its unit whether or not its clients have theirs.
    slices = slices || (replica.mechanism() == Mechanism::kMps && replica.in_instance());
    if (!runs) {
      out->notes.push_back(replica.name + " names nothing to run");
    } else if (replica.mechanism() == Mechanism::kVgpu ||
               (replica.mechanism() == Mechanism::kFraction && replica.program.empty())) {
      out->notes.push_back(
          fmt::format("{}: a unit cannot say {} of a container; tranche apply "
                      "runs it",
                      replica.name, MechanismName(replica.mechanism())));
    } else {
      slices = slices || replica.in_instance();
      if (replica.mechanism() == Mechanism::kTimeSlicing) {
        out->notes.push_back(replica.name + ": nothing holds it to its memory under time-slicing");
      }
      out->files.push_back(
          {fmt::format("tranche-{}.service", replica.name), UnitOf(input, replica)});
    }
  }
  AddMps(input, replicas, out);
  if (slices) AddSlices(input, replicas, out);
}

}  // namespace tranche::exporting
