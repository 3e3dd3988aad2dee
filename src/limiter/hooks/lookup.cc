#include "limiter/hooks/lookup.h"

#include <string.h>

#include "limiter/state.h"
#include "limiter/symbols.h"

namespace tranche::limiter {
namespace {

// Of a function that is newer than the list of all (test/passes.h says of each of those why it has
// no hook): whether it may hand out memory or start work, by its name.
bool MattersByName(const char* name) {
  constexpr const char* kBeginnings[] = {
      "cuMem",   "cuArray",     "cuMipmapped",  "cuMulticast",   "cuGraph",         "cuLaunch",
      "cuGreen", "cuCtxCreate", "cuModuleLoad", "cuLibraryLoad", "cuImportExternal"};
  if (strstr(name, "Get") != nullptr) return false;
  // Programs ask for all of these at their start, whether they use graphics or not.
  if (strncmp(name, "cuGraphics", 10) == 0) return false;
  for (const char* beginning : kBeginnings) {
    if (strncmp(name, beginning, strlen(beginning)) == 0) return true;
  }
  return false;
}

}  // namespace

void* HookForAddress(const char* base, void* address, int version, bool per_thread) {
  uint32_t by_facts = kSymbols;
  bool known = false;
  for (uint32_t i = 0; i < kSymbols; ++i) {
    const SymbolInfo& info = InfoOf(i);
    if (strcmp(info.base, base) != 0) continue;
    known = true;
    if (HookOf(i) != nullptr && DriverFunction(i) == address) return HookOf(i);
    if (info.since == 0 || info.since > version || (info.per_thread != 0 && !per_thread)) continue;
    const bool better =
        by_facts == kSymbols || info.since > InfoOf(by_facts).since ||
        (info.since == InfoOf(by_facts).since && info.per_thread > InfoOf(by_facts).per_thread);
    if (better) by_facts = i;
  }
  // The driver may answer with an address that no exported name has; then the ABI is the one that
  // the facts name for this version.
  bool exported = false;
  for (uint32_t i = 0; known && i < kSymbols; ++i) {
    if (strcmp(InfoOf(i).base, base) == 0 && DriverFunction(i) == address) exported = true;
  }
  if (known && !exported && by_facts != kSymbols && HookOf(by_facts) != nullptr)
    return HookOf(by_facts);
  if (!known && MattersByName(base)) CountEvent(&TrancheCounters::unhooked);
  return address;
}

// The driver's answer stands, status and all; only what is behind the address changes, so that the
// hook has always the ABI that was asked for.
HOOK(cuGetProcAddress_v2, (const char* symbol, void** function, int version, cuuint64_t flags,
                           CUdriverProcAddressQueryResult* status)) {
  const CUresult answer = REAL(cuGetProcAddress_v2)(symbol, function, version, flags, status);
  if (answer == CUDA_SUCCESS && symbol != nullptr && function != nullptr && *function != nullptr)
    *function = HookForAddress(symbol, *function, version,
                               (flags & CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM) != 0);
  return answer;
}

HOOK(cuGetProcAddress, (const char* symbol, void** function, int version, cuuint64_t flags)) {
  const CUresult answer = REAL(cuGetProcAddress)(symbol, function, version, flags);
  if (answer == CUDA_SUCCESS && symbol != nullptr && function != nullptr && *function != nullptr)
    *function = HookForAddress(symbol, *function, version,
                               (flags & CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM) != 0);
  return answer;
}

// Private tables of the driver: what is called through them passes by every hook.
HOOK(cuGetExportTable, (const void** table, const CUuuid* id)) {
  const CUresult answer = REAL(cuGetExportTable)(table, id);
  if (answer == CUDA_SUCCESS) CountEvent(&TrancheCounters::foreign_tables);
  return answer;
}

}  // namespace tranche::limiter
