#include <algorithm>
#include <cmath>
#include <vector>

#include "sim/nvml/library.h"

using namespace tranche::sim;
using namespace tranche::sim::nvml;

namespace {

// What one process holds of one device.
struct Holder {
  uint32_t pid = 0;
  uint64_t memory = 0;
  uint32_t gi = kNoId, ci = kNoId;
  double load = 0, memory_load = 0;
};

// Every process once; in MIG mode once for each compute instance. Without privilege, the processes
// of other users are hidden there.
std::vector<Holder> HoldersOf(const Device& d, ContextKind kind) {
  std::vector<Holder> holders;
  bool sees_all = !d.gpu.mig_mode || d.machine.IsPrivileged();
  for (const Context* context : ContextsOn(d.state, d.index, d.is_mig() ? d.ci->serial : 0)) {
    if (context->kind != kind) continue;
    const Process* process = FindProcess(d.state, context->pid);
    if (!sees_all && (process == nullptr || process->uid != d.machine.caller().uid)) continue;
    Holder holder;
    holder.pid = context->pid;
    if (const ComputeInstance* ci = FindCi(d.gpu, context->ci)) {
      const GpuInstance* gi = FindGi(d.gpu, ci->gi);
      holder.gi = gi == nullptr ? kNoId : gi->id;
      holder.ci = ci->id;
    }
    auto same = std::find_if(holders.begin(), holders.end(), [&](const Holder& h) {
      return h.pid == holder.pid && h.gi == holder.gi && h.ci == holder.ci;
    });
    if (same == holders.end()) same = holders.insert(holders.end(), holder);
    same->memory += context->memory_bytes;
    same->load = std::min(1.0, same->load + context->load);
    same->memory_load = std::min(1.0, same->memory_load + context->memory_load);
  }
  return holders;
}

template <typename Entry, typename Convert>
nvmlReturn_t List(const char* call, nvmlDevice_t device, ContextKind kind, unsigned int* count,
                  Entry* infos, const Convert& convert) {
  return OnDevice(call, device, [&](const Device& d) -> nvmlReturn_t {
    std::vector<Holder> holders = HoldersOf(d, kind);
    return FillArray(count, infos, static_cast<unsigned int>(holders.size()),
                     [&](unsigned int i) { return convert(holders[i]); });
  });
}

nvmlProcessInfo_v1_t ToV1(const Holder& h) { return {h.pid, h.memory}; }
nvmlProcessInfo_v2_t ToV2(const Holder& h) { return {h.pid, h.memory, h.gi, h.ci}; }

unsigned Percent(double share) { return static_cast<unsigned>(std::lround(share * 100)); }

}  // namespace

#define TRANCHE_SIM_PROCESS_LISTS(name, kind)                                  \
  NVML_EXPORT nvmlReturn_t name(nvmlDevice_t device, unsigned int* count,      \
                                nvmlProcessInfo_v1_t* infos) {                 \
    return List(__func__, device, kind, count, infos, ToV1);                   \
  }                                                                            \
  NVML_EXPORT nvmlReturn_t name##_v2(nvmlDevice_t device, unsigned int* count, \
                                     nvmlProcessInfo_v2_t* infos) {            \
    return List(__func__, device, kind, count, infos, ToV2);                   \
  }                                                                            \
  NVML_EXPORT nvmlReturn_t name##_v3(nvmlDevice_t device, unsigned int* count, \
                                     nvmlProcessInfo_t* infos) {               \
    return List(__func__, device, kind, count, infos, ToV2);                   \
  }

TRANCHE_SIM_PROCESS_LISTS(nvmlDeviceGetComputeRunningProcesses, kCompute)
TRANCHE_SIM_PROCESS_LISTS(nvmlDeviceGetGraphicsRunningProcesses, kGraphics)
TRANCHE_SIM_PROCESS_LISTS(nvmlDeviceGetMPSComputeRunningProcesses, kMps)

NVML_EXPORT nvmlReturn_t nvmlDeviceGetRunningProcessDetailList(nvmlDevice_t device,
                                                               nvmlProcessDetailList_t* list) {
  return OnDevice(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (list == nullptr || list->mode > kMps) return NVML_ERROR_INVALID_ARGUMENT;
    if (list->version != nvmlProcessDetailList_v1) return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    if (d.spec.arch < Arch::kHopper) return NVML_ERROR_NOT_SUPPORTED;
    std::vector<Holder> holders = HoldersOf(d, static_cast<ContextKind>(list->mode));
    return FillArray(&list->numProcArrayEntries, list->procArray,
                     static_cast<unsigned int>(holders.size()), [&](unsigned int i) {
                       const Holder& h = holders[i];
                       return nvmlProcessDetail_v1_t{h.pid, h.memory, h.gi, h.ci, 0};
                     });
  });
}

// One sample for each process: the present. Not of MIG devices, nor of a GPU in MIG mode.
NVML_EXPORT nvmlReturn_t nvmlDeviceGetProcessUtilization(nvmlDevice_t device,
                                                         nvmlProcessUtilizationSample_t* samples,
                                                         unsigned int* count,
                                                         unsigned long long last_seen) {
  return OnDevice(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (count == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    if (d.is_mig() || d.gpu.mig_mode) return NVML_ERROR_NOT_SUPPORTED;
    uint64_t now_us = d.machine.WallNs() / 1000;
    std::vector<Holder> holders = HoldersOf(d, kCompute);
    if (holders.empty() || last_seen >= now_us) return NVML_ERROR_NOT_FOUND;
    if (samples == nullptr) *count = 0;
    return FillArray(count, samples, static_cast<unsigned int>(holders.size()),
                     [&](unsigned int i) {
                       const Holder& h = holders[i];
                       return nvmlProcessUtilizationSample_t{
                           h.pid, now_us, Percent(h.load), Percent(h.memory_load), 0, 0};
                     });
  });
}

