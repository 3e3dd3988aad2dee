#include "limiter/nvml/slice_view.h"
#include "limiter/nvml/symbols.h"

// Which processes use the device: those of this slice.
//
// Who computes is told from the slice table, not by filtering NVML's list: NVML counts the host's
// pids, which mean nothing in a container, and there its list is useless or empty. The ledger knows
// every process by the pid that its neighbours see, and its memory to the byte, so that the list
// adds up to what nvmlDeviceGetMemoryInfo says. Graphics and MPS are kinds that the ledger does not
// know; these lists are NVML's, without the processes of others.
namespace tranche::limiter::nvml {
namespace {

struct Instance {
  unsigned int gpu = NVML_VALUE_NOT_AVAILABLE_UINT;
  unsigned int compute = NVML_VALUE_NOT_AVAILABLE_UINT;
};

// Both ids of a MIG device; neither of a GPU.
Instance InstanceOf(nvmlDevice_t device) {
  Instance instance;
  if (NVML_REAL(nvmlDeviceGetGpuInstanceId)(device, &instance.gpu) != NVML_SUCCESS ||
      NVML_REAL(nvmlDeviceGetComputeInstanceId)(device, &instance.compute) != NVML_SUCCESS)
    return Instance{};
  return instance;
}

void Put(nvmlProcessInfo_v1_t* info, const Tenant& tenant, const Instance&) {
  *info = {tenant.pid, tenant.held};
}
void Put(nvmlProcessInfo_v2_t* info, const Tenant& tenant, const Instance& instance) {
  *info = {tenant.pid, tenant.held, instance.gpu, instance.compute};
}
void Put(nvmlProcessDetail_v1_t* info, const Tenant& tenant, const Instance& instance) {
  *info = {tenant.pid, tenant.held, instance.gpu, instance.compute, 0};
}

template <typename Info>
nvmlReturn_t TellTenants(const TenantDevice& ours, nvmlDevice_t device, unsigned int* count,
                         Info* infos) {
  Tenant tenants[kMostTenants];
  const uint32_t found = ours.Tenants(tenants);
  const unsigned int room = infos == nullptr ? 0 : *count;
  *count = found;
  if (found > room) return NVML_ERROR_INSUFFICIENT_SIZE;
  const Instance instance = InstanceOf(device);
  for (uint32_t i = 0; i < found; ++i) Put(&infos[i], tenants[i], instance);
  return NVML_SUCCESS;
}

// `real` is asked first, with no room for an answer, since whether the question is right is for the
// driver to say.
template <typename Info, typename Real>
nvmlReturn_t Computing(const Real& real, nvmlDevice_t device, unsigned int* count, Info* infos) {
  const TenantDevice ours = TenantDevice::Of(device);
  if (ours.kind() == TenantDevice::kForeign || count == nullptr) return real(device, count, infos);
  unsigned int none = 0;
  const nvmlReturn_t answer = real(device, &none, nullptr);
  if (answer != NVML_SUCCESS && answer != NVML_ERROR_INSUFFICIENT_SIZE) return answer;
  if (ours.kind() == TenantDevice::kUnknown) return NVML_ERROR_NOT_READY;
  // As the driver does: room that is announced must be there.
  if (infos == nullptr && *count != 0) return NVML_ERROR_INVALID_ARGUMENT;
  return TellTenants(ours, device, count, infos);
}

// Moves those of the slice to the front; how many.
template <typename Entry>
unsigned int KeepOurs(const TenantDevice& ours, Entry* entries, unsigned int count) {
  unsigned int kept = 0;
  for (unsigned int i = 0; i < count; ++i) {
    if (ours.Has(entries[i].pid)) entries[kept++] = entries[i];
  }
  return kept;
}

template <typename Info, typename Real>
nvmlReturn_t Filtered(const Real& real, nvmlDevice_t device, unsigned int* count, Info* infos) {
  const nvmlReturn_t answer = real(device, count, infos);
  if (answer != NVML_SUCCESS || count == nullptr || infos == nullptr) return answer;
  const TenantDevice ours = TenantDevice::Of(device);
  if (ours.kind() == TenantDevice::kForeign) return answer;
  if (ours.kind() == TenantDevice::kUnknown) {
    *count = 0;
    return NVML_ERROR_NOT_READY;
  }
  *count = KeepOurs(ours, infos, *count);
  return answer;
}

}  // namespace

NVML_HOOK(nvmlDeviceGetComputeRunningProcesses,
          (nvmlDevice_t device, unsigned int* count, nvmlProcessInfo_v1_t* infos)) {
  return Computing(NVML_REAL(nvmlDeviceGetComputeRunningProcesses), device, count, infos);
}
NVML_HOOK(nvmlDeviceGetComputeRunningProcesses_v2,
          (nvmlDevice_t device, unsigned int* count, nvmlProcessInfo_v2_t* infos)) {
  return Computing(NVML_REAL(nvmlDeviceGetComputeRunningProcesses_v2), device, count, infos);
}
NVML_HOOK(nvmlDeviceGetComputeRunningProcesses_v3,
          (nvmlDevice_t device, unsigned int* count, nvmlProcessInfo_t* infos)) {
  return Computing(NVML_REAL(nvmlDeviceGetComputeRunningProcesses_v3), device, count, infos);
}

NVML_HOOK(nvmlDeviceGetGraphicsRunningProcesses,
          (nvmlDevice_t device, unsigned int* count, nvmlProcessInfo_v1_t* infos)) {
  return Filtered(NVML_REAL(nvmlDeviceGetGraphicsRunningProcesses), device, count, infos);
}
NVML_HOOK(nvmlDeviceGetGraphicsRunningProcesses_v2,
          (nvmlDevice_t device, unsigned int* count, nvmlProcessInfo_v2_t* infos)) {
  return Filtered(NVML_REAL(nvmlDeviceGetGraphicsRunningProcesses_v2), device, count, infos);
}
NVML_HOOK(nvmlDeviceGetGraphicsRunningProcesses_v3,
          (nvmlDevice_t device, unsigned int* count, nvmlProcessInfo_t* infos)) {
  return Filtered(NVML_REAL(nvmlDeviceGetGraphicsRunningProcesses_v3), device, count, infos);
}
NVML_HOOK(nvmlDeviceGetMPSComputeRunningProcesses,
          (nvmlDevice_t device, unsigned int* count, nvmlProcessInfo_v1_t* infos)) {
  return Filtered(NVML_REAL(nvmlDeviceGetMPSComputeRunningProcesses), device, count, infos);
}
NVML_HOOK(nvmlDeviceGetMPSComputeRunningProcesses_v2,
          (nvmlDevice_t device, unsigned int* count, nvmlProcessInfo_v2_t* infos)) {
  return Filtered(NVML_REAL(nvmlDeviceGetMPSComputeRunningProcesses_v2), device, count, infos);
}
NVML_HOOK(nvmlDeviceGetMPSComputeRunningProcesses_v3,
          (nvmlDevice_t device, unsigned int* count, nvmlProcessInfo_t* infos)) {
  return Filtered(NVML_REAL(nvmlDeviceGetMPSComputeRunningProcesses_v3), device, count, infos);
}

// All three kinds in one, by its mode.
NVML_HOOK(nvmlDeviceGetRunningProcessDetailList,
          (nvmlDevice_t device, nvmlProcessDetailList_t* list)) {
  constexpr unsigned int kCompute = 0;
  const auto real = NVML_REAL(nvmlDeviceGetRunningProcessDetailList);
  const TenantDevice ours = TenantDevice::Of(device);
  if (list == nullptr || ours.kind() == TenantDevice::kForeign) return real(device, list);
  const auto ask = [&](nvmlDevice_t asked, unsigned int* count, nvmlProcessDetail_v1_t* infos) {
    nvmlProcessDetailList_t question = *list;
    question.numProcArrayEntries = *count;
    question.procArray = infos;
    const nvmlReturn_t answer = real(asked, &question);
    *count = question.numProcArrayEntries;
    return answer;
  };
  return list->mode == kCompute
             ? Computing(ask, device, &list->numProcArrayEntries, list->procArray)
             : Filtered(ask, device, &list->numProcArrayEntries, list->procArray);
}

}  // namespace tranche::limiter::nvml
