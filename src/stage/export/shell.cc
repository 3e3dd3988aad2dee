#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "stage/export/formats.h"
#include "stage/export/mps_script.h"

namespace tranche::exporting {
namespace {

constexpr const char* kFunctions = R"(
slices() { nvidia-smi -L | grep -o 'MIG-[0-9a-fA-F-]*' | sort || true; }

# make_slice GPU PROFILE START: prints the UUID of the slice that it makes.
make_slice() {
  local before
  before=$(slices)
  nvidia-smi mig -i "$1" -cgi "$2:$3" -C >&2
  comm -13 <(printf '%s\n' "$before") <(slices)
}
)";

constexpr const char* kVgpuFunctions = R"(
# make_vgpu GPU TYPE: prints the virtual function on which it makes one.
make_vgpu() {
  local function id
  for function in "${SYSFS:-/sys}/bus/pci/devices/$1"/virtfn*; do
    function=$(readlink -f "$function")
    [[ $(cat "$function/nvidia/current_vgpu_type") == 0 ]] || continue
    id=$(awk -F ' *: *' -v type="$2" '$2 ~ "^(NVIDIA|GRID) " type "$" {print $1}' "$function/nvidia/creatable_vgpu_types")
    [[ -n $id ]] || continue
    printf %s "$id" >"$function/nvidia/current_vgpu_type"
    basename "$function"
    return
  done
  echo "no $2 can be made on $1" >&2
  return 1
}
)";

// What `nvidia-smi mig -cgi` takes: the driver's own id where it is known.
std::string ProfileArgument(const Slice& slice, const Gpu* gpu, std::vector<std::string>* notes) {
  const MigProfile* profile = gpu != nullptr ? gpu->FindProfile(slice.profile) : nullptr;
  if (profile != nullptr) return fmt::format("{}", profile->id);
  const std::string note =
      "the ids of this driver's profiles are not at hand, so they are given by name";
  if (std::find(notes->begin(), notes->end(), note) == notes->end()) notes->push_back(note);
  return slice.profile;
}

class Layout {
 public:
  Layout(const ExportInput& input, const Replicas& replicas, Exported* out)
      : input_(input), replicas_(replicas), out_(out) {}

  std::string Text() {
    for (const Step& step : input_.plan.steps) AddStep(step);
    AddInstances();
    return std::move(text_);
  }

 private:
  const Gpu* FindGpu(const std::string& uuid) const {
    return input_.machine != nullptr ? input_.machine->FindGpu(uuid) : nullptr;
  }

  void AddStep(const Step& step) {
    if (step.kind == StepKind::kEnableMig) {
      text_ += fmt::format("nvidia-smi -i {} -mig 1\n", ShellWord(step.gpu_uuid));
    } else if (step.kind == StepKind::kDisableMig) {
      text_ += fmt::format("nvidia-smi -i {} -mig 0\n", ShellWord(step.gpu_uuid));
    } else if (step.kind == StepKind::kSetVgpuHost) {
      AddVgpuHost(step);
    } else if (step.kind == StepKind::kCreateVgpu) {
      AddVgpu(step);
    } else if (step.kind == StepKind::kCreateInstance && IsForVgpu(*step.slice)) {
      text_ += fmt::format("nvidia-smi mig -i {} -cgi {}:{} -C\n", ShellWord(step.gpu_uuid),
                           ProfileArgument(*step.slice, FindGpu(step.gpu_uuid), &out_->notes),
                           step.slice->placement->start);
    } else if (step.kind == StepKind::kDestroyInstance && step.slice && step.slice->placement) {
      const Gpu* gpu = FindGpu(step.gpu_uuid);
      const MigInstance* instance =
          gpu != nullptr ? gpu->FindInstance(*step.slice->placement) : nullptr;
      if (instance == nullptr) {
        out_->notes.push_back(fmt::format(
            "{} has to be destroyed first, and its id is not at hand: nvidia-smi mig -lgi shows it",
            step.target));
        return;
      }
      text_ +=
          fmt::format("nvidia-smi mig -i {0} -dci -gi {1}\nnvidia-smi mig -i {0} -dgi -gi {1}\n",
                      ShellWord(step.gpu_uuid), instance->id);
    }
  }

