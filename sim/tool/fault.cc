#include <algorithm>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "base/suggest.h"
#include "sim/machine/lifecycle.h"
#include "sim/machine/mig.h"
#include "sim/machine/process_table.h"
#include "sim/machine/usage.h"
#include "sim/tool/commands.h"
#include "sim/tool/library_folder.h"

namespace tranche::sim {
namespace {

Status Worded(Rc rc, const std::string& doing) {
  if (rc == Rc::kOk) return {};
  ErrorCode code = rc == Rc::kInUse      ? ErrorCode::kBusy
                   : rc == Rc::kNotFound ? ErrorCode::kNotFound
                   : rc == Rc::kInvalid  ? ErrorCode::kInvalid
                                         : ErrorCode::kFailed;
  return Fail(code, doing + ": " + RcName(rc));
}

template <size_t N>
bool IsName(const char (&entry)[N], const std::string& name) {
  return std::strncmp(entry, name.c_str(), N) == 0;
}

Status AddSlow(MachineState* state, const std::string& text) {
  size_t equals = text.find('=');
  std::string call = text.substr(0, equals);
  char* end = nullptr;
  unsigned long ms =
      equals == std::string::npos ? 0 : std::strtoul(text.c_str() + equals + 1, &end, 10);
  if (call.empty() || call.size() >= sizeof(SlowCall::name) || end == nullptr || *end != 0 ||
      ms > 600000) {
    return Fail(ErrorCode::kInvalid, "'" + text + "' is not CALL=MILLISECONDS",
                "--slow nvmlDeviceGetMemoryInfo=50; 0 takes it back");
  }
  SlowCall* slot = nullptr;
  for (SlowCall& slow : state->slow) {
    if (IsName(slow.name, call)) slot = &slow;
    if (slot == nullptr && slow.milliseconds == 0) slot = &slow;
  }
  if (slot == nullptr) {
    return Fail(ErrorCode::kFailed,
                "no more than " + std::to_string(kMaxSlow) + " calls can be slow",
                "take some back with --clear");
  }
  *slot = SlowCall{};
  std::snprintf(slot->name, sizeof(slot->name), "%s", call.c_str());
  slot->milliseconds = static_cast<uint32_t>(ms);
  return {};
}

// A function of libcuda by its name, so that a mistyped one is not waited for.
constexpr const char* kCudaNames[] = {
#define CUDA_SYMBOL(name, base, since, per_thread, parameters, arguments) #name,
#include "abi/cuda_symbols.inc"
};

Status AddFailing(MachineState* state, const std::string& text) {
  const size_t equals = text.find('='), at = text.find('@');
  const std::string call = text.substr(0, equals);
  char *end = nullptr, *last = nullptr;
  unsigned long code = 0, nth = 0;
  if (equals != std::string::npos) code = std::strtoul(text.c_str() + equals + 1, &end, 10);
  last = end;
  if (end != nullptr && at != std::string::npos && *end == '@') {
    nth = std::strtoul(text.c_str() + at + 1, &last, 10);
    if (nth == 0) last = nullptr;
  }
  if (last == nullptr || *last != 0 || code == 0 || code > 9999 || nth > 1000000000) {
    return Fail(ErrorCode::kInvalid, "'" + text + "' is not CALL=CODE or CALL=CODE@N",
                "--fail cuMemAlloc_v2=2@3: the third call of each process answers 2");
  }
  const std::vector<std::string> names(std::begin(kCudaNames), std::end(kCudaNames));
  if (std::find(names.begin(), names.end(), call) == names.end()) {
    return Fail(ErrorCode::kInvalid, "'" + call + "' is no function of libcuda.so.1",
                DidYouMean(call, names));
  }
  FailingCall* slot = nullptr;
  for (FailingCall& failing : state->failing) {
    if (IsName(failing.name, call)) slot = &failing;
    if (slot == nullptr && failing.name[0] == 0) slot = &failing;
  }
  if (slot == nullptr) {
    return Fail(ErrorCode::kFailed,
                "no more than " + std::to_string(kMaxFailingCalls) + " functions can fail",
                "take some back with --clear");
  }
  *slot = FailingCall{};
  std::snprintf(slot->name, sizeof(slot->name), "%s", call.c_str());
  slot->code = static_cast<uint32_t>(code);
  slot->nth = static_cast<uint32_t>(nth);
  return {};
}

Status AddMissing(MachineState* state, const std::string& symbol) {
  if (symbol.empty() || symbol.size() >= sizeof(state->missing_symbols[0])) {
    return Fail(ErrorCode::kInvalid, "'" + symbol + "' is no symbol");
  }
  for (auto& entry : state->missing_symbols) {
    if (entry[0] != 0 && !IsName(entry, symbol)) continue;
    std::snprintf(entry, sizeof(entry), "%s", symbol.c_str());
    return {};
  }
  return Fail(ErrorCode::kFailed,
              "no more than " + std::to_string(kMaxMissingSymbols) + " symbols can be missing",
              "take some back with --clear");
}

}  // namespace

Status CheckGpu(const Machine& machine, uint32_t gpu) {
  uint32_t count = machine.spec().gpu_count;
  if (gpu < count) return {};
  std::string has = count == 0   ? "the machine has none"
                    : count == 1 ? "the machine has GPU 0 only"
                                 : "the machine has GPUs 0 to " + std::to_string(count - 1);
  return Fail(ErrorCode::kInvalid, "no GPU " + std::to_string(gpu) + ": " + has);
}

std::string Holders(const MachineState& state, uint32_t gpu) {
  std::string text;
  uint32_t last = 0;
  for (const Context* context : ContextsOn(state, gpu)) {
    if (context->pid == last) continue;
    last = context->pid;
    const Process* process = FindProcess(state, context->pid);
    text += (text.empty() ? "pid " : ", pid ") + std::to_string(context->pid) + " (" +
            (process == nullptr ? "?" : process->name) + ")";
  }
  return text;
}

Status InjectFault(const FaultOptions& options) {
  Result<std::unique_ptr<Machine>> machine = Machine::Open(options.dir);
  if (!machine) return tl::unexpected(machine.error());
  bool of_gpu = options.xid != 0 || options.lost || options.no_permission;
  bool any = of_gpu || options.clear || !options.slow.empty() || !options.fail.empty() ||
             !options.missing_symbols.empty();
  if (!any) {
    return Fail(ErrorCode::kInvalid, "no fault is named",
                "one of --xid, --lost, --missing-symbol, --fail, --slow, --no-permission, --clear");
  }
  if (of_gpu && !options.gpu) {
    return Fail(ErrorCode::kInvalid, "which GPU?", "name it with --gpu I");
  }
  if (options.gpu) {
    Status there = CheckGpu(**machine, *options.gpu);
    if (!there) return there;
  }
  const MachineSpec& spec = (*machine)->spec();
  Status status;
  Rc rc = (*machine)->Update([&](MachineState& state) {
    uint64_t now = (*machine)->WallNs();
    if (options.clear) {
      for (uint32_t i = 0; i < spec.gpu_count; ++i) {
        if (!options.gpu || *options.gpu == i) ClearFaults(&state, i);
      }
      if (!options.gpu) {
        for (SlowCall& slow : state.slow) slow = SlowCall{};
        for (auto& symbol : state.missing_symbols) symbol[0] = 0;
        for (FailingCall& failing : state.failing) failing = FailingCall{};
      }
    }
    for (const std::string& slow : options.slow) {
      if (status) status = AddSlow(&state, slow);
    }
    for (const std::string& fail : options.fail) {
      if (status) status = AddFailing(&state, fail);
    }
    for (const std::string& symbol : options.missing_symbols) {
      if (status) status = AddMissing(&state, symbol);
    }
    if (options.no_permission) state.gpus[*options.gpu].no_permission = 1;
    if (options.lost && status) {
      // What a GPU that fell off the bus does first is to report it.
      status =
          Worded(RaiseXid(spec, &state, *options.gpu, 79, kNoId, kNoId, now), "losing the GPU");
    }
    if (options.xid != 0 && status) {
      status = Worded(
          options.pid
              ? FaultProcess(spec, &state, *options.gpu, options.xid, *options.pid, now)
              : RaiseXid(spec, &state, *options.gpu, options.xid, options.gi, options.ci, now),
          "raising XID " + std::to_string(options.xid));
    }
    return status ? Rc::kOk : Rc::kInvalid;
  });
  if (!status) return status;
  if (rc != Rc::kOk) return Worded(rc, "injecting the fault");
  return RefreshLibraries(machine->get());
}

Status Reset(const std::string& dir, uint32_t gpu) {
  Result<std::unique_ptr<Machine>> machine = Machine::Open(dir);
  if (!machine) return tl::unexpected(machine.error());
  Status there = CheckGpu(**machine, gpu);
  if (!there) return there;
  std::string holders;
  Rc rc = (*machine)->Update([&](MachineState& state) {
    holders = Holders(state, gpu);
    return ResetGpu((*machine)->spec(), &state, gpu);
  });
  if (rc == Rc::kInUse) {
    return Fail(ErrorCode::kBusy, "GPU " + std::to_string(gpu) + " is held by " + holders,
                "stop them first");
  }
  if (rc == Rc::kGpuLost) {
    return Fail(ErrorCode::kFailed,
                "GPU " + std::to_string(gpu) + " is lost: a reset does not reach it",
                "`tranche-sim reboot`, or `fault --clear`");
  }
  if (rc == Rc::kNotSupported) {
    return Fail(ErrorCode::kUnsupported,
                "GPUs that are passed through to a virtual machine cannot be reset",
                "`tranche-sim reboot`");
  }
  return Worded(rc, "resetting GPU " + std::to_string(gpu));
}

Status Reload(const std::string& dir) {
  Result<std::unique_ptr<Machine>> machine = Machine::Open(dir);
  if (!machine) return tl::unexpected(machine.error());
  std::string holders;
  Rc rc = (*machine)->Update([&](MachineState& state) {
    for (uint32_t i = 0; i < (*machine)->spec().gpu_count && holders.empty(); ++i) {
      holders = Holders(state, i);
    }
    return ReloadDriver((*machine)->spec(), &state, (*machine)->WallNs());
  });
  if (rc == Rc::kInUse) {
    return Fail(ErrorCode::kBusy, "the driver is held by " + holders, "stop them first");
  }
  return Worded(rc, "reloading the driver");
}

Status RebootMachine(const std::string& dir) {
  Result<std::unique_ptr<Machine>> machine = Machine::Open(dir);
  if (!machine) return tl::unexpected(machine.error());
  std::vector<Process> holders;
  Rc rc = (*machine)->Update([&](MachineState& state) {
    for (const Process& process : state.processes) {
      if (process.pid != 0) holders.push_back(process);
    }
    return Reboot((*machine)->spec(), &state, (*machine)->WallNs());
  });
  // Nothing that used a GPU survives a reboot; the rest of the host does not belong to the
  // simulation.
  for (const Process& process : holders) {
    if (IsAlive(process)) kill(static_cast<pid_t>(process.pid), SIGKILL);
  }
  return Worded(rc, "rebooting");
}

}  // namespace tranche::sim
