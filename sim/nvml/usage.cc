#include <algorithm>
#include <cmath>
#include <cstring>

#include "sim/nvml/board.h"
#include "sim/nvml/library.h"

using namespace tranche::sim;
using namespace tranche::sim::nvml;

namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr uint32_t kSplitMemorySince = 510;  // from here on v1 counts what is reserved as used
constexpr unsigned kIdleCelsius = 32;
constexpr unsigned kCelsiusUnderLoad = 40;  // what full load adds
constexpr unsigned kSamplePeriodUs = 167000;

unsigned Percent(double share) { return static_cast<unsigned>(std::lround(share * 100)); }

Load LoadOf(const Device& d) { return LoadOfGpu(d.machine_spec(), d.state, d.index); }

// There is no utilisation of a GPU in MIG mode, nor of its parts.
bool HidesUtilization(const Device& d) { return d.is_mig() || d.gpu.mig_mode != 0; }

unsigned Temperature(const Device& d) {
  return kIdleCelsius + static_cast<unsigned>(std::lround(kCelsiusUnderLoad * LoadOf(d).sm));
}

unsigned CurrentMhz(const Device& d, nvmlClockType_t type) {
  Board board = BoardOf(d.spec);
  if (type == NVML_CLOCK_MEM) return board.memory_mhz;
  bool busy = LoadOf(d).sm > 0;
  unsigned mhz = busy ? board.max_mhz : board.idle_mhz;
  if (d.gpu.locked_max_mhz != 0) mhz = std::clamp(mhz, d.gpu.locked_min_mhz, d.gpu.locked_max_mhz);
  // The video clock runs at a fixed part of the graphics clock.
  return type == NVML_CLOCK_VIDEO ? mhz * 9 / 10 : mhz;
}

nvmlPstates_t PState(const Device& d) {
  bool idle = LoadOf(d).sm == 0 && ContextsOn(d.state, d.index).empty();
  return idle && BoardOf(d.spec).deep_idle ? 8 : 0;
}

// The lowest limit that may be set.
unsigned LeastPowerMw(const GpuSpec& spec) { return spec.tdp_watts * 1000 * 2 / 7; }

bool IsGeforce(const Device& d) { return std::strstr(d.spec.name, "GeForce") != nullptr; }

}  // namespace

// --- Memory -------------------------------------------------------------------------------------