  bool IsForVgpu(const Slice& slice) const {
    return std::any_of(replicas_.begin(), replicas_.end(), [&](const Replica& replica) {
      const Slice& other = replica.assignment->slice;
      return other.mechanism == Mechanism::kVgpu && other.gpu_uuid == slice.gpu_uuid &&
             other.placement == slice.placement;
    });
  }

  // As the kernel writes it; "" where it is not at hand, or there are only mediated devices.
  std::string PciOf(const Step& step) {
    const Gpu* gpu = FindGpu(step.gpu_uuid);
    unsigned domain = 0, bus = 0, slot = 0, function = 0;
    const bool known = gpu != nullptr && std::sscanf(gpu->pci_bus_id.c_str(), "%x:%x:%x.%x",
                                                     &domain, &bus, &slot, &function) == 4;
    if (known && !(gpu->vgpu && gpu->vgpu->mediated))
      return fmt::format("{:04x}:{:02x}:{:02x}.{:x}", domain, bus, slot, function);
    out_->notes.push_back(
        fmt::format("{}: {}", step.target,
                    known ? "mediated devices are not in the script; tranche apply makes them"
                          : "the PCI address of its GPU is not at hand; --machine FILE, or export "
                            "on the machine"));
    return "";
  }

  void AddVgpuHost(const Step& step) {
    const std::string pci = PciOf(step);
    if (pci.empty()) return;
    const VgpuHostState& state = *step.vgpu_host;
    const char* manage = "/usr/lib/nvidia/sriov-manage";
    if (!state.functions) {
      text_ += fmt::format("{} -d {}\n", manage, pci);
      return;
    }
    if (!step.vgpu_host_before->functions) text_ += fmt::format("{} -e {}\n", manage, pci);
    if (state.mixed != step.vgpu_host_before->mixed)
      text_ += fmt::format("nvidia-smi vgpu -i {} -shm {}\n", pci, state.mixed ? 1 : 0);
    if (state.scheduler) {
      text_ +=
          fmt::format("nvidia-smi vgpu set-scheduler-state -i {} -p {}  # {}\n", pci,
                      static_cast<int>(*state.scheduler) + 1, VgpuSchedulerName(*state.scheduler));
    }
  }

  void AddVgpu(const Step& step) {
    const std::string pci = PciOf(step);
    if (pci.empty()) return;
    text_ += fmt::format("echo \"{}-{} $(make_vgpu {} {})\"\n", step.workload, step.replica, pci,
                         ShellWord(step.slice->vgpu_type));
  }

  void AddInstances() {
    // Large slices first: the smaller ones find a place in what is left in any order.
    for (const GpuUse& use : GpusWith(Mechanism::kMig, replicas_)) {
      for (const Replica* replica : use.replicas) AddInstance(*replica);
    }
    for (const GpuUse& use : GpusWith(Mechanism::kMps, replicas_)) {
      if (use.instance) AddInstance(*use.replicas.front());
    }
  }

  void AddInstance(const Replica& replica) {
    const Slice& slice = replica.assignment->slice;
    if (!replica.device.empty()) {
      text_ += fmt::format("{}={}  # {} at {}\n", replica.variable, ShellWord(replica.device),
                           slice.profile, slice.placement->start);
      return;
    }
    text_ += fmt::format(
        "{}=$(make_slice {} {} {})  # {}\n", replica.variable, ShellWord(slice.gpu_uuid),
        ProfileArgument(slice, replica.gpu, &out_->notes), slice.placement->start, slice.profile);
  }

  const ExportInput& input_;
  const Replicas& replicas_;
  Exported* out_;
  std::string text_;
};

