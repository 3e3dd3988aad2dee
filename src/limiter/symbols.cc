#include "limiter/symbols.h"

#include <dlfcn.h>
#include <errno.h>
#include <string.h>

#include "limiter/real_library.h"

extern "C" {
extern TRANCHE_HIDDEN void* tranche_table[];
extern TRANCHE_HIDDEN void* const tranche_hooks[];
TRANCHE_HIDDEN void* tranche_resolve(void** slot);
}

namespace tranche::limiter {
namespace {

constexpr SymbolInfo kInfo[] = {
#define CUDA_SYMBOL(name, base, since, per_thread, parameters, arguments) \
  {#name, #base, since, per_thread},
#include "abi/cuda_symbols.inc"
};

CUresult Missing() { return CUDA_ERROR_NOT_FOUND; }

}  // namespace

void* g_driver[kSymbols];

const SymbolInfo& InfoOf(uint32_t symbol) { return kInfo[symbol]; }

uint32_t FindSymbol(const char* name) {
  // Sorted by name, as the generator writes them.
  uint32_t low = 0, high = kSymbols;
  while (low < high) {
    const uint32_t middle = (low + high) / 2;
    const int order = strcmp(kInfo[middle].name, name);
    if (order == 0) return middle;
    if (order < 0)
      low = middle + 1;
    else
      high = middle;
  }
  return kSymbols;
}

void* HookOf(uint32_t symbol) { return tranche_hooks[symbol]; }

void* RealLibrary() { return real_library::Cuda(); }

void* DriverFunction(uint32_t symbol) {
  void* function = __atomic_load_n(&g_driver[symbol], __ATOMIC_ACQUIRE);
  if (function != nullptr) return function;
  const int before = errno;
  void* library = RealLibrary();
  if (library != nullptr) function = real_library::Find(library, kInfo[symbol].name);
  if (function != nullptr) __atomic_store_n(&g_driver[symbol], function, __ATOMIC_RELEASE);
  errno = before;
  return function;
}

void* FindRealFunction(uint32_t symbol) {
  void* function = DriverFunction(symbol);
  return function != nullptr ? function : reinterpret_cast<void*>(&Missing);
}

}  // namespace tranche::limiter

void* tranche_resolve(void** slot) {
  using namespace tranche::limiter;
  const auto symbol = static_cast<uint32_t>(slot - tranche_table);
  void* function = HookOf(symbol);
  // A function that the driver lacks stays lazy: it costs nothing that matters.
  if (function == nullptr && (function = DriverFunction(symbol)) == nullptr)
    return RealFunction(symbol);
  __atomic_store_n(slot, function, __ATOMIC_RELEASE);
  return function;
}
