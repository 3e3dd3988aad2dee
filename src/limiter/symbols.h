#pragma once

#include <stdint.h>

#include "abi/cuda.h"

#define TRANCHE_HIDDEN __attribute__((visibility("hidden")))

// The functions of the driver by number, so that a table can hold what becomes of each.
namespace tranche::limiter {

enum class Symbol : uint32_t {
#define CUDA_SYMBOL(name, base, since, per_thread, parameters, arguments) name,
#include "abi/cuda_symbols.inc"
  kCount
};
constexpr uint32_t kSymbols = static_cast<uint32_t>(Symbol::kCount);

struct SymbolInfo {
  const char* name;
  const char* base;  // what cuGetProcAddress knows it by
  int since;         // 0: never by that name
  int per_thread;
};
const SymbolInfo& InfoOf(uint32_t symbol);
// kSymbols when there is none of that name. Takes the time of a binary search.
uint32_t FindSymbol(const char* name);

// What a program calls instead of the driver's function; nullptr where there is no hook.
void* HookOf(uint32_t symbol);
// The driver's own; nullptr where it has none. Resolved once.
void* DriverFunction(uint32_t symbol);
// The driver's own, or a function that answers CUDA_ERROR_NOT_FOUND to whatever it is given.
void* FindRealFunction(uint32_t symbol);
// Those that were asked for. Written once to what is always the same, so whoever comes second
// writes nothing new.
extern TRANCHE_HIDDEN void* g_driver[kSymbols];
// On the way of every launch: two instructions.
inline void* RealFunction(uint32_t symbol) {
  void* function = __atomic_load_n(&g_driver[symbol], __ATOMIC_ACQUIRE);
  return __builtin_expect(function != nullptr, 1) ? function : FindRealFunction(symbol);
}
// The library that RealFunction looks into; nullptr when there is no driver. Opened once.
void* RealLibrary();

}  // namespace tranche::limiter

// Begins a hook. The compiler refuses one whose parameters are not exactly the driver's.
// CMakeLists.txt finds the hooks by this word at the start of a line.
#define HOOK(name, parameters)                                    \
  extern "C" TRANCHE_HIDDEN decltype(::name) tranche_hook_##name; \
  extern "C" CUresult tranche_hook_##name parameters
#define REAL(name)                      \
  (reinterpret_cast<decltype(&::name)>( \
      ::tranche::limiter::RealFunction(static_cast<uint32_t>(::tranche::limiter::Symbol::name))))
