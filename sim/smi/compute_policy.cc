#include <cstdio>

#include "sim/machine/lifecycle.h"
#include "sim/smi/verbs.h"

// The one thing that nvidia-smi does without NVML: the time slice has no call there. The driver
// keeps it for each GPU's UUID as long as it is loaded; so does the machine.
namespace tranche::sim::smi {
namespace {

constexpr const char* kHelp =
    "\n    Compute Policy -- Control and list compute policies.\n"
    "\n    Usage: nvidia-smi compute-policy [options]\n"
    "\n    Options include:\n"
    "    [-i | --id]: GPU device ID's. Provide comma\n"
    "                 separated values for more than one device\n"
    "\n    [-l | --list]: List all compute policies\n"
    "\n    [ | --set-timeslice]: Set timeslice config for a GPU:\n"
    "                          0=DEFAULT, 1=SHORT, 2=MEDIUM, 3=LONG\n"
    "\n    [-h | --help]: Display help information\n\n";

constexpr const char* kSlices[] = {"Default", "Short", "Medium", "Long"};

// The machine's own number of a GPU: programs may see fewer, and in another order.
std::optional<uint32_t> Find(const Machine& machine, const std::string& uuid) {
  for (uint32_t i = 0; i < machine.spec().gpu_count; ++i) {
    if (uuid == machine.spec().gpus[i].uuid) return i;
  }
  return std::nullopt;
}

int List(Machine* machine, const std::vector<Board>& boards) {
  const auto state = machine->Snapshot();
  if (state == nullptr) return ExitCode(NVML_ERROR_UNKNOWN);
  std::printf(
      "+-----------------------------------+\n"
      "| GPU compute policies:             |\n"
      "| GPU     Name             Value    |\n"
      "|===================================|\n");
  for (const Board& board : boards) {
    const auto gpu = Find(*machine, board.uuid);
    const uint32_t slice = gpu ? state->gpus[*gpu].time_slice : 0u;
    std::printf("| %3u     Timeslice        %-7s  |\n", board.index, kSlices[slice & 3]);
    std::printf("+-----------------------------------+\n");
  }
  return 0;
}

int Set(Machine* machine, const std::vector<Board>& boards, const std::string& text) {
  const bool known = text.size() == 1 && text[0] >= '0' && text[0] <= '3';
  if (!known) {
    std::printf(
        "Invalid timeslice config %s: it is 0 (default), 1 (short), 2 (medium) or 3 (long)\n",
        text.c_str());
    return ExitCode(NVML_ERROR_INVALID_ARGUMENT);
  }
  const auto value = static_cast<uint32_t>(text[0] - '0');
  if (!machine->IsPrivileged()) {
    std::printf("Failed to set timeslice: Insufficient Permissions\n");
    return ExitCode(NVML_ERROR_NO_PERMISSION);
  }
  int code = 0;
  for (const Board& board : boards) {
    const auto gpu = Find(*machine, board.uuid);
    const Rc rc = !gpu ? Rc::kNotFound : machine->Update([&](MachineState& state) {
      return sim::SetTimeSlice(machine->spec(), &state, *gpu, value);
    });
    if (rc == Rc::kOk) {
      std::printf("Successfully set timeslice config to %s for GPU %s\n", kSlices[value],
                  board.bus_id.c_str());
    } else {
      std::printf("Failed to set timeslice config for GPU %s: %s\n", board.bus_id.c_str(),
                  RcName(rc));
      code = ExitCode(NVML_ERROR_GPU_IS_LOST);
    }
  }
  return code;
}

}  // namespace

int ComputePolicy(const Nvml& nvml, const std::string& dir, Words words) {
  std::string ids;
  std::optional<std::string> slice;
  bool list = false;
  while (!words.empty()) {
    const std::string option = words.Option();
    if (option == "-i" || option == "--id") {
      ids = words.Value().value_or("");
    } else if (option == "-l" || option == "--list") {
      list = true;
    } else if (option == "--set-timeslice") {
      slice = words.Value().value_or("");
    } else if (option == "-h" || option == "--help") {
      std::fputs(kHelp, stdout);
      return 0;
    } else {
      return Refuse(option);
    }
  }
  if (!list && !slice) {
    std::fputs(kHelp, stdout);
    return ExitCode(NVML_ERROR_INVALID_ARGUMENT);
  }
  const std::vector<Board> boards = Select(ListBoards(nvml), ids);
  if (boards.empty()) return NoDevices();
  auto machine = Machine::Open(dir);
  if (!machine) return ExitCode(NVML_ERROR_DRIVER_NOT_LOADED);
  return slice ? Set(machine->get(), boards, *slice) : List(machine->get(), boards);
}

}  // namespace tranche::sim::smi
