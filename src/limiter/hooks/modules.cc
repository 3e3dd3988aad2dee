#include "limiter/hooks/measured.h"

// Code and its global variables. The driver loads what it needs when it needs it: at the load, or
// when a function or a variable is first asked for.
namespace tranche::limiter {
namespace {

template <typename Load>
CUresult LoadModule(CUmodule* module, const Load& load) {
  return Measured(
      Kind::kModule, false, true, load, [&] { return Number(*module); },
      [&] {
        REAL(cuModuleUnload)
        (*module);
      });
}

// A library belongs to no context.
template <typename Load>
CUresult LoadLibrary(CUlibrary* library, const Load& load) {
  return Measured(
      Kind::kLibrary, true, true, load, [&] { return Number(*library); },
      [&] {
        REAL(cuLibraryUnload)
        (*library);
      });
}

// What is in use already stays: the answer alone is taken back.
template <typename Use>
CUresult UseOf(Kind kind, uint64_t handle, const Use& use) {
  return Measured(
      kind, kind == Kind::kLibrary, false, use, [&] { return handle; }, [] {});
}

uint64_t LibraryOf(CUkernel kernel) {
  CUlibrary library = nullptr;
  return kernel != nullptr && REAL(cuKernelGetLibrary)(&library, kernel) == CUDA_SUCCESS
             ? Number(library)
             : 0;
}

}  // namespace

HOOK(cuModuleLoad, (CUmodule * module, const char* file)) {
  return LoadModule(module, [&] { return REAL(cuModuleLoad)(module, file); });
}
HOOK(cuModuleLoadData, (CUmodule * module, const void* image)) {
  return LoadModule(module, [&] { return REAL(cuModuleLoadData)(module, image); });
}
HOOK(cuModuleLoadDataEx, (CUmodule * module, const void* image, unsigned int count,
                          CUjit_option* options, void** values)) {
  return LoadModule(
      module, [&] { return REAL(cuModuleLoadDataEx)(module, image, count, options, values); });
}
HOOK(cuModuleLoadFatBinary, (CUmodule * module, const void* image)) {
  return LoadModule(module, [&] { return REAL(cuModuleLoadFatBinary)(module, image); });
}
HOOK(cuModuleUnload, (CUmodule module)) {
  return GiveBackMeasured(Kind::kModule, Number(module),
                          [&] { return REAL(cuModuleUnload)(module); });
}
HOOK(cuModuleGetFunction, (CUfunction * function, CUmodule module, const char* name)) {
  return UseOf(Kind::kModule, Number(module),
               [&] { return REAL(cuModuleGetFunction)(function, module, name); });
}
HOOK(cuModuleGetGlobal,
     (CUdeviceptr_v1 * address, unsigned int* bytes, CUmodule module, const char* name)) {
  return UseOf(Kind::kModule, Number(module),
               [&] { return REAL(cuModuleGetGlobal)(address, bytes, module, name); });
}
HOOK(cuModuleGetTexRef, (CUtexref * texture, CUmodule module, const char* name)) {
  return UseOf(Kind::kModule, Number(module),
               [&] { return REAL(cuModuleGetTexRef)(texture, module, name); });
}
HOOK(cuModuleGetSurfRef, (CUsurfref * surface, CUmodule module, const char* name)) {
  return UseOf(Kind::kModule, Number(module),
               [&] { return REAL(cuModuleGetSurfRef)(surface, module, name); });
}
HOOK(cuFuncLoad, (CUfunction function)) {
  CUmodule module = nullptr;
  if (IsLimited() && REAL(cuFuncGetModule)(&module, function) != CUDA_SUCCESS) module = nullptr;
  return UseOf(Kind::kModule, Number(module), [&] { return REAL(cuFuncLoad)(function); });
}
HOOK(cuModuleGetGlobal_v2,
     (CUdeviceptr * address, size_t* bytes, CUmodule module, const char* name)) {
  return UseOf(Kind::kModule, Number(module),
               [&] { return REAL(cuModuleGetGlobal_v2)(address, bytes, module, name); });
}

HOOK(cuLibraryLoadData,
     (CUlibrary * library, const void* code, CUjit_option* jit_options, void** jit_values,
      unsigned int jit_count, CUlibraryOption* options, void** values, unsigned int count)) {
  return LoadLibrary(library, [&] {
    return REAL(cuLibraryLoadData)(library, code, jit_options, jit_values, jit_count, options,
                                   values, count);
  });
}
HOOK(cuLibraryLoadFromFile,
     (CUlibrary * library, const char* file, CUjit_option* jit_options, void** jit_values,
      unsigned int jit_count, CUlibraryOption* options, void** values, unsigned int count)) {
  return LoadLibrary(library, [&] {
    return REAL(cuLibraryLoadFromFile)(library, file, jit_options, jit_values, jit_count, options,
                                       values, count);
  });
}
HOOK(cuLibraryUnload, (CUlibrary library)) {
  return GiveBackMeasured(Kind::kLibrary, Number(library),
                          [&] { return REAL(cuLibraryUnload)(library); });
}
HOOK(cuLibraryGetKernel, (CUkernel * kernel, CUlibrary library, const char* name)) {
  return UseOf(Kind::kLibrary, Number(library),
               [&] { return REAL(cuLibraryGetKernel)(kernel, library, name); });
}
HOOK(cuLibraryGetModule, (CUmodule * module, CUlibrary library)) {
  return UseOf(Kind::kLibrary, Number(library),
               [&] { return REAL(cuLibraryGetModule)(module, library); });
}
HOOK(cuLibraryGetGlobal,
     (CUdeviceptr * address, size_t* bytes, CUlibrary library, const char* name)) {
  return UseOf(Kind::kLibrary, Number(library),
               [&] { return REAL(cuLibraryGetGlobal)(address, bytes, library, name); });
}
HOOK(cuLibraryGetManaged,
     (CUdeviceptr * address, size_t* bytes, CUlibrary library, const char* name)) {
  return UseOf(Kind::kLibrary, Number(library),
               [&] { return REAL(cuLibraryGetManaged)(address, bytes, library, name); });
}
HOOK(cuLibraryGetUnifiedFunction, (void** function, CUlibrary library, const char* name)) {
  return UseOf(Kind::kLibrary, Number(library),
               [&] { return REAL(cuLibraryGetUnifiedFunction)(function, library, name); });
}
HOOK(cuKernelGetFunction, (CUfunction * function, CUkernel kernel)) {
  return UseOf(Kind::kLibrary, LibraryOf(kernel),
               [&] { return REAL(cuKernelGetFunction)(function, kernel); });
}

}  // namespace tranche::limiter
