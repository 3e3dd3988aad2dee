#include <cstdio>
#include <ctime>
#include <functional>
#include <map>

#include "sim/smi/verbs.h"

// --query-gpu and --query-compute-apps.
namespace tranche::sim::smi {
namespace {

struct Row {
  const Nvml& nvml;
  const Board& board;
  unsigned boards = 0;  // how many there are
};

constexpr const char* kUnknown = "[N/A]";

struct Field {
  const char* unit;  // "" = none
  std::function<std::string(const Row&)> value;
};

// Text of a reading, or why there is none.
template <typename Print>
std::string Read(nvmlReturn_t code, const Print& print) {
  if (code == NVML_SUCCESS) return print();
  return code == NVML_ERROR_GPU_IS_LOST ? "[GPU is lost]" : kUnknown;
}

std::string OnOff(unsigned value) { return value ? "Enabled" : "Disabled"; }

std::string Memory(const Row& row, unsigned long long nvmlMemory_v2_t::*part) {
  nvmlMemory_v2_t memory{};
  memory.version = nvmlMemory_v2;
  nvmlReturn_t code = CALL(row.nvml, nvmlDeviceGetMemoryInfo_v2, row.board.device, &memory);
  if (code == NVML_ERROR_FUNCTION_NOT_FOUND) {
    nvmlMemory_t plain{};
    code = CALL(row.nvml, nvmlDeviceGetMemoryInfo, row.board.device, &plain);
    memory.total = plain.total;
    memory.used = plain.used;
    memory.free = plain.free;
    if (part == &nvmlMemory_v2_t::reserved) code = NVML_ERROR_NOT_SUPPORTED;
  }
  return Read(code, [&] { return std::to_string(memory.*part >> 20); });
}

std::string Clock(const Row& row, nvmlClockType_t type, bool max) {
  unsigned mhz = 0;
  const nvmlReturn_t code =
      max ? CALL(row.nvml, nvmlDeviceGetMaxClockInfo, row.board.device, type, &mhz)
          : CALL(row.nvml, nvmlDeviceGetClockInfo, row.board.device, type, &mhz);
  return Read(code, [&] { return std::to_string(mhz); });
}

std::string MigMode(const Row& row, bool pending) {
  unsigned now = 0, later = 0;
  const nvmlReturn_t code = CALL(row.nvml, nvmlDeviceGetMigMode, row.board.device, &now, &later);
  return Read(code, [&] { return OnOff(pending ? later : now); });
}

std::string Utilization(const Row& row, unsigned nvmlUtilization_t::*part) {
  nvmlUtilization_t busy{};
  const nvmlReturn_t code = CALL(row.nvml, nvmlDeviceGetUtilizationRates, row.board.device, &busy);
  return Read(code, [&] { return std::to_string(busy.*part); });
}

std::string Milliwatts(nvmlReturn_t code, unsigned value) {
  return Read(code, [&] { return Format("%.2f", value / 1000.0); });
}

std::string PowerLimit(const Row& row) {
  unsigned limit = 0;
  const nvmlReturn_t code =
      CALL(row.nvml, nvmlDeviceGetEnforcedPowerLimit, row.board.device, &limit);
  return Milliwatts(code, limit);
}

std::string Ecc(const Row& row, bool pending) {
  unsigned now = 0, later = 0;
  const nvmlReturn_t code = CALL(row.nvml, nvmlDeviceGetEccMode, row.board.device, &now, &later);
  return Read(code, [&] { return OnOff(pending ? later : now); });
}

std::string EccErrors(const Row& row, unsigned kind, unsigned counter) {
  unsigned long long count = 0;
  const nvmlReturn_t code =
      CALL(row.nvml, nvmlDeviceGetTotalEccErrors, row.board.device, kind, counter, &count);
  return Read(code, [&] { return std::to_string(count); });
}

std::string Pci(const Row& row, const std::function<std::string(const nvmlPciInfo_t&)>& print) {
  nvmlPciInfo_t pci{};
  const nvmlReturn_t code = CALL(row.nvml, nvmlDeviceGetPciInfo_v3, row.board.device, &pci);
  return Read(code, [&] { return print(pci); });
}

std::string ComputeMode(const Row& row) {
  constexpr const char* kNames[] = {"Default", "Exclusive_Thread", "Prohibited",
                                    "Exclusive_Process"};
  unsigned mode = 0;
  const nvmlReturn_t code = CALL(row.nvml, nvmlDeviceGetComputeMode, row.board.device, &mode);
  return Read(code, [&] { return std::string(kNames[mode & 3]); });
}

std::string Now() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  tm local{};
  localtime_r(&now.tv_sec, &local);
  char text[40];
  std::strftime(text, sizeof(text), "%Y/%m/%d %H:%M:%S", &local);
  return Format("%s.%03ld", text, now.tv_nsec / 1000000);
}

const std::map<std::string, Field>& GpuFields() {
  static const auto* const fields = new std::map<std::string, Field>{
      {"timestamp", {"", [](const Row&) { return Now(); }}},
      {"driver_version", {"", [](const Row& r) { return DriverVersion(r.nvml); }}},
      {"count", {"", [](const Row& r) { return std::to_string(r.boards); }}},
      {"index", {"", [](const Row& r) { return std::to_string(r.board.index); }}},
      {"name", {"", [](const Row& r) { return r.board.name; }}},
      {"uuid", {"", [](const Row& r) { return r.board.uuid; }}},
      {"serial",
       {"", [](const Row& r) { return r.board.serial.empty() ? kUnknown : r.board.serial; }}},
      {"pci.bus_id", {"", [](const Row& r) { return r.board.bus_id; }}},
      {"pci.domain",
       {"",
        [](const Row& r) {
          return Pci(r, [](const nvmlPciInfo_t& p) { return Format("0x%04X", p.domain); });
        }}},
      {"pci.bus",
       {"",
        [](const Row& r) {
          return Pci(r, [](const nvmlPciInfo_t& p) { return Format("0x%02X", p.bus); });
        }}},
      {"pci.device",
       {"",
        [](const Row& r) {
          return Pci(r, [](const nvmlPciInfo_t& p) { return Format("0x%02X", p.device); });
        }}},
      {"pci.device_id",
       {"",
        [](const Row& r) {
          return Pci(r, [](const nvmlPciInfo_t& p) { return Format("0x%08X", p.pciDeviceId); });
        }}},
      {"pci.sub_device_id",
       {"",
        [](const Row& r) {
          return Pci(r, [](const nvmlPciInfo_t& p) { return Format("0x%08X", p.pciSubSystemId); });
        }}},
      {"vbios_version",
       {"",
        [](const Row& r) {
          char text[NVML_DEVICE_VBIOS_VERSION_BUFFER_SIZE] = {};
          const nvmlReturn_t code = CALL(r.nvml, nvmlDeviceGetVbiosVersion, r.board.device, text,
                                         static_cast<unsigned>(sizeof(text)));
          return Read(code, [&] { return std::string(text); });
        }}},
      {"compute_cap",
       {"",
        [](const Row& r) {
          int major = 0, minor = 0;
          const nvmlReturn_t code =
              CALL(r.nvml, nvmlDeviceGetCudaComputeCapability, r.board.device, &major, &minor);
          return Read(code, [&] { return Format("%d.%d", major, minor); });
        }}},
      {"persistence_mode",
       {"",
        [](const Row& r) {
          unsigned on = 0;
          const nvmlReturn_t code = CALL(r.nvml, nvmlDeviceGetPersistenceMode, r.board.device, &on);
          return Read(code, [&] { return OnOff(on); });
        }}},
      {"accounting.mode",
       {"",
        [](const Row& r) {
          unsigned on = 0;
          const nvmlReturn_t code = CALL(r.nvml, nvmlDeviceGetAccountingMode, r.board.device, &on);
          return Read(code, [&] { return OnOff(on); });
        }}},
      {"compute_mode", {"", ComputeMode}},
      {"display_active", {"", [](const Row&) { return "Disabled"; }}},
      {"display_mode", {"", [](const Row&) { return "Disabled"; }}},
      {"fan.speed", {"%", [](const Row&) { return kUnknown; }}},
      {"pstate",
       {"",
        [](const Row& r) {
          unsigned state = 0;
          const nvmlReturn_t code =
              CALL(r.nvml, nvmlDeviceGetPerformanceState, r.board.device, &state);
          return Read(code, [&] { return Format("P%u", state); });
        }}},
      {"mig.mode.current", {"", [](const Row& r) { return MigMode(r, false); }}},
      {"mig.mode.pending", {"", [](const Row& r) { return MigMode(r, true); }}},
      {"memory.total", {"MiB", [](const Row& r) { return Memory(r, &nvmlMemory_v2_t::total); }}},
      {"memory.reserved",
       {"MiB", [](const Row& r) { return Memory(r, &nvmlMemory_v2_t::reserved); }}},
      {"memory.used", {"MiB", [](const Row& r) { return Memory(r, &nvmlMemory_v2_t::used); }}},
      {"memory.free", {"MiB", [](const Row& r) { return Memory(r, &nvmlMemory_v2_t::free); }}},
      {"utilization.gpu",
       {"%", [](const Row& r) { return Utilization(r, &nvmlUtilization_t::gpu); }}},
      {"utilization.memory",
       {"%", [](const Row& r) { return Utilization(r, &nvmlUtilization_t::memory); }}},
      {"temperature.gpu",
       {"",
        [](const Row& r) {
          unsigned degrees = 0;
          const nvmlReturn_t code = CALL(r.nvml, nvmlDeviceGetTemperature, r.board.device,
                                         NVML_TEMPERATURE_GPU, &degrees);
          return Read(code, [&] { return std::to_string(degrees); });
        }}},
      {"power.draw",
       {"W",
        [](const Row& r) {
          unsigned milliwatts = 0;
          const nvmlReturn_t code =
              CALL(r.nvml, nvmlDeviceGetPowerUsage, r.board.device, &milliwatts);
          return Milliwatts(code, milliwatts);
        }}},
      {"power.limit", {"W", PowerLimit}},
      {"enforced.power.limit", {"W", PowerLimit}},
      {"clocks.current.graphics",
       {"MHz", [](const Row& r) { return Clock(r, NVML_CLOCK_GRAPHICS, false); }}},
      {"clocks.current.sm", {"MHz", [](const Row& r) { return Clock(r, NVML_CLOCK_SM, false); }}},
      {"clocks.current.memory",
       {"MHz", [](const Row& r) { return Clock(r, NVML_CLOCK_MEM, false); }}},
      {"clocks.max.graphics",
       {"MHz", [](const Row& r) { return Clock(r, NVML_CLOCK_GRAPHICS, true); }}},
      {"clocks.max.sm", {"MHz", [](const Row& r) { return Clock(r, NVML_CLOCK_SM, true); }}},
      {"clocks.max.memory", {"MHz", [](const Row& r) { return Clock(r, NVML_CLOCK_MEM, true); }}},
      {"ecc.mode.current", {"", [](const Row& r) { return Ecc(r, false); }}},
      {"ecc.mode.pending", {"", [](const Row& r) { return Ecc(r, true); }}},
      {"ecc.errors.corrected.volatile.total",
       {"",
        [](const Row& r) {
          return EccErrors(r, NVML_MEMORY_ERROR_TYPE_CORRECTED, NVML_VOLATILE_ECC);
        }}},
      {"ecc.errors.uncorrected.volatile.total",
       {"",
        [](const Row& r) {
          return EccErrors(r, NVML_MEMORY_ERROR_TYPE_UNCORRECTED, NVML_VOLATILE_ECC);
        }}},
      {"ecc.errors.uncorrected.aggregate.total",
       {"",
        [](const Row& r) {
          return EccErrors(r, NVML_MEMORY_ERROR_TYPE_UNCORRECTED, NVML_AGGREGATE_ECC);
        }}},
  };
  return *fields;
}

// Other names of the same.
std::string Canonical(const std::string& field) {
  static const auto* const names = new std::map<std::string, std::string>{
      {"gpu_name", "name"},
      {"gpu_uuid", "uuid"},
      {"gpu_serial", "serial"},
      {"gpu_bus_id", "pci.bus_id"},
      {"clocks.gr", "clocks.current.graphics"},
      {"clocks.sm", "clocks.current.sm"},
      {"clocks.mem", "clocks.current.memory"},
      {"clocks.max.gr", "clocks.max.graphics"},
      {"clocks.max.mem", "clocks.max.memory"},
      {"power.draw.instant", "power.draw"},
      {"power.draw.average", "power.draw"},
      {"used_memory", "used_gpu_memory"},
  };
  const auto found = names->find(field);
  return found == names->end() ? field : found->second;
}

struct Shape {
  bool header = true, units = true;
};

std::optional<Shape> ParseFormat(const std::string& format) {
  Shape shape;
  bool csv = false;
  for (const std::string& word : Split(format, ',')) {
    if (word == "csv") {
      csv = true;
    } else if (word == "noheader") {
      shape.header = false;
    } else if (word == "nounits") {
      shape.units = false;
    } else {
      return std::nullopt;
    }
  }
  if (!csv) return std::nullopt;
  return shape;
}

void PrintHeader(const std::vector<std::string>& asked, const std::vector<const char*>& units) {
  for (size_t i = 0; i < asked.size(); ++i) {
    std::printf("%s%s", i ? ", " : "", asked[i].c_str());
    if (*units[i] != 0) std::printf(" [%s]", units[i]);
  }
  std::printf("\n");
}

void PrintValue(size_t column, const std::string& value, const char* unit, const Shape& shape) {
  std::printf("%s%s", column ? ", " : "", value.c_str());
  const bool known = value.empty() || value[0] != '[';
  if (*unit != 0 && shape.units && known) std::printf(" %s", unit);
}

int BadField(const std::string& field) {
  std::printf("Field \"%s\" is not a valid field to query.\n", field.c_str());
  return ExitCode(NVML_ERROR_INVALID_ARGUMENT);
}

int BadFormat() {
  std::printf("\"--format=\" switch is missing, or is not csv[,noheader][,nounits].\n");
  return ExitCode(NVML_ERROR_INVALID_ARGUMENT);
}

struct App {
  const Nvml& nvml;
  const Board& board;
  nvmlProcessInfo_t process;
};

const std::map<std::string, std::pair<const char*, std::function<std::string(const App&)>>>&
AppFields() {
  using Entry = std::pair<const char*, std::function<std::string(const App&)>>;
  static const auto* const fields = new std::map<std::string, Entry>{
      {"timestamp", {"", [](const App&) { return Now(); }}},
      {"gpu_name", {"", [](const App& a) { return a.board.name; }}},
      {"gpu_bus_id", {"", [](const App& a) { return a.board.bus_id; }}},
      {"gpu_serial", {"", [](const App& a) { return a.board.serial; }}},
      {"gpu_uuid", {"", [](const App& a) { return a.board.uuid; }}},
      {"pid", {"", [](const App& a) { return std::to_string(a.process.pid); }}},
      {"process_name",
       {"",
        [](const App& a) {
          char name[256] = {};
          const nvmlReturn_t code = CALL(a.nvml, nvmlSystemGetProcessName, a.process.pid, name,
                                         static_cast<unsigned>(sizeof(name)));
          return code == NVML_SUCCESS ? std::string(name) : "[Not Found]";
        }}},
      {"used_gpu_memory",
       {"MiB",
        [](const App& a) {
          return a.process.usedGpuMemory == NVML_VALUE_NOT_AVAILABLE_ULL
                     ? kUnknown
                     : std::to_string(a.process.usedGpuMemory >> 20);
        }}},
  };
  return *fields;
}

// Of a GPU, or with MIG of its devices.
std::vector<nvmlProcessInfo_t> Processes(const Nvml& nvml, nvmlDevice_t device) {
  unsigned count = 0;
  if (CALL(nvml, nvmlDeviceGetComputeRunningProcesses_v3, device, &count,
           static_cast<nvmlProcessInfo_t*>(nullptr)) != NVML_ERROR_INSUFFICIENT_SIZE)
    return {};
  std::vector<nvmlProcessInfo_t> list(count + 8);
  count = static_cast<unsigned>(list.size());
  if (CALL(nvml, nvmlDeviceGetComputeRunningProcesses_v3, device, &count, list.data()) !=
      NVML_SUCCESS)
    return {};
  list.resize(count);
  return list;
}

}  // namespace