NVML_EXPORT nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t* memory) {
  return OnDevice(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (memory == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    MemoryInfo info;
    Rc rc = MemoryOf(d.machine_spec(), d.state, d.target(), &info);
    if (rc != Rc::kOk) return ToNvml(rc);
    bool split = d.branch() >= kSplitMemorySince;
    memory->total = info.total;
    memory->used = info.used + (split ? info.reserved : 0);
    memory->free = info.total - std::min<uint64_t>(info.total, memory->used);
    return NVML_SUCCESS;
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t device, nvmlMemory_v2_t* memory) {
  return OnDevice(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (memory == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    if (memory->version != nvmlMemory_v2) return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    MemoryInfo info;
    Rc rc = MemoryOf(d.machine_spec(), d.state, d.target(), &info);
    if (rc != Rc::kOk) return ToNvml(rc);
    memory->total = info.total;
    memory->reserved = info.reserved;
    memory->used = info.used;
    memory->free = info.free;
    return NVML_SUCCESS;
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetBAR1MemoryInfo(nvmlDevice_t device, nvmlBAR1Memory_t* bar1) {
  return OnDevice(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (bar1 == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    // As large as the memory, in powers of two; a MIG device has its part.
    uint64_t total = 256 * kMiB;
    uint64_t memory = d.is_mig() ? d.gi_profile->memory_bytes : d.spec.memory_bytes;
    while (total < memory) total *= 2;
    bar1->bar1Total = total;
    bar1->bar1Used =
        std::min(total, kMiB + ContextsOn(d.state, d.index, d.target().ci).size() * 2 * kMiB);
    bar1->bar1Free = total - bar1->bar1Used;
    return NVML_SUCCESS;
  });
}

// --- Utilisation --------------------------------------------------------------------------------

NVML_EXPORT nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t device,
                                                       nvmlUtilization_t* utilization) {
  return OnDevice(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (utilization == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    if (HidesUtilization(d)) return NVML_ERROR_NOT_SUPPORTED;
    Load load = LoadOf(d);
    utilization->gpu = Percent(load.sm);
    utilization->memory = Percent(load.memory);
    return NVML_SUCCESS;
  });
}

namespace {

// The media engines: nothing here uses them.
nvmlReturn_t MediaUtilization(const char* call, nvmlDevice_t device, unsigned int* utilization,
                              unsigned int* period) {
  return OnDevice(call, device, [&](const Device& d) -> nvmlReturn_t {
    if (utilization == nullptr || period == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    if (HidesUtilization(d)) return NVML_ERROR_NOT_SUPPORTED;
    *utilization = 0;
    *period = kSamplePeriodUs;
    return NVML_SUCCESS;
  });
}

}  // namespace

NVML_EXPORT nvmlReturn_t nvmlDeviceGetEncoderUtilization(nvmlDevice_t device, unsigned int* value,
                                                         unsigned int* period) {
  return MediaUtilization(__func__, device, value, period);
}
NVML_EXPORT nvmlReturn_t nvmlDeviceGetDecoderUtilization(nvmlDevice_t device, unsigned int* value,
                                                         unsigned int* period) {
  return MediaUtilization(__func__, device, value, period);
}
NVML_EXPORT nvmlReturn_t nvmlDeviceGetJpgUtilization(nvmlDevice_t device, unsigned int* value,
                                                     unsigned int* period) {
  return MediaUtilization(__func__, device, value, period);
}
NVML_EXPORT nvmlReturn_t nvmlDeviceGetOfaUtilization(nvmlDevice_t device, unsigned int* value,
                                                     unsigned int* period) {
  return MediaUtilization(__func__, device, value, period);
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetEncoderCapacity(nvmlDevice_t device, unsigned int codec,
                                                      unsigned int* capacity) {
  return OnBoard(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (codec > 2) return NVML_ERROR_INVALID_ARGUMENT;
    if (!BoardOf(d.spec).encoder) return NVML_ERROR_NOT_SUPPORTED;
    return Put(capacity, 100);
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetEncoderStats(nvmlDevice_t device, unsigned int* sessions,
                                                   unsigned int* fps, unsigned int* latency) {
  return OnBoard(__func__, device, [&](const Device&) -> nvmlReturn_t {
    if (sessions == nullptr || fps == nullptr || latency == nullptr) {
      return NVML_ERROR_INVALID_ARGUMENT;
    }
    *sessions = *fps = *latency = 0;
    return NVML_SUCCESS;
  });
}

// No sessions of either kind ever; entries are never written.
NVML_EXPORT nvmlReturn_t nvmlDeviceGetEncoderSessions(nvmlDevice_t device, unsigned int* count,
                                                      void*) {
  return OnBoard(__func__, device, [&](const Device&) { return Put(count, 0); });
}
NVML_EXPORT nvmlReturn_t nvmlDeviceGetFBCSessions(nvmlDevice_t device, unsigned int* count, void*) {
  return OnBoard(__func__, device, [&](const Device&) { return Put(count, 0); });
}
// {sessions, average frames per second, average latency}
NVML_EXPORT nvmlReturn_t nvmlDeviceGetFBCStats(nvmlDevice_t device, unsigned int* three) {
  return OnBoard(__func__, device, [&](const Device&) -> nvmlReturn_t {
    if (three == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    std::fill(three, three + 3, 0u);
    return NVML_SUCCESS;
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetSamples(nvmlDevice_t device, nvmlSamplingType_t type,
                                              unsigned long long last_seen,
                                              nvmlValueType_t* value_type, unsigned int* count,
                                              nvmlSample_t* samples) {
  return OnDevice(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (value_type == nullptr || count == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    unsigned int value = 0;
    switch (type) {
      case NVML_TOTAL_POWER_SAMPLES:
        value = static_cast<unsigned>(PowerWatts(d.machine_spec(), d.state, d.index) * 1000);
        break;
      case NVML_GPU_UTILIZATION_SAMPLES:
        value = Percent(LoadOf(d).sm);
        break;
      case NVML_MEMORY_UTILIZATION_SAMPLES:
        value = Percent(LoadOf(d).memory);
        break;
      case NVML_ENC_UTILIZATION_SAMPLES:
      case NVML_DEC_UTILIZATION_SAMPLES:
        break;
      case NVML_PROCESSOR_CLK_SAMPLES:
        value = CurrentMhz(d, NVML_CLOCK_SM);
        break;
      case NVML_MEMORY_CLK_SAMPLES:
        value = CurrentMhz(d, NVML_CLOCK_MEM);
        break;
      default:
        return NVML_ERROR_INVALID_ARGUMENT;
    }
    bool utilization = type >= NVML_GPU_UTILIZATION_SAMPLES && type <= NVML_DEC_UTILIZATION_SAMPLES;
    if (d.is_mig() || (utilization && HidesUtilization(d))) return NVML_ERROR_NOT_SUPPORTED;
    *value_type = NVML_VALUE_TYPE_UNSIGNED_INT;
    // The buffer of this driver holds one sample: the present.
    uint64_t now_us = d.machine.WallNs() / 1000;
    if (last_seen >= now_us) return NVML_ERROR_NOT_FOUND;
    if (samples == nullptr) {
      *count = 1;
      return NVML_SUCCESS;
    }
    if (*count < 1) return NVML_ERROR_INVALID_ARGUMENT;
    *count = 1;
    samples[0].timeStamp = now_us;
    samples[0].sampleValue.ullVal = 0;
    samples[0].sampleValue.uiVal = value;
    return NVML_SUCCESS;
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetPcieThroughput(nvmlDevice_t device,
                                                     nvmlPcieUtilCounter_t counter,
                                                     unsigned int* kib_per_second) {
  return OnBoard(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (counter > NVML_PCIE_UTIL_RX_BYTES) return NVML_ERROR_INVALID_ARGUMENT;
    if (d.gpu.mig_mode) return NVML_ERROR_NOT_SUPPORTED;
    return Put(kib_per_second, LoadOf(d).memory * 1000 * 1000);
  });
}

// --- Temperature and power ----------------------------------------------------------------------

NVML_EXPORT nvmlReturn_t nvmlDeviceGetTemperature(nvmlDevice_t device,
                                                  nvmlTemperatureSensors_t sensor,
                                                  unsigned int* temperature) {
  return OnBoard(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (sensor != NVML_TEMPERATURE_GPU) return NVML_ERROR_INVALID_ARGUMENT;
    return Put(temperature, Temperature(d));
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetTemperatureV(nvmlDevice_t device,
                                                   nvmlTemperature_t* temperature) {
  return OnBoard(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (temperature == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    if (temperature->version != nvmlTemperature_v1) return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    if (temperature->sensorType != NVML_TEMPERATURE_GPU) return NVML_ERROR_INVALID_ARGUMENT;
    temperature->temperature = static_cast<int>(Temperature(d));
    return NVML_SUCCESS;
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetTemperatureThreshold(nvmlDevice_t device, unsigned int which,
                                                           unsigned int* temperature) {
  return OnBoard(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    Board board = BoardOf(d.spec);
    switch (which) {
      case 0:
        return Put(temperature, board.shutdown_celsius);
      case 1:
        return Put(temperature, board.slowdown_celsius);
      case 2:
        return Put(temperature, 95);  // memory
      case 3:
        return Put(temperature, board.max_celsius);
      case 4:
      case 5:
      case 6:
      case 7:
        return NVML_ERROR_NOT_SUPPORTED;
      default:
        return NVML_ERROR_INVALID_ARGUMENT;
    }
  });
}

namespace {

struct MarginTemperature {
  unsigned int version;
  int margin;
};

}  // namespace

NVML_EXPORT nvmlReturn_t nvmlDeviceGetMarginTemperature(nvmlDevice_t device, void* out) {
  return OnBoard(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    auto* margin = static_cast<MarginTemperature*>(out);
    if (margin == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    if (margin->version != NVML_STRUCT_VERSION(MarginTemperature, 1)) {
      return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    margin->margin =
        static_cast<int>(BoardOf(d.spec).slowdown_celsius) - static_cast<int>(Temperature(d));
    return NVML_SUCCESS;
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetPowerUsage(nvmlDevice_t device, unsigned int* milliwatts) {
  return OnBoard(__func__, device, [&](const Device& d) {
    return Put(milliwatts, PowerWatts(d.machine_spec(), d.state, d.index) * 1000);
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetTotalEnergyConsumption(nvmlDevice_t device,
                                                             unsigned long long* millijoules) {
  return OnBoard(__func__, device,
                 [&](const Device& d) { return Put(millijoules, d.gpu.energy_joules * 1000); });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetPowerManagementMode(nvmlDevice_t device,
                                                          nvmlEnableState_t* mode) {
  return OnBoard(__func__, device, [&](const Device&) { return Put(mode, NVML_FEATURE_ENABLED); });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetPowerManagementLimit(nvmlDevice_t device,
                                                           unsigned int* limit) {
  return OnBoard(__func__, device,
                 [&](const Device& d) { return Put(limit, d.gpu.power_limit_mw); });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetEnforcedPowerLimit(nvmlDevice_t device, unsigned int* limit) {
  return OnBoard(__func__, device,
                 [&](const Device& d) { return Put(limit, d.gpu.power_limit_mw); });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetPowerManagementDefaultLimit(nvmlDevice_t device,
                                                                  unsigned int* limit) {
  return OnBoard(__func__, device,
                 [&](const Device& d) { return Put(limit, d.spec.tdp_watts * 1000); });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetPowerManagementLimitConstraints(nvmlDevice_t device,
                                                                      unsigned int* least,
                                                                      unsigned int* most) {
  return OnBoard(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (least == nullptr || most == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    *least = LeastPowerMw(d.spec);
    *most = d.spec.tdp_watts * 1000;
    return NVML_SUCCESS;
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceSetPowerManagementLimit(nvmlDevice_t device,
                                                           unsigned int limit) {
  return ChangeBoard(__func__, device, [&](const Device& d, MachineState& state) -> nvmlReturn_t {
    nvmlReturn_t allowed = NeedRoot(d);
    if (allowed != NVML_SUCCESS) return allowed;
    if (limit < LeastPowerMw(d.spec) || limit > d.spec.tdp_watts * 1000) {
      return NVML_ERROR_INVALID_ARGUMENT;
    }
    state.gpus[d.index].power_limit_mw = limit;
    return NVML_SUCCESS;
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetPowerSource(nvmlDevice_t device, unsigned int* source) {
  return OnBoard(__func__, device, [&](const Device&) { return Put(source, 0); });  // mains
}

// Boards in servers are cooled by the server's own fans.
NVML_EXPORT nvmlReturn_t nvmlDeviceGetNumFans(nvmlDevice_t device, unsigned int* fans) {
  return OnBoard(__func__, device,
                 [&](const Device& d) { return Put(fans, IsGeforce(d) ? 2 : 0); });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetFanSpeed(nvmlDevice_t device, unsigned int* percent) {
  return OnBoard(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (!IsGeforce(d)) return NVML_ERROR_NOT_SUPPORTED;
    return Put(percent, 30 + 50 * LoadOf(d).sm);
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetFanSpeed_v2(nvmlDevice_t device, unsigned int fan,
                                                  unsigned int* percent) {
  return OnBoard(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (!IsGeforce(d)) return NVML_ERROR_NOT_SUPPORTED;
    if (fan >= 2) return NVML_ERROR_INVALID_ARGUMENT;
    return Put(percent, 30 + 50 * LoadOf(d).sm);
  });
}

// --- Clocks -------------------------------------------------------------------------------------

NVML_EXPORT nvmlReturn_t nvmlDeviceGetClockInfo(nvmlDevice_t device, nvmlClockType_t type,
                                                unsigned int* mhz) {
  return OnBoard(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (type > NVML_CLOCK_VIDEO) return NVML_ERROR_INVALID_ARGUMENT;
    return Put(mhz, CurrentMhz(d, type));
  });
}

namespace {

nvmlReturn_t MaxClock(const char* call, nvmlDevice_t device, nvmlClockType_t type,
                      unsigned int* mhz) {
  return OnBoard(call, device, [&](const Device& d) -> nvmlReturn_t {
    if (type > NVML_CLOCK_VIDEO) return NVML_ERROR_INVALID_ARGUMENT;
    Board board = BoardOf(d.spec);
    unsigned max = type == NVML_CLOCK_VIDEO ? board.max_mhz * 9 / 10 : board.max_mhz;
    return Put(mhz, type == NVML_CLOCK_MEM ? board.memory_mhz : max);
  });
}

}  // namespace

NVML_EXPORT nvmlReturn_t nvmlDeviceGetMaxClockInfo(nvmlDevice_t device, nvmlClockType_t type,
                                                   unsigned int* mhz) {
  return MaxClock(__func__, device, type, mhz);
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetMaxCustomerBoostClock(nvmlDevice_t device,
                                                            nvmlClockType_t type,
                                                            unsigned int* mhz) {
  return MaxClock(__func__, device, type, mhz);
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetApplicationsClock(nvmlDevice_t device, nvmlClockType_t type,
                                                        unsigned int* mhz) {
  return MaxClock(__func__, device, type, mhz);
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetDefaultApplicationsClock(nvmlDevice_t device,
                                                               nvmlClockType_t type,
                                                               unsigned int* mhz) {
  return OnBoard(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (type > NVML_CLOCK_VIDEO) return NVML_ERROR_INVALID_ARGUMENT;
    Board board = BoardOf(d.spec);
    return Put(mhz, type == NVML_CLOCK_MEM ? board.memory_mhz : board.base_mhz);
  });
}

// `id`: 0 the present clock, 1 and 2 the application clocks, 3 the most a customer may ask for.
NVML_EXPORT nvmlReturn_t nvmlDeviceGetClock(nvmlDevice_t device, nvmlClockType_t type,
                                            unsigned int id, unsigned int* mhz) {
  switch (id) {
    case 0:
      return nvmlDeviceGetClockInfo(device, type, mhz);
    case 1:
      return nvmlDeviceGetApplicationsClock(device, type, mhz);
    case 2:
      return nvmlDeviceGetDefaultApplicationsClock(device, type, mhz);
    case 3:
      return nvmlDeviceGetMaxCustomerBoostClock(device, type, mhz);
    default:
      return NVML_ERROR_INVALID_ARGUMENT;
  }
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetSupportedMemoryClocks(nvmlDevice_t device,
                                                            unsigned int* count,
                                                            unsigned int* clocks) {
  return OnBoard(__func__, device, [&](const Device& d) {
    return FillArray(count, clocks, 1, [&](unsigned) { return BoardOf(d.spec).memory_mhz; });
  });
}

// Falling, in steps of 15 MHz.
NVML_EXPORT nvmlReturn_t nvmlDeviceGetSupportedGraphicsClocks(nvmlDevice_t device,
                                                              unsigned int memory_mhz,
                                                              unsigned int* count,
                                                              unsigned int* clocks) {
  return OnBoard(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    Board board = BoardOf(d.spec);
    if (memory_mhz != board.memory_mhz) return NVML_ERROR_NOT_FOUND;
    unsigned n = (board.max_mhz - board.idle_mhz) / 15 + 1;
    return FillArray(count, clocks, n, [&](unsigned i) { return board.max_mhz - 15 * i; });
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceSetGpuLockedClocks(nvmlDevice_t device, unsigned int least,
                                                      unsigned int most) {
  return ChangeBoard(__func__, device, [&](const Device& d, MachineState& state) -> nvmlReturn_t {
    nvmlReturn_t allowed = NeedRoot(d);
    if (allowed != NVML_SUCCESS) return allowed;
    Board board = BoardOf(d.spec);
    if (least > most || most > board.max_mhz || most == 0) return NVML_ERROR_INVALID_ARGUMENT;
    state.gpus[d.index].locked_min_mhz = least;
    state.gpus[d.index].locked_max_mhz = most;
    return NVML_SUCCESS;
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceResetGpuLockedClocks(nvmlDevice_t device) {
  return ChangeBoard(__func__, device, [&](const Device& d, MachineState& state) -> nvmlReturn_t {
    nvmlReturn_t allowed = NeedRoot(d);
    if (allowed != NVML_SUCCESS) return allowed;
    state.gpus[d.index].locked_min_mhz = state.gpus[d.index].locked_max_mhz = 0;
    return NVML_SUCCESS;
  });
}

namespace {

constexpr unsigned long long kReasonGpuIdle = 0x1;
constexpr unsigned long long kReasonPowerCap = 0x4;

nvmlReturn_t ClockReasons(const char* call, nvmlDevice_t device, unsigned long long* reasons) {
  return OnBoard(call, device, [&](const Device& d) -> nvmlReturn_t {
    unsigned long long why = 0;
    double load = LoadOf(d).sm;
    if (load == 0) why |= kReasonGpuIdle;
    if (load > 0 && PowerWatts(d.machine_spec(), d.state, d.index) * 1000 >= d.gpu.power_limit_mw) {
      why |= kReasonPowerCap;
    }
    return Put(reasons, why);
  });
}

}  // namespace

NVML_EXPORT nvmlReturn_t nvmlDeviceGetCurrentClocksThrottleReasons(nvmlDevice_t device,
                                                                   unsigned long long* reasons) {
  return ClockReasons(__func__, device, reasons);
}
NVML_EXPORT nvmlReturn_t nvmlDeviceGetCurrentClocksEventReasons(nvmlDevice_t device,
                                                                unsigned long long* reasons) {
  return ClockReasons(__func__, device, reasons);
}
NVML_EXPORT nvmlReturn_t nvmlDeviceGetSupportedClocksThrottleReasons(nvmlDevice_t device,
                                                                     unsigned long long* reasons) {
  return OnBoard(__func__, device, [&](const Device&) { return Put(reasons, 0x1ff); });
}
NVML_EXPORT nvmlReturn_t nvmlDeviceGetSupportedClocksEventReasons(nvmlDevice_t device,
                                                                  unsigned long long* reasons) {
  return OnBoard(__func__, device, [&](const Device&) { return Put(reasons, 0x1ff); });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetPerformanceState(nvmlDevice_t device, nvmlPstates_t* state) {
  return OnBoard(__func__, device, [&](const Device& d) { return Put(state, PState(d)); });
}
NVML_EXPORT nvmlReturn_t nvmlDeviceGetPowerState(nvmlDevice_t device, nvmlPstates_t* state) {
  return OnBoard(__func__, device, [&](const Device& d) { return Put(state, PState(d)); });
}

// `size` is in bytes; what is not used is filled with "unknown".
NVML_EXPORT nvmlReturn_t nvmlDeviceGetSupportedPerformanceStates(nvmlDevice_t device,
                                                                 nvmlPstates_t* states,
                                                                 unsigned int size) {
  return OnBoard(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (states == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    unsigned room = size / sizeof(nvmlPstates_t);
    unsigned need = BoardOf(d.spec).deep_idle ? 2 : 1;
    if (room < need) return NVML_ERROR_INSUFFICIENT_SIZE;
    std::fill(states, states + room, static_cast<nvmlPstates_t>(NVML_PSTATE_UNKNOWN));
    states[0] = NVML_PSTATE_0;
    if (need > 1) states[1] = NVML_PSTATE_8;
    return NVML_SUCCESS;
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetMinMaxClockOfPState(nvmlDevice_t device, nvmlClockType_t type,
                                                          nvmlPstates_t pstate, unsigned int* least,
                                                          unsigned int* most) {
  return OnBoard(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    Board board = BoardOf(d.spec);
    if (least == nullptr || most == nullptr || type > NVML_CLOCK_VIDEO) {
      return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (pstate != NVML_PSTATE_0 && !(pstate == NVML_PSTATE_8 && board.deep_idle)) {
      return NVML_ERROR_NOT_SUPPORTED;
    }
    *least = type == NVML_CLOCK_MEM ? board.memory_mhz : board.idle_mhz;
    *most = type == NVML_CLOCK_MEM    ? board.memory_mhz
            : pstate == NVML_PSTATE_0 ? board.max_mhz
                                      : board.idle_mhz;
    return NVML_SUCCESS;
  });
}

namespace {

struct DynamicPstates {
  unsigned int flags;
  struct {
    unsigned int present, percentage, increase_at, decrease_at;
  } domains[8];
};

}  // namespace

NVML_EXPORT nvmlReturn_t nvmlDeviceGetDynamicPstatesInfo(nvmlDevice_t device, void* out) {
  return OnBoard(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (out == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    if (HidesUtilization(d)) return NVML_ERROR_NOT_SUPPORTED;
    DynamicPstates info{};
    info.domains[0].present = info.domains[1].present = 1;  // graphics and memory
    info.domains[0].percentage = Percent(LoadOf(d).sm);
    info.domains[1].percentage = Percent(LoadOf(d).memory);
    std::memcpy(out, &info, sizeof(info));
    return NVML_SUCCESS;
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetViolationStatus(nvmlDevice_t device, unsigned int policy,
                                                      void* out) {
  return OnBoard(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (out == nullptr || policy > 11) return NVML_ERROR_INVALID_ARGUMENT;
    unsigned long long times[2] = {d.machine.WallNs() / 1000, 0};  // reference, violation
    std::memcpy(out, times, sizeof(times));
    return NVML_SUCCESS;
  });
}

// --- Links --------------------------------------------------------------------------------------

NVML_EXPORT nvmlReturn_t nvmlDeviceGetCurrPcieLinkGeneration(nvmlDevice_t device,
                                                             unsigned int* gen) {
  return OnBoard(__func__, device,
                 [&](const Device& d) { return Put(gen, BoardOf(d.spec).pcie_generation); });
}
NVML_EXPORT nvmlReturn_t nvmlDeviceGetMaxPcieLinkGeneration(nvmlDevice_t device,
                                                            unsigned int* gen) {
  return OnBoard(__func__, device,
                 [&](const Device& d) { return Put(gen, BoardOf(d.spec).pcie_generation); });
}
NVML_EXPORT nvmlReturn_t nvmlDeviceGetGpuMaxPcieLinkGeneration(nvmlDevice_t device,
                                                               unsigned int* gen) {
  return OnBoard(__func__, device,
                 [&](const Device& d) { return Put(gen, BoardOf(d.spec).pcie_generation); });
}
NVML_EXPORT nvmlReturn_t nvmlDeviceGetCurrPcieLinkWidth(nvmlDevice_t device, unsigned int* width) {
  return OnBoard(__func__, device,
                 [&](const Device& d) { return Put(width, BoardOf(d.spec).pcie_width); });
}
NVML_EXPORT nvmlReturn_t nvmlDeviceGetMaxPcieLinkWidth(nvmlDevice_t device, unsigned int* width) {
  return OnBoard(__func__, device,
                 [&](const Device& d) { return Put(width, BoardOf(d.spec).pcie_width); });
}
// MB/s of one lane: 8000 in generation 3, doubling with each.
NVML_EXPORT nvmlReturn_t nvmlDeviceGetPcieSpeed(nvmlDevice_t device, unsigned int* speed) {
  return OnBoard(__func__, device, [&](const Device& d) {
    return Put(speed, 8000u << (BoardOf(d.spec).pcie_generation - 3));
  });
}
NVML_EXPORT nvmlReturn_t nvmlDeviceGetPcieReplayCounter(nvmlDevice_t device, unsigned int* count) {
  return OnBoard(__func__, device, [&](const Device&) { return Put(count, 0); });
}
NVML_EXPORT nvmlReturn_t nvmlDeviceGetMemoryBusWidth(nvmlDevice_t device, unsigned int* bits) {
  return OnBoard(__func__, device,
                 [&](const Device& d) { return Put(bits, BoardOf(d.spec).bus_bits); });
}