std::string MpsText(const Replicas& replicas) {
  std::string text;
  for (const GpuUse& use : GpusWith(Mechanism::kMps, replicas)) {
    if (use.instance) {
      text += fmt::format(
          "\n# One MPS server for the instance of gpu{} at {}. Within MIG nothing keeps a program "
          "out that does not find it.\n",
          use.index, use.instance->start);
    } else {
      text += fmt::format(
          "\n# One MPS server for gpu{}. Without it a client gets the whole GPU, so nobody else "
          "may "
          "use the GPU.\nnvidia-smi -i {} -c EXCLUSIVE_PROCESS\n",
          use.index, ShellWord(use.uuid));
    }
    const bool partitioned = IsPartitioned(use);
    text += fmt::format(
        "mkdir -p {1} {2}\n"
        "mps() {{ env CUDA_VISIBLE_DEVICES={0} CUDA_MPS_PIPE_DIRECTORY={1} "
        "CUDA_MPS_LOG_DIRECTORY={2} nvidia-cuda-mps-control \"$@\"; }}\n"
        "mps -d{3}\n",
        use.instance ? "\"$" + use.replicas.front()->variable + "\"" : ShellWord(use.uuid),
        MpsPipes(use.index, use.instance), MpsLogs(use.index, use.instance),
        partitioned ? " -S" : "");
    const MpsMost most = MostOfClients(use);
    text += fmt::format("echo \"set_default_device_pinned_mem_limit 0 {}M\" | mps\n",
                        most.memory.value >> 20);
    if (!partitioned) {
      text += fmt::format("echo \"set_default_active_thread_percentage {}\" | mps\n",
                          most.thread_percentage);
      continue;
    }
    text += "# SMs of its own for each; who names none of these is refused.\n";
    for (const Replica* replica : use.replicas) {
      text += fmt::format("{}=$(sm_partition {} {})\n", replica->partition_variable(),
                          ShellWord(use.uuid), replica->partition_sms);
    }
  }
  return text;
}

// Before anything is done: the way back, and a look at who would be locked out.
std::string BeforeMps(const Replicas& replicas) {
  const std::vector<GpuUse> uses = GpusWith(Mechanism::kMps, replicas);
  if (uses.empty()) return "";
  std::string undo, looks;
  for (const GpuUse& use : uses) {
    undo += fmt::format(
        "  echo quit | env CUDA_MPS_PIPE_DIRECTORY={} nvidia-cuda-mps-control || true\n",
        MpsPipes(use.index, use.instance));
    if (use.instance) continue;
    undo += fmt::format("  nvidia-smi -i {} -c DEFAULT\n", ShellWord(use.uuid));
    looks += fmt::format("nobody_else {}\n", ShellWord(use.uuid));
  }
  return "\n# gpus.sh --undo ends the MPS servers, and lets other programs on their GPUs again.\n"
         "if [[ ${1:-} == --undo ]]; then\n" +
         undo + "  exit\nfi\n" + (looks.empty() ? "" : kNobodyElse + looks);
}

// The replica's device as a word of the script.
std::string Device(const Replica& replica, bool after_layout) {
  if (replica.in_instance() && (after_layout || replica.device.empty())) {
    return "$" + replica.variable;
  }
  return replica.device;
}

std::string DockerText(const Replica& replica) {
  std::string text = fmt::format("docker run -d --name {} ", ShellWord(replica.name));
  const std::string device = Device(replica, true);
  text += device[0] == '$' ? fmt::format("--gpus \"\\\"device={}\\\"\"", device)
                           : fmt::format("--gpus '\"device={}\"'", device);
  if (replica.port != 0) text += fmt::format(" \\\n  -p 127.0.0.1:{0}:{0}", replica.port);
  if (replica.mechanism() == Mechanism::kMps) {
    const std::string& pipes = replica.env.at("CUDA_MPS_PIPE_DIRECTORY");
    text += fmt::format(" \\\n  --ipc host -v {0}:{0}", pipes);
  }
  for (const auto& [name, value] : replica.env) {
    text += fmt::format(" \\\n  -e {}", ShellWord(name + "=" + value));
  }
  if (replica.partition_sms > 0) {
    text += fmt::format(" \\\n  -e CUDA_MPS_SM_PARTITION=\"${}\"", replica.partition_variable());
  }
  if (!replica.entrypoint.empty()) {
    text += " \\\n  --entrypoint " + ShellWord(replica.entrypoint.front());
  }
  text += " \\\n  " + ShellWord(replica.image);
  for (size_t i = 1; i < replica.entrypoint.size(); ++i) {
    text += " " + ShellWord(replica.entrypoint[i]);
  }
  for (const std::string& argument : replica.arguments) text += " " + ShellWord(argument);
  return text + "\n";
}

