#include <cstdio>
#include <ctime>

#include "sim/smi/verbs.h"

// nvidia-smi without arguments, in the columns of driver 550 and newer.
namespace tranche::sim::smi {
namespace {

std::string Line(char fill) { return "+" + std::string(89, fill) + "+\n"; }
constexpr const char* kThirds =
    "+-----------------------------------------+------------------------+----------------------+\n";

// At most `width` characters, cut as the original cuts names.
std::string Cut(const std::string& text, size_t width) {
  return text.size() <= width ? text : text.substr(0, width - 3) + "...";
}

std::string Mib(nvmlReturn_t code, unsigned long long bytes) {
  return code == NVML_SUCCESS ? Format("%lluMiB", bytes >> 20) : "N/A";
}

void PrintBoard(const Nvml& nvml, const Board& board) {
  if (board.code != NVML_SUCCESS) {
    std::printf("| %3u  %-35s|   %-21s|                      |\n", board.index,
                Cut(nvml.ErrorText(board.code), 34).c_str(), "ERR!");
    std::fputs(kThirds, stdout);
    return;
  }
  unsigned persistence = 0, degrees = 0, state = 0, watts = 0, limit = 0, mode = 0;
  unsigned mig = 0, pending = 0, ecc = 0, ecc_pending = 0;
  unsigned long long errors = 0;
  nvmlMemory_v2_t memory{};
  memory.version = nvmlMemory_v2;
  nvmlUtilization_t busy{};
  const auto d = board.device;
  CALL(nvml, nvmlDeviceGetPersistenceMode, d, &persistence);
  CALL(nvml, nvmlDeviceGetTemperature, d, NVML_TEMPERATURE_GPU, &degrees);
  CALL(nvml, nvmlDeviceGetPerformanceState, d, &state);
  const bool power = CALL(nvml, nvmlDeviceGetPowerUsage, d, &watts) == NVML_SUCCESS;
  const bool capped = CALL(nvml, nvmlDeviceGetEnforcedPowerLimit, d, &limit) == NVML_SUCCESS;
  CALL(nvml, nvmlDeviceGetComputeMode, d, &mode);
  nvmlReturn_t known = CALL(nvml, nvmlDeviceGetMemoryInfo_v2, d, &memory);
  if (known != NVML_SUCCESS) {
    nvmlMemory_t plain{};
    known = CALL(nvml, nvmlDeviceGetMemoryInfo, d, &plain);
    memory.used = plain.used;
    memory.total = plain.total;
  }
  const bool used = CALL(nvml, nvmlDeviceGetUtilizationRates, d, &busy) == NVML_SUCCESS;
  const bool has_mig = CALL(nvml, nvmlDeviceGetMigMode, d, &mig, &pending) == NVML_SUCCESS;
  const bool has_ecc = CALL(nvml, nvmlDeviceGetEccMode, d, &ecc, &ecc_pending) == NVML_SUCCESS;
  CALL(nvml, nvmlDeviceGetTotalEccErrors, d, NVML_MEMORY_ERROR_TYPE_UNCORRECTED, NVML_VOLATILE_ECC,
       &errors);

  const std::string uncorrected = has_mig && mig   ? "On"
                                  : has_ecc && ecc ? std::to_string(errors)
                                  : has_ecc        ? "Off"
                                                   : "N/A";
  constexpr const char* kModes[] = {"Default", "E. Thread", "Prohibited", "E. Process"};
  std::printf("| %3u  %-27s %5s  |   %-16s %-3s | %20s |\n", board.index,
              Cut(board.name, 26).c_str(), persistence ? "On" : "Off", board.bus_id.c_str(), "Off",
              uncorrected.c_str());
  std::printf("| %3s  %3uC    P%-2u        %6s / %5s  | %10s / %9s | %7s %12s |\n", "N/A", degrees,
              state, power ? Format("%uW", watts / 1000).c_str() : "N/A",
              capped ? Format("%uW", limit / 1000).c_str() : "N/A", Mib(known, memory.used).c_str(),
              Mib(known, memory.total).c_str(), used ? Format("%u%%", busy.gpu).c_str() : "N/A",
              kModes[mode & 3]);
  const std::string shown = !has_mig         ? "N/A"
                            : mig != pending ? std::string(mig ? "Enabled*" : "Disabled*")
                            : mig            ? "Enabled"
                                             : "Disabled";
  std::printf("|%41s|%24s| %20s |\n%s", "", "", shown.c_str(), kThirds);
}

void PrintMigDevice(const Nvml& nvml, const Board& board, const MigDevice& mig) {
  nvmlMemory_t memory{};
  nvmlBAR1Memory_t bar{};
  nvmlDeviceAttributes_t parts{};
  const nvmlReturn_t known = CALL(nvml, nvmlDeviceGetMemoryInfo, mig.device, &memory);
  const nvmlReturn_t mapped = CALL(nvml, nvmlDeviceGetBAR1MemoryInfo, mig.device, &bar);
  CALL(nvml, nvmlDeviceGetAttributes_v2, mig.device, &parts);
  std::printf("| %2u %4u %3u %3u  | %18s / %8s    | %2u      0 | %2u %3u %4u %4u %4u |\n",
              board.index, mig.gi, mig.ci, mig.index, Mib(known, memory.used).c_str(),
              Mib(known, memory.total).c_str(), parts.multiprocessorCount,
              parts.sharedCopyEngineCount, parts.sharedEncoderCount, parts.sharedDecoderCount,
              parts.sharedOfaCount, parts.sharedJpegCount);
  std::printf("|                  | %18s / %8s    |           |                       |\n",
              Mib(mapped, bar.bar1Used).c_str(), Mib(mapped, bar.bar1Total).c_str());
  std::printf(
      "+------------------+----------------------------------+-----------+-----------------------"
      "+\n");
}

void PrintMigDevices(const Nvml& nvml, const std::vector<Board>& boards) {
  bool enabled = false, any = false;
  for (const Board& board : boards) {
    unsigned now = 0, pending = 0;
    if (board.code == NVML_SUCCESS &&
        CALL(nvml, nvmlDeviceGetMigMode, board.device, &now, &pending) == NVML_SUCCESS)
      enabled = enabled || now != 0;
  }
  if (!enabled) return;
  std::printf(
      "\n%s| MIG devices:%76s|\n"
      "+------------------+----------------------------------+-----------+-----------------------+"
      "\n"
      "| GPU  GI  CI  MIG |              Shared Memory-Usage |        Vol|        Shared         "
      "|\n"
      "|      ID  ID  Dev |                Shared BAR1-Usage | SM     Unc| CE ENC  DEC  OFA  JPG "
      "|\n"
      "|                  |                                  |        ECC|                       "
      "|\n"
      "|==================+==================================+===========+=======================|"
      "\n",
      Line('-').c_str(), "");
  for (const Board& board : boards) {
    for (const MigDevice& mig : ListMigDevices(nvml, board)) {
      PrintMigDevice(nvml, board, mig);
      any = true;
    }
  }
  if (!any) std::printf("|  %-87s|\n%s", "No MIG devices found", Line('-').c_str());
}

void PrintProcesses(const Nvml& nvml, const std::vector<Board>& boards) {
  std::printf(
      "\n%s| Processes:%78s|\n"
      "|  GPU   GI   CI              PID   Type   Process name                        GPU Memory "
      "|\n"
      "|        ID   ID                                                               Usage      "
      "|\n"
      "|=========================================================================================|"
      "\n",
      Line('-').c_str(), "");
  bool any = false;
  for (const Board& board : boards) {
    if (board.code != NVML_SUCCESS) continue;
    std::vector<nvmlProcessInfo_t> list(256);
    auto count = static_cast<unsigned>(list.size());
    if (CALL(nvml, nvmlDeviceGetComputeRunningProcesses_v3, board.device, &count, list.data()) !=
        NVML_SUCCESS)
      continue;
    for (unsigned i = 0; i < count; ++i) {
      const nvmlProcessInfo_t& p = list[i];
      const auto id = [](unsigned value) {
        return value == NVML_VALUE_NOT_AVAILABLE_UINT ? "N/A" : std::to_string(value);
      };
      char name[256] = {};
      if (CALL(nvml, nvmlSystemGetProcessName, p.pid, name, static_cast<unsigned>(sizeof(name))) !=
          NVML_SUCCESS)
        std::snprintf(name, sizeof(name), "[Not Found]");
      const std::string memory = p.usedGpuMemory == NVML_VALUE_NOT_AVAILABLE_ULL
                                     ? "N/A"
                                     : Format("%lluMiB", p.usedGpuMemory >> 20);
      std::printf("| %4u  %4s %4s %16u  %5s   %-36s %9s |\n", board.index,
                  id(p.gpuInstanceId).c_str(), id(p.computeInstanceId).c_str(), p.pid, "C",
                  Cut(name, 36).c_str(), memory.c_str());
      any = true;
    }
  }
  if (!any) std::printf("|  %-87s|\n", "No running processes found");
  std::fputs(Line('-').c_str(), stdout);
}

}  // namespace

int Summarize(const Nvml& nvml, const std::vector<Board>& boards) {
  const time_t now = time(nullptr);
  tm local{};
  localtime_r(&now, &local);
  char date[64];
  std::strftime(date, sizeof(date), "%a %b %e %H:%M:%S %Y", &local);
  const std::string driver = DriverVersion(nvml);
  std::printf("%s\n%s| NVIDIA-SMI %-22s Driver Version: %-14s CUDA Version: %-8s |\n%s", date,
              Line('-').c_str(), driver.c_str(), driver.c_str(), CudaVersion(nvml).c_str(),
              kThirds);
  std::printf(
      "| GPU  Name                 Persistence-M | Bus-Id          Disp.A | Volatile Uncorr. ECC "
      "|\n"
      "| Fan  Temp   Perf          Pwr:Usage/Cap |           Memory-Usage | GPU-Util  Compute M. "
      "|\n"
      "|                                         |                        |               MIG M. "
      "|\n"
      "|=========================================+========================+======================|"
      "\n");
  for (const Board& board : boards) PrintBoard(nvml, board);
  PrintMigDevices(nvml, boards);
  PrintProcesses(nvml, boards);
  return 0;
}

}  // namespace tranche::sim::smi
