#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>

#include "abi/cuda.h"

// Every symbol of libcuda.so.1, as the facts list them.
namespace tranche::sim::cuda {

enum SymbolNumber : size_t {
#define CUDA_SYMBOL(name, base, since, per_thread, parameters, arguments) kSymbol_##name,
#include "abi/cuda_symbols.inc"
  kSymbolCount
};

struct Symbol {
  const char* name;
  const char* base;  // what cuGetProcAddress knows it by
  int since;         // CUDA version from which on `base` means this one; 0 = never
  bool per_thread;   // the variant for a default stream per thread
  void* address;
};

const Symbol& SymbolAt(size_t number);

struct Lookup {
  void* address = nullptr;  // nullptr: `status` says why
  CUdriverProcAddressQueryResult status = CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
};

// The ABI that `base` had in CUDA `wanted`, as a driver of CUDA `driver` answers. What came after
// either is not there. With `per_thread`, the variant of the same ABI where there is one.
Lookup FindSymbol(std::string_view base, int wanted, int driver, bool per_thread);

// Counts a call that nothing stands behind.
CUresult Unmodelled(size_t number);
uint64_t UnmodelledCalls(size_t number);

}  // namespace tranche::sim::cuda