NVML_EXPORT nvmlReturn_t
nvmlDeviceGetProcessesUtilizationInfo(nvmlDevice_t device, nvmlProcessesUtilizationInfo_t* info) {
  return OnDevice(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (info == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    if (info->version != nvmlProcessesUtilizationInfo_v1) {
      return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    if (d.is_mig() || d.gpu.mig_mode) return NVML_ERROR_NOT_SUPPORTED;
    uint64_t now_us = d.machine.WallNs() / 1000;
    std::vector<Holder> holders = HoldersOf(d, kCompute);
    if (holders.empty() || info->lastSeenTimeStamp >= now_us) return NVML_ERROR_NOT_FOUND;
    if (info->procUtilArray == nullptr) info->processSamplesCount = 0;
    return FillArray(&info->processSamplesCount, info->procUtilArray,
                     static_cast<unsigned int>(holders.size()), [&](unsigned int i) {
                       const Holder& h = holders[i];
                       return nvmlProcessUtilizationInfo_v1_t{
                           now_us, h.pid, Percent(h.load), Percent(h.memory_load), 0, 0, 0, 0};
                     });
  });
}

// --- Accounting ---------------------------------------------------------------------------------

NVML_EXPORT nvmlReturn_t nvmlDeviceGetAccountingMode(nvmlDevice_t device, nvmlEnableState_t* mode) {
  return OnBoard(__func__, device, [&](const Device& d) { return Put(mode, d.gpu.accounting); });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceSetAccountingMode(nvmlDevice_t device, nvmlEnableState_t mode) {
  return ChangeBoard(__func__, device, [&](const Device& d, MachineState& state) -> nvmlReturn_t {
    if (mode > NVML_FEATURE_ENABLED) return NVML_ERROR_INVALID_ARGUMENT;
    nvmlReturn_t allowed = NeedRoot(d);
    if (allowed != NVML_SUCCESS) return allowed;
    state.gpus[d.index].accounting = mode;
    return NVML_SUCCESS;
  });
}

namespace {

// Newest first: a pid may have come back as another process.
std::vector<const Account*> AccountsOf(const Device& d) {
  std::vector<const Account*> list;
  for (const Account& account : d.state.accounts) {
    if (account.number != 0 && account.gpu == d.index) list.push_back(&account);
  }
  std::sort(list.begin(), list.end(), [](auto* a, auto* b) { return a->number > b->number; });
  return list;
}

}  // namespace

NVML_EXPORT nvmlReturn_t nvmlDeviceGetAccountingStats(nvmlDevice_t device, unsigned int pid,
                                                      nvmlAccountingStats_t* stats) {
  return OnBoard(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (stats == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    if (!d.gpu.accounting) return NVML_ERROR_NOT_SUPPORTED;
    for (const Account* account : AccountsOf(d)) {
      if (account->pid != pid) continue;
      uint64_t end = account->running ? d.machine.WallNs() / 1000 : account->end_us;
      double seconds = static_cast<double>(end - std::min(end, account->start_us)) * 1e-6;
      auto percent = [&](double busy) {
        return seconds > 0 ? Percent(std::min(1.0, busy / seconds)) : 0;
      };
      *stats = nvmlAccountingStats_t{};
      stats->gpuUtilization = percent(account->busy_seconds);
      stats->memoryUtilization = percent(account->memory_busy_seconds);
      stats->maxMemoryUsage = account->max_memory_bytes;
      stats->time = account->running ? 0 : (end - account->start_us) / 1000;
      stats->startTime = account->start_us;
      stats->isRunning = account->running;
      return NVML_SUCCESS;
    }
    return NVML_ERROR_NOT_FOUND;
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetAccountingPids(nvmlDevice_t device, unsigned int* count,
                                                     unsigned int* pids) {
  return OnBoard(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (!d.gpu.accounting) return NVML_ERROR_NOT_SUPPORTED;
    std::vector<uint32_t> list;
    for (const Account* account : AccountsOf(d)) {
      if (std::find(list.begin(), list.end(), account->pid) == list.end())
        list.push_back(account->pid);
    }
    return FillArray(count, pids, static_cast<unsigned int>(list.size()),
                     [&](unsigned int i) { return list[i]; });
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetAccountingBufferSize(nvmlDevice_t device,
                                                           unsigned int* size) {
  return OnBoard(__func__, device, [&](const Device&) { return Put(size, kMaxAccounts); });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceClearAccountingPids(nvmlDevice_t device) {
  return ChangeBoard(__func__, device, [&](const Device& d, MachineState& state) -> nvmlReturn_t {
    nvmlReturn_t allowed = NeedRoot(d);
    if (allowed != NVML_SUCCESS) return allowed;
    for (Account& account : state.accounts) {
      if (account.gpu == d.index && !account.running) account = Account{};
    }
    return NVML_SUCCESS;
  });
}
