#include "limiter/nvml/symbols.h"

#include <errno.h>
#include <string.h>

#include "limiter/real_library.h"

extern "C" {
extern TRANCHE_NVML_HIDDEN void* tranche_nvml_table[];
extern TRANCHE_NVML_HIDDEN void* const tranche_nvml_hooks[];
TRANCHE_NVML_HIDDEN void* tranche_nvml_resolve(void** slot);
TRANCHE_NVML_HIDDEN const char* tranche_nvml_hook_nvmlErrorString(nvmlReturn_t result);
}

namespace tranche::limiter::nvml {
namespace {

constexpr const char* kNames[] = {
#define NVML_SYMBOL(name) #name,
#include "abi/nvml_symbols.inc"
};

// The driver's functions, as far as they were asked for. Written once to what is always the same,
// so whoever comes second writes nothing new.
void* g_driver[kSymbols];

nvmlReturn_t FunctionNotFound() { return NVML_ERROR_FUNCTION_NOT_FOUND; }
nvmlReturn_t LibraryNotFound() { return NVML_ERROR_LIBRARY_NOT_FOUND; }

}  // namespace

uint32_t NumberOf(const char* name) {
  // Sorted by name, as the generator writes them.
  uint32_t low = 0, high = kSymbols;
  while (low < high) {
    const uint32_t middle = (low + high) / 2;
    const int order = strcmp(kNames[middle], name);
    if (order == 0) return middle;
    if (order < 0)
      low = middle + 1;
    else
      high = middle;
  }
  return kSymbols;
}

void* DriverFunction(Symbol symbol) {
  const auto index = static_cast<uint32_t>(symbol);
  void* function = __atomic_load_n(&g_driver[index], __ATOMIC_ACQUIRE);
  if (function != nullptr) return function;
  const int before = errno;
  void* library = real_library::NvidiaMl();
  if (library != nullptr) function = real_library::Find(library, kNames[index]);
  if (function != nullptr) __atomic_store_n(&g_driver[index], function, __ATOMIC_RELEASE);
  errno = before;
  return function;
}

void* RealFunction(Symbol symbol) {
  if (void* function = DriverFunction(symbol)) return function;
  return real_library::NvidiaMl() == nullptr ? reinterpret_cast<void*>(&LibraryNotFound)
                                             : reinterpret_cast<void*>(&FunctionNotFound);
}

}  // namespace tranche::limiter::nvml

// The one that answers no code: without a driver it must still say what the others answer.
const char* tranche_nvml_hook_nvmlErrorString(nvmlReturn_t result) {
  using namespace tranche::limiter::nvml;
  if (void* function = DriverFunction(Symbol::nvmlErrorString))
    return reinterpret_cast<decltype(&::nvmlErrorString)>(function)(result);
  return result == NVML_SUCCESS ? "Success" : "The NVML library of the driver was not found";
}

void* tranche_nvml_resolve(void** slot) {
  using namespace tranche::limiter::nvml;
  const auto index = static_cast<uint32_t>(slot - tranche_nvml_table);
  void* function = tranche_nvml_hooks[index];
  // What the driver lacks stays lazy: it costs nothing that matters.
  if (function == nullptr && (function = DriverFunction(static_cast<Symbol>(index))) == nullptr)
    return RealFunction(static_cast<Symbol>(index));
  __atomic_store_n(slot, function, __ATOMIC_RELEASE);
  return function;
}
