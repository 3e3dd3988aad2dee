#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <sstream>

#include "sim/cuda/memory.h"
#include "sim/cuda/modules.h"

// Modules and libraries, and the functions in them.
namespace tranche::sim::cuda {

Slots<Kernel>& Kernels() {
  static auto* kernels = new Slots<Kernel>;
  return *kernels;
}

Image ReadImage(const void* data) {
  constexpr char kMagic[] = "tranche-kernels 1\n";
  // As much as the code of an unknown image is taken to need.
  constexpr uint64_t kUnknownBytes = uint64_t{64} << 10;
  Image image;
  const char* text = static_cast<const char*>(data);
  if (std::strncmp(text, kMagic, sizeof(kMagic) - 1) != 0) {
    image.bytes = kUnknownBytes;
    return image;
  }
  image.ours = true;
  image.bytes = std::strlen(text);
  std::istringstream lines(text + sizeof(kMagic) - 1);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string keyword, cost;
    KernelLine kernel;
    if (!(words >> keyword >> kernel.name)) continue;
    if (keyword == "code") image.bytes += std::strtoull(kernel.name.c_str(), nullptr, 10);
    if (!(words >> cost)) continue;
    if (keyword == "global") image.globals[kernel.name] = std::strtoull(cost.c_str(), nullptr, 10);
    if (keyword != "kernel") continue;
    kernel.cost_is_argument = cost == "argument";
    kernel.cost_ns = std::strtoull(cost.c_str(), nullptr, 10);
    std::string more;
    kernel.counts = !kernel.cost_is_argument && words >> more && more == "counts";
    image.kernels.push_back(kernel);
  }
  return image;
}