std::string ProgramText(const Replica& replica) {
  std::string text;
  if (replica.mechanism() == Mechanism::kFraction) {
    // Only the limiter holds it to its part.
    text = fmt::format("tranche run --gpu {} --memory {} ", ShellWord(replica.device),
                       FormatBytesExact(replica.assignment->slice.memory));
    if (replica.assignment->slice.compute_fraction < 1) {
      text += fmt::format("--compute {:g}% ", replica.assignment->slice.compute_fraction * 100);
    }
    text += "-- env";
  } else {
    const std::string device = Device(replica, true);
    text = fmt::format("env CUDA_VISIBLE_DEVICES={}",
                       device[0] == '$' ? "\"" + device + "\"" : ShellWord(device));
  }
  for (const auto& [name, value] : replica.env) text += " " + ShellWord(name + "=" + value);
  if (replica.partition_sms > 0) {
    text += fmt::format(" CUDA_MPS_SM_PARTITION=\"${}\"", replica.partition_variable());
  }
  for (const std::string& word : replica.program) text += " " + ShellWord(word);
  return text + " &\n";
}

// What makes a program a client of MPS, where the spec names none.
std::string ClientText(const Replica& replica) {
  std::string text = "echo \"" + replica.name + ": its programs are clients of MPS by";
  for (const char* name : {"CUDA_MPS_ACTIVE_THREAD_PERCENTAGE", "CUDA_MPS_CLIENT_PRIORITY",
                           "CUDA_MPS_PINNED_DEVICE_MEM_LIMIT", "CUDA_MPS_PIPE_DIRECTORY"}) {
    const auto set = replica.env.find(name);
    if (set != replica.env.end()) text += fmt::format(" {}={}", name, set->second);
  }
  if (replica.partition_sms > 0) {
    text += fmt::format(" CUDA_MPS_SM_PARTITION=${}", replica.partition_variable());
  }
  return text + "\"\n";
}

}  // namespace

std::string LayoutScript(const ExportInput& input, const Replicas& replicas, Exported* out) {
  const std::string text = Layout(input, replicas, out).Text();
  if (text.empty()) return "";
  return std::string(text.find("make_slice") != std::string::npos ? kFunctions : "") +
         (text.find("make_vgpu") != std::string::npos ? kVgpuFunctions : "") +
         "\n# The layout. Profiles are as this driver numbers them.\n" + text;
}

void ExportShell(const ExportInput& input, const Replicas& replicas, Exported* out) {
  std::string text = "#!/bin/bash\n" + Header(input, "#") +
                     "# What is in single quotes is meant as it stands.\n"
                     "# shellcheck disable=SC2016\nset -euo pipefail\n";
  std::string layout = LayoutScript(input, replicas, out);
  std::string run;
  for (const Replica& replica : replicas) {
    const Slice& slice = replica.assignment->slice;
    run += fmt::format("\n# {}: {} of {} by {}\n", replica.name, FormatBytes(slice.memory),
                       replica.assignment->gpu_model, MechanismName(slice.mechanism));
    if (replica.mechanism() == Mechanism::kVgpu) {
      run += "# belongs to a virtual machine: tranche export libvirt\n";
    } else if (!replica.image.empty() && replica.mechanism() != Mechanism::kFraction) {
      run += DockerText(replica);
    } else if (!replica.program.empty()) {
      run += ProgramText(replica);
    } else {
      run += fmt::format("echo \"{}: its device is {}\"\n", replica.name, Device(replica, true));
      if (replica.mechanism() == Mechanism::kMps) run += ClientText(replica);
      if (!replica.image.empty()) {
        out->notes.push_back(replica.name +
                             ": docker has no limits for a part of a GPU without the limiter; "
                             "tranche apply runs it");
      }
    }
    if (replica.mechanism() == Mechanism::kTimeSlicing) {
      run += "# time-slicing holds nobody to their memory\n";
    }
  }
  // The commands that run stay in the foreground together.
  if (run.find(" &\n") != std::string::npos) run += "\nwait\n";
  text += Comments(out->notes, "#");
  const std::string mps = MpsText(replicas);
  text += BeforeMps(replicas);
  if (mps.find("$(sm_partition ") != std::string::npos) text += kSmPartition;
  text += layout + mps + run;
  out->files.push_back({"gpus.sh", text, true});
}

}  // namespace tranche::exporting
