// libcuda.so.1 of a machine on which calls of it fail, as `tranche-sim fault` has it: every symbol
// passes on to the driver's own library, lib/real/libcuda.so.1 of the machine, or fails first. What
// fails is in lib/cuda_faults, a line each:
//
//   fail SYMBOL CODE N      the N-th call of each process; 0 = every one
//   missing SYMBOL          cuGetProcAddress knows no such symbol
#include <dlfcn.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <string>

#include "sim/cuda/symbols.h"

#pragma GCC diagnostic ignored "-Wunused-parameter"

#define FAULTY extern "C" __attribute__((visibility("default")))

namespace tranche::sim::cuda {
namespace {

struct Fault {
  bool fails = false, missing = false;
  CUresult code = CUDA_SUCCESS;
  uint64_t nth = 0;
  std::atomic<uint64_t> calls{0};
};

// Set up by the first call, never changed after.
struct State {
  std::array<Fault, kSymbolCount> faults;
  std::array<void*, kSymbolCount> real = {};
  void* library = nullptr;
};

void Read(const std::string& path, State* state) {
  std::FILE* file = std::fopen(path.c_str(), "re");
  if (file == nullptr) return;
  char line[256], name[96];
  while (std::fgets(line, sizeof(line), file) != nullptr) {
    unsigned int code = 0;
    unsigned long long nth = 0;
    const bool fails = std::sscanf(line, "fail %95s %u %llu", name, &code, &nth) == 3;
    if (!fails && std::sscanf(line, "missing %95s", name) != 1) continue;
    for (size_t i = 0; i < kSymbolCount; ++i) {
      if (std::strcmp(name, SymbolAt(i).name) != 0) continue;
      Fault& fault = state->faults[i];
      fault.fails = fault.fails || fails;
      fault.missing = fault.missing || !fails;
      if (fails) fault.code = static_cast<CUresult>(code);
      if (fails) fault.nth = nth;
    }
  }
  std::fclose(file);
}

State& TheState() {
  static auto* state = new State;
  static std::once_flag once;
  std::call_once(once, [] {
    const int before = errno;
    const char* dir = std::getenv("TRANCHE_SIM_DIR");
    const std::string folder = std::string(dir == nullptr ? "" : dir) + "/lib/";
    Read(folder + "cuda_faults", state);
    state->library = dlopen((folder + "real/libcuda.so.1").c_str(), RTLD_NOW | RTLD_LOCAL);
    for (size_t i = 0; i < kSymbolCount && state->library != nullptr; ++i)
      state->real[i] = dlsym(state->library, SymbolAt(i).name);
    errno = before;
  });
  return *state;
}

// What to call; nullptr with what to answer instead.
void* Real(size_t number, CUresult* instead) {
  State& state = TheState();
  Fault& fault = state.faults[number];
  if (fault.fails) {
    const uint64_t call = fault.calls.fetch_add(1, std::memory_order_relaxed) + 1;
    if (fault.nth == 0 || fault.nth == call) {
      *instead = fault.code;
      return nullptr;
    }
  }
  *instead = CUDA_ERROR_NO_DEVICE;
  return state.real[number];
}

// A function that was looked up is one of these, too.
CUresult Ours(CUresult found, void** function, CUdriverProcAddressQueryResult* status) {
  if (found != CUDA_SUCCESS || function == nullptr || *function == nullptr) return found;
  State& state = TheState();
  for (size_t i = 0; i < kSymbolCount; ++i) {
    if (state.real[i] != *function) continue;
    *function = state.faults[i].missing ? nullptr : SymbolAt(i).address;
    if (*function != nullptr) return found;
    if (status != nullptr) *status = CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
    return CUDA_ERROR_NOT_FOUND;
  }
  return found;
}

CUresult Looked(size_t number, const char* symbol, void** function, int version, cuuint64_t flags) {
  CUresult instead = CUDA_SUCCESS;
  const auto real =
      reinterpret_cast<CUresult (*)(const char*, void**, int, cuuint64_t)>(Real(number, &instead));
  if (real == nullptr) return instead;
  return Ours(real(symbol, function, version, flags), function, nullptr);
}

CUresult Looked(size_t number, const char* symbol, void** function, int version, cuuint64_t flags,
                CUdriverProcAddressQueryResult* status) {
  CUresult instead = CUDA_SUCCESS;
  const auto real =
      reinterpret_cast<CUresult (*)(const char*, void**, int, cuuint64_t,
                                    CUdriverProcAddressQueryResult*)>(Real(number, &instead));
  if (real == nullptr) return instead;
  return Ours(real(symbol, function, version, flags, status), function, status);
}

template <size_t kNumber, auto kFunction>
struct Passed;
template <size_t kNumber, typename... Arguments, CUresult (*kFunction)(Arguments...)>
struct Passed<kNumber, kFunction> {
  static CUresult Call(Arguments... arguments) {
    if constexpr (kNumber == kSymbol_cuGetProcAddress || kNumber == kSymbol_cuGetProcAddress_v2) {
      return Looked(kNumber, arguments...);
    } else {
      CUresult instead = CUDA_SUCCESS;
      const auto real = reinterpret_cast<CUresult (*)(Arguments...)>(Real(kNumber, &instead));
      return real == nullptr ? instead : real(arguments...);
    }
  }
};

}  // namespace
}  // namespace tranche::sim::cuda

#define CUDA_SYMBOL(name, base, since, per_thread, parameters, arguments) \
  FAULTY CUresult name parameters {                                       \
    using namespace tranche::sim::cuda;                                   \
    return Passed<kSymbol_##name, &::name>::Call arguments;               \
  }
#include "abi/cuda_symbols.inc"

FAULTY CUresult cuTrancheSimSetLoad(double sm, double memory) {
  void* real = dlsym(tranche::sim::cuda::TheState().library, "cuTrancheSimSetLoad");
  return real == nullptr ? CUDA_ERROR_NOT_FOUND
                         : reinterpret_cast<CUresult (*)(double, double)>(real)(sm, memory);
}
FAULTY CUresult cuTrancheSimUnmodelledCalls(const char* symbol, unsigned long long* calls) {
  void* real = dlsym(tranche::sim::cuda::TheState().library, "cuTrancheSimUnmodelledCalls");
  return real == nullptr ? CUDA_ERROR_NOT_FOUND
                         : reinterpret_cast<CUresult (*)(const char*, unsigned long long*)>(real)(
                               symbol, calls);
}