namespace {

// What the code of a module takes of a context.
struct Instance {
  uint64_t charged = 0;
  std::map<std::string, CUdeviceptr> globals;
};

struct Module {
  CUcontext context =
      nullptr;  // nullptr: a library, which comes into a context when it is asked for there
  Image image;
  std::map<CUcontext, Instance> instances;
  std::map<std::string, Kernel*> functions;
};

// Under the library's lock, as all below.
std::map<uint64_t, Module>& Modules() {
  static auto* modules = new std::map<uint64_t, Module>;
  return *modules;
}

void Unload(Library& library, CUcontext handle, const Instance& instance) {
  const Library::Context* context = library.Find(handle);
  if (context == nullptr) return;  // went with everything that it had
  for (const auto& [name, pointer] : instance.globals) {
    library.allocations()[pointer].kind = Library::Kind::kLinear;
    FreeAllocation(library, pointer);
  }
  library.Discharge(context->serial, instance.charged);
}

// The code comes into that context, unless it is there. Code is kept apart from data, in granules
// of its own once it is larger than what every context holds for small modules.
CUresult Enter(Library& library, Module* module, CUcontext handle, Library::Context& context) {
  if (module->instances.contains(handle)) return CUDA_SUCCESS;
  Instance instance;
  instance.charged = module->image.bytes / kGranule * kGranule;
  CUresult result = library.Charge(context.serial, instance.charged);
  if (result != CUDA_SUCCESS) return result;
  for (const auto& [name, bytes] : module->image.globals) {
    CUdeviceptr pointer = 0;
    result = AllocateIn(library, handle, context, std::max<uint64_t>(bytes, 1),
                        Library::Kind::kGlobal, &pointer);
    if (result != CUDA_SUCCESS) {
      Unload(library, handle, instance);
      return result;
    }
    instance.globals[name] = pointer;
  }
  module->instances[handle] = std::move(instance);
  return CUDA_SUCCESS;
}

CUresult EnterCurrent(uint64_t handle) {
  return CallInContext([&](Library& library, Library::Context& context) {
    const auto found = Modules().find(handle);
    if (found == Modules().end()) return CUDA_ERROR_INVALID_HANDLE;
    return Enter(library, &found->second, ContextStack().back(), context);
  });
}

CUresult Load(uint64_t* handle, const void* data, bool is_library) {
  if (handle == nullptr || data == nullptr) return CUDA_ERROR_INVALID_VALUE;
  BeginWork();
  if (is_library) {
    return Call([&](Library& library) {
      *handle = library.NextHandle();
      Modules()[*handle].image = ReadImage(data);
      return CUDA_SUCCESS;
    });
  }
  return CallInContext([&](Library& library, Library::Context& context) {
    Module module;
    module.context = ContextStack().back();
    module.image = ReadImage(data);
    const CUresult entered = Enter(library, &module, module.context, context);
    if (entered != CUDA_SUCCESS) return entered;
    *handle = library.NextHandle();
    Modules().emplace(*handle, std::move(module));
    return CUDA_SUCCESS;
  });
}

CUresult Unload(uint64_t handle) {
  return Call([&](Library& library) {
    const auto found = Modules().find(handle);
    if (found == Modules().end()) return CUDA_ERROR_INVALID_HANDLE;
    for (const auto& [name, kernel] : found->second.functions) Kernels().Drop(kernel);
    for (const auto& [context, instance] : found->second.instances)
      Unload(library, context, instance);
    Modules().erase(found);
    return CUDA_SUCCESS;
  });
}

CUresult Global(uint64_t handle, const char* name, CUdeviceptr* pointer, size_t* bytes) {
  return CallInContext([&](Library& library, Library::Context& current) {
    const auto found = Modules().find(handle);
    if (found == Modules().end()) return CUDA_ERROR_INVALID_HANDLE;
    if (name == nullptr) return CUDA_ERROR_INVALID_VALUE;
    Module& module = found->second;
    const CUcontext in = module.context == nullptr ? ContextStack().back() : module.context;
    if (module.context == nullptr) {
      const CUresult entered = Enter(library, &module, in, current);
      if (entered != CUDA_SUCCESS) return entered;
    }
    const auto global = module.instances[in].globals.find(name);
    if (global == module.instances[in].globals.end()) return CUDA_ERROR_NOT_FOUND;
    if (pointer != nullptr) *pointer = global->second;
    if (bytes != nullptr) *bytes = module.image.globals[name];
    return CUDA_SUCCESS;
  });
}

CUresult Function(uint64_t handle, const char* name, Kernel** kernel) {
  return Call([&](Library&) {
    const auto found = Modules().find(handle);
    if (found == Modules().end()) return CUDA_ERROR_INVALID_HANDLE;
    if (name == nullptr || *name == 0) return CUDA_ERROR_INVALID_VALUE;
    Module& module = found->second;
    const auto known = module.functions.find(name);
    if (known != module.functions.end()) {
      *kernel = known->second;
      return CUDA_SUCCESS;
    }
    KernelLine line;
    line.name = name;
    bool declared = !module.image.ours;
    for (const KernelLine& candidate : module.image.kernels) {
      if (candidate.name != name) continue;
      line = candidate;
      declared = true;
    }
    if (!declared) return CUDA_ERROR_NOT_FOUND;
    Kernel* made = Kernels().Make();
    if (made == nullptr) return CUDA_ERROR_OUT_OF_MEMORY;
    made->name = name;
    made->cost_ns = line.cost_ns;
    made->cost_is_argument = line.cost_is_argument;
    made->counts = line.counts;
    if (module.context == nullptr) {
      made->library = MakeHandle<CUlibrary>(handle);
    } else {
      made->module = MakeHandle<CUmodule>(handle);
    }
    module.functions[name] = made;
    *kernel = made;
    return CUDA_SUCCESS;
  });
}

std::string FileText(const char* path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

template <typename Handle>
CUresult LoadTo(Handle* handle, const void* image, bool is_library) {
  uint64_t number = 0;
  if (handle == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const CUresult loaded = Load(&number, image, is_library);
  if (loaded == CUDA_SUCCESS) *handle = MakeHandle<Handle>(number);
  return loaded;
}

template <typename Handle>
CUresult LoadFile(Handle* handle, const char* path, bool is_library) {
  if (path == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const std::string image = FileText(path);
  if (image.empty()) return CUDA_ERROR_FILE_NOT_FOUND;
  return LoadTo(handle, image.c_str(), is_library);
}

}  // namespace

CUDA_EXPORT CUresult cuModuleLoad(CUmodule* module, const char* path) {
  return LoadFile(module, path, false);
}
CUDA_EXPORT CUresult cuModuleLoadData(CUmodule* module, const void* image) {
  return LoadTo(module, image, false);
}
CUDA_EXPORT CUresult cuModuleLoadDataEx(CUmodule* module, const void* image, unsigned int,
                                        CUjit_option*, void**) {
  return LoadTo(module, image, false);
}
CUDA_EXPORT CUresult cuModuleLoadFatBinary(CUmodule* module, const void* image) {
  return LoadTo(module, image, false);
}
CUDA_EXPORT CUresult cuModuleUnload(CUmodule module) { return Unload(Number(module)); }
CUDA_EXPORT CUresult cuModuleGetFunction(CUfunction* function, CUmodule module, const char* name) {
  if (function == nullptr) return CUDA_ERROR_INVALID_VALUE;
  Kernel* kernel = nullptr;
  const CUresult found = Function(Number(module), name, &kernel);
  if (found == CUDA_SUCCESS) *function = reinterpret_cast<CUfunction>(kernel);
  return found;
}
CUDA_EXPORT CUresult cuModuleGetGlobal_v2(CUdeviceptr* pointer, size_t* bytes, CUmodule module,
                                          const char* name) {
  return Global(Number(module), name, pointer, bytes);
}
CUDA_EXPORT CUresult cuLibraryGetGlobal(CUdeviceptr* pointer, size_t* bytes, CUlibrary library,
                                        const char* name) {
  return Global(Number(library), name, pointer, bytes);
}
CUDA_EXPORT CUresult cuModuleGetFunctionCount(unsigned int* count, CUmodule module) {
  return Call([&](Library&) {
    const auto found = Modules().find(Number(module));
    if (found == Modules().end()) return CUDA_ERROR_INVALID_HANDLE;
    if (count == nullptr) return CUDA_ERROR_INVALID_VALUE;
    *count = static_cast<unsigned int>(found->second.image.kernels.size());
    return CUDA_SUCCESS;
  });
}
CUDA_EXPORT CUresult cuModuleGetLoadingMode(CUmoduleLoadingMode* mode) {
  if (mode == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *mode = CU_MODULE_LAZY_LOADING;
  return CUDA_SUCCESS;
}

CUDA_EXPORT CUresult cuLibraryLoadData(CUlibrary* library, const void* code, CUjit_option*, void**,
                                       unsigned int, CUlibraryOption*, void**, unsigned int) {
  return LoadTo(library, code, true);
}
CUDA_EXPORT CUresult cuLibraryLoadFromFile(CUlibrary* library, const char* path, CUjit_option*,
                                           void**, unsigned int, CUlibraryOption*, void**,
                                           unsigned int) {
  return LoadFile(library, path, true);
}
CUDA_EXPORT CUresult cuLibraryUnload(CUlibrary library) { return Unload(Number(library)); }
CUDA_EXPORT CUresult cuLibraryGetKernel(CUkernel* out, CUlibrary library, const char* name) {
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  Kernel* kernel = nullptr;
  const CUresult found = Function(Number(library), name, &kernel);
  if (found == CUDA_SUCCESS) *out = reinterpret_cast<CUkernel>(kernel);
  return found;
}
CUDA_EXPORT CUresult cuLibraryGetModule(CUmodule* module, CUlibrary library) {
  if (module == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const CUresult entered = EnterCurrent(Number(library));
  if (entered == CUDA_SUCCESS) *module = MakeHandle<CUmodule>(Number(library));
  return entered;
}
// One object stands for a kernel in every context.
CUDA_EXPORT CUresult cuKernelGetFunction(CUfunction* function, CUkernel kernel) {
  if (function == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const Kernel* found = Kernels().Find(kernel);
  if (found == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  const CUresult entered =
      found->library == nullptr ? CUDA_SUCCESS : EnterCurrent(Number(found->library));
  if (entered == CUDA_SUCCESS) *function = reinterpret_cast<CUfunction>(kernel);
  return entered;
}
CUDA_EXPORT CUresult cuKernelGetLibrary(CUlibrary* library, CUkernel handle) {
  const Kernel* kernel = Kernels().Find(handle);
  if (kernel == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (library == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *library = kernel->library;
  return CUDA_SUCCESS;
}

namespace {
CUresult NameOf(const void* handle, const char** name) {
  const Kernel* kernel = Kernels().Find(handle);
  if (kernel == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (name == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *name = kernel->name.c_str();
  return CUDA_SUCCESS;
}

// A small kernel, of which many fit on a multiprocessor.
CUresult AttributeOf(const void* handle, CUfunction_attribute attribute, int* value) {
  if (Kernels().Find(handle) == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (value == nullptr) return CUDA_ERROR_INVALID_VALUE;
  switch (attribute) {
    case CU_FUNC_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
      *value = 1024;
      return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_NUM_REGS:
      *value = 32;
      return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_PTX_VERSION:
    case CU_FUNC_ATTRIBUTE_BINARY_VERSION:
      *value = 90;
      return CUDA_SUCCESS;
    case CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES:
      *value = 48 << 10;
      return CUDA_SUCCESS;
    default:
      *value = 0;
      return attribute < CU_FUNC_ATTRIBUTE_MAX ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
  }
}

CUresult Known(const void* handle) {
  return Kernels().Find(handle) == nullptr ? CUDA_ERROR_INVALID_HANDLE : CUDA_SUCCESS;
}
}  // namespace

CUDA_EXPORT CUresult cuFuncGetName(const char** name, CUfunction function) {
  return NameOf(function, name);
}
CUDA_EXPORT CUresult cuKernelGetName(const char** name, CUkernel kernel) {
  return NameOf(kernel, name);
}
CUDA_EXPORT CUresult cuFuncGetModule(CUmodule* module, CUfunction function) {
  const Kernel* kernel = Kernels().Find(function);
  if (kernel == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (module == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *module = kernel->module;
  return CUDA_SUCCESS;
}
CUDA_EXPORT CUresult cuFuncGetAttribute(int* value, CUfunction_attribute attribute,
                                        CUfunction function) {
  return AttributeOf(function, attribute, value);
}
CUDA_EXPORT CUresult cuFuncSetAttribute(CUfunction function, CUfunction_attribute, int) {
  return Known(function);
}
CUDA_EXPORT CUresult cuFuncSetCacheConfig(CUfunction function, CUfunc_cache) {
  return Known(function);
}
CUDA_EXPORT CUresult cuKernelGetAttribute(int* value, CUfunction_attribute attribute,
                                          CUkernel kernel, CUdevice) {
  return AttributeOf(kernel, attribute, value);
}
CUDA_EXPORT CUresult cuKernelSetAttribute(CUfunction_attribute, int, CUkernel kernel, CUdevice) {
  return Known(kernel);
}

}  // namespace tranche::sim::cuda
