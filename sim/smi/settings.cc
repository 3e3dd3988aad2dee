#include <strings.h>

#include <cstdio>

#include "sim/machine/lifecycle.h"
#include "sim/smi/verbs.h"

namespace tranche::sim::smi {
namespace {

constexpr const char* kEarly = "Terminating early due to previous errors.\n";

int Done() {
  std::printf("All done.\n");
  return 0;
}

bool Same(const std::string& a, const char* b) { return strcasecmp(a.c_str(), b) == 0; }

// What "0", "1", "DISABLED" and "ENABLED" say.
std::optional<unsigned> Switch(const std::string& value) {
  if (value == "0" || Same(value, "DISABLED")) return 0u;
  if (value == "1" || Same(value, "ENABLED")) return 1u;
  return std::nullopt;
}

std::optional<unsigned> ComputeModeOf(const std::string& value) {
  constexpr const char* kNames[] = {"DEFAULT", "EXCLUSIVE_THREAD", "PROHIBITED",
                                    "EXCLUSIVE_PROCESS"};
  for (unsigned i = 0; i < 4; ++i) {
    if (value == std::to_string(i) || Same(value, kNames[i])) return i;
  }
  return std::nullopt;
}

int Failed(const Nvml& nvml, const std::string& what, const Board& board, nvmlReturn_t code) {
  std::printf("Unable to %s for GPU %s: %s\n", what.c_str(), board.bus_id.c_str(),
              nvml.ErrorText(code).c_str());
  std::fputs(kEarly, stdout);
  return ExitCode(code);
}

}  // namespace

int SetMigMode(const Nvml& nvml, const std::vector<Board>& boards, const std::string& value) {
  const auto mode = Switch(value);
  if (!mode) return Refuse("-mig " + value);
  const char* verb = *mode ? "enable" : "disable";
  for (const Board& board : boards) {
    nvmlReturn_t activation = NVML_SUCCESS;
    const nvmlReturn_t code = CALL(nvml, nvmlDeviceSetMigMode, board.device, *mode, &activation);
    if (code == NVML_ERROR_NOT_SUPPORTED) {
      std::printf("Unable to %s MIG Mode for GPU %s: %s\nTreating as warning and moving on.\n",
                  verb, board.bus_id.c_str(), nvml.ErrorText(code).c_str());
      continue;
    }
    if (code != NVML_SUCCESS) return Failed(nvml, std::string(verb) + " MIG Mode", board, code);
    if (activation == NVML_SUCCESS) {
      std::printf("%s MIG Mode for GPU %s\n", *mode ? "Enabled" : "Disabled", board.bus_id.c_str());
      continue;
    }
    std::printf(
        "Warning: MIG mode is in pending %s state for GPU %s:%s\n"
        "%s is currently being used by one or more other processes (e.g. CUDA application or a "
        "monitoring application such as another instance of nvidia-smi). Please first kill all "
        "processes using the device and retry the command or reboot the system to make MIG mode "
        "effective.\n",
        verb, board.bus_id.c_str(), nvml.ErrorText(activation).c_str(), board.bus_id.c_str());
  }
  return Done();
}

int SetComputeMode(const Nvml& nvml, const std::vector<Board>& boards, const std::string& value) {
  const auto mode = ComputeModeOf(value);
  if (!mode) return Refuse("-c " + value);
  constexpr const char* kNames[] = {"DEFAULT", "EXCLUSIVE_THREAD", "PROHIBITED",
                                    "EXCLUSIVE_PROCESS"};
  for (const Board& board : boards) {
    nvmlComputeMode_t now = 0;
    if (CALL(nvml, nvmlDeviceGetComputeMode, board.device, &now) == NVML_SUCCESS && now == *mode) {
      std::printf("Compute mode is already set to %s for GPU %s.\n", kNames[*mode],
                  board.bus_id.c_str());
      continue;
    }
    const nvmlReturn_t code = CALL(nvml, nvmlDeviceSetComputeMode, board.device, *mode);
    if (code != NVML_SUCCESS) return Failed(nvml, "set the compute mode", board, code);
    std::printf("Set compute mode to %s for GPU %s.\n", kNames[*mode], board.bus_id.c_str());
  }
  return Done();
}

int SetPersistence(const Nvml& nvml, const std::vector<Board>& boards, const std::string& value) {
  const auto mode = Switch(value);
  if (!mode) return Refuse("-pm " + value);
  for (const Board& board : boards) {
    nvmlEnableState_t now = 0;
    if (CALL(nvml, nvmlDeviceGetPersistenceMode, board.device, &now) == NVML_SUCCESS &&
        now == *mode) {
      std::printf("Persistence mode is already %s for GPU %s.\n", *mode ? "Enabled" : "Disabled",
                  board.bus_id.c_str());
      continue;
    }
    const nvmlReturn_t code = CALL(nvml, nvmlDeviceSetPersistenceMode, board.device, *mode);
    if (code != NVML_SUCCESS) return Failed(nvml, "set persistence mode", board, code);
    std::printf("%s persistence mode for GPU %s.\n", *mode ? "Enabled" : "Disabled",
                board.bus_id.c_str());
  }
  return Done();
}

int ResetGpus(const std::string& dir, const std::vector<Board>& boards) {
  auto machine = Machine::Open(dir);
  if (!machine) return ExitCode(NVML_ERROR_DRIVER_NOT_LOADED);
  if (!(*machine)->IsPrivileged()) {
    std::printf("Unable to reset: Insufficient Permissions\n%s", kEarly);
    return ExitCode(NVML_ERROR_NO_PERMISSION);
  }
  std::string refused;
  int code = 0;
  for (const Board& board : boards) {
    const Rc rc = (*machine)->Update([&](MachineState& state) {
      for (uint32_t i = 0; i < (*machine)->spec().gpu_count; ++i) {
        // A GPU that fell off the bus answers no more, not even with its UUID.
        const bool same =
            board.uuid.empty() ? i == board.index : board.uuid == (*machine)->spec().gpus[i].uuid;
        if (same) return sim::ResetGpu((*machine)->spec(), &state, i);
      }
      return Rc::kNotFound;
    });
    if (rc == Rc::kOk) {
      std::printf("GPU %s was successfully reset.\n", board.bus_id.c_str());
    } else if (rc == Rc::kInUse) {
      refused += "  GPU " + board.bus_id + ": In use by another client\n";
      code = ExitCode(NVML_ERROR_IN_USE);
    } else {
      refused += "  GPU " + board.bus_id + ": " +
                 (rc == Rc::kGpuLost ? "GPU is lost" : "Not Supported") + "\n";
      code = ExitCode(rc == Rc::kGpuLost ? NVML_ERROR_GPU_IS_LOST : NVML_ERROR_NOT_SUPPORTED);
    }
  }
  if (refused.empty()) return Done();
  std::printf("The following GPUs could not be reset:\n%s\n", refused.c_str());
  if (code == ExitCode(NVML_ERROR_IN_USE)) {
    std::printf(
        "They are currently being used by one or more other processes (e.g. CUDA application, "
        "graphics application like X server, or a monitoring application such as another instance "
        "of nvidia-smi). Please first kill all processes using these devices and all compute "
        "applications running in the system.\n");
  }
  return code;
}

}  // namespace tranche::sim::smi