int QueryGpus(const Nvml& nvml, const std::vector<Board>& boards, const Request& request) {
  const auto shape = ParseFormat(request.format);
  if (!shape) return BadFormat();
  const std::vector<std::string> asked = Split(request.query_gpu, ',');
  std::vector<const Field*> fields;
  std::vector<const char*> units;
  for (const std::string& name : asked) {
    const auto found = GpuFields().find(Canonical(name));
    if (found == GpuFields().end()) return BadField(name);
    fields.push_back(&found->second);
    units.push_back(found->second.unit);
  }
  if (shape->header) PrintHeader(asked, units);
  nvmlReturn_t worst = NVML_SUCCESS;
  for (const Board& board : boards) {
    if (board.code != NVML_SUCCESS) {
      std::printf("Unable to determine the device handle for gpu %u: %s\n", board.index,
                  nvml.ErrorText(board.code).c_str());
      worst = board.code;
      continue;
    }
    const Row row{nvml, board, static_cast<unsigned>(boards.size())};
    for (size_t i = 0; i < fields.size(); ++i)
      PrintValue(i, fields[i]->value(row), fields[i]->unit, *shape);
    std::printf("\n");
  }
  return ExitCode(worst);
}

int QueryApps(const Nvml& nvml, const std::vector<Board>& boards, const Request& request) {
  const auto shape = ParseFormat(request.format);
  if (!shape) return BadFormat();
  const std::vector<std::string> asked = Split(request.query_apps, ',');
  std::vector<std::string> names;
  std::vector<const char*> units;
  for (const std::string& name : asked) {
    names.push_back(name == "used_memory" ? "used_gpu_memory"
                    : name == "name"      ? "process_name"
                                          : name);
    const auto found = AppFields().find(names.back());
    if (found == AppFields().end()) return BadField(name);
    units.push_back(found->second.first);
  }
  if (shape->header) PrintHeader(asked, units);
  for (const Board& board : boards) {
    if (board.code != NVML_SUCCESS) continue;
    for (const nvmlProcessInfo_t& process : Processes(nvml, board.device)) {
      const App app{nvml, board, process};
      for (size_t i = 0; i < names.size(); ++i)
        PrintValue(i, AppFields().at(names[i]).second(app), units[i], *shape);
      std::printf("\n");
    }
  }
  return 0;
}

}  // namespace tranche::sim::smi
