#pragma once

#include <dlfcn.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string>

#include "abi/cuda.h"

// libcuda.so.1 as any program finds it. These are small programs of one purpose: what fails ends
// them, with the reason in the last line of their standard error.
namespace tranche::gpu_check {

[[noreturn]] inline void Give(const std::string& reason, int code = 1) {
  std::fprintf(stderr, "%s\n", reason.c_str());
  std::exit(code);
}

inline void* Libcuda() {
  static void* const library = dlopen("libcuda.so.1", RTLD_NOW);
  if (library == nullptr) Give(std::string("no driver: ") + dlerror(), 69);
  return library;
}

// nullptr where this driver has no such function.
template <typename Function>
Function* FindOrNull(const char* name) {
  return reinterpret_cast<Function*>(dlsym(Libcuda(), name));
}

template <typename Function>
Function* Find(const char* name) {
  Function* const function = FindOrNull<Function>(name);
  if (function == nullptr) Give(std::string("this driver has no ") + name);
  return function;
}

inline void Need(CUresult answer, const char* what) {
  if (answer != CUDA_SUCCESS)
    Give(std::string(what) + " answers " + std::to_string(static_cast<int>(answer)));
}

// Calls a function of the driver that must succeed. It is looked up once.
#define CU(name, ...)                                            \
  do {                                                           \
    static decltype(::name)* const cu_function =                 \
        ::tranche::gpu_check::Find<decltype(::name)>(#name);     \
    ::tranche::gpu_check::Need(cu_function(__VA_ARGS__), #name); \
  } while (false)

}  // namespace tranche::gpu_check
