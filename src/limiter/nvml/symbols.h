#pragma once

#include <stdint.h>

#include "abi/nvml.h"

// NVML's functions by number, so that a table can hold what becomes of each.
namespace tranche::limiter::nvml {

enum class Symbol : uint32_t {
#define NVML_SYMBOL(name) name,
#include "abi/nvml_symbols.inc"
  kCount
};
constexpr uint32_t kSymbols = static_cast<uint32_t>(Symbol::kCount);

// The number of that name; kSymbols when it has none.
uint32_t NumberOf(const char* name);
// The driver's own, or a function that answers, whatever it is given, why there is none:
// NVML_ERROR_FUNCTION_NOT_FOUND or NVML_ERROR_LIBRARY_NOT_FOUND.
void* RealFunction(Symbol symbol);
// The driver's own; nullptr when it has none.
void* DriverFunction(Symbol symbol);

}  // namespace tranche::limiter::nvml

#define TRANCHE_NVML_HIDDEN __attribute__((visibility("hidden")))
// Begins a hook. The compiler refuses one whose parameters are not exactly the driver's.
// CMakeLists.txt finds the hooks by this word at the start of a line.
#define NVML_HOOK(name, parameters)                                         \
  extern "C" TRANCHE_NVML_HIDDEN decltype(::name) tranche_nvml_hook_##name; \
  extern "C" nvmlReturn_t tranche_nvml_hook_##name parameters
#define NVML_REAL(name)                 \
  (reinterpret_cast<decltype(&::name)>( \
      ::tranche::limiter::nvml::RealFunction(::tranche::limiter::nvml::Symbol::name)))
