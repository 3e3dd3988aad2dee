#include "sim/model_server/device.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include <utility>

#include "abi/cuda.h"

namespace tranche::sim {
namespace {

// What the plan counts for a server besides weights and cache, and what of that is left to the
// context, whose size only the driver knows. The rest is taken as working space, so that no more
// than planned is ever held.
constexpr Bytes kOverhead = GiB(1);
constexpr Bytes kForContext = MiB(640);

// The functions of libcuda.so.1 in use. Of the ABI that the header declares, hence by their
// versioned names.
struct Functions {
  decltype(&::cuInit) init = nullptr;
  decltype(&::cuGetErrorName) error_name = nullptr;
  decltype(&::cuGetErrorString) error_string = nullptr;
  decltype(&::cuDeviceGet) device_get = nullptr;
  decltype(&::cuDeviceGetName) device_name = nullptr;
  decltype(&::cuDeviceGetAttribute) attribute = nullptr;
  decltype(&::cuDevicePrimaryCtxRetain) retain = nullptr;
  decltype(&::cuDevicePrimaryCtxRelease_v2) release = nullptr;
  decltype(&::cuCtxSetCurrent) set_current = nullptr;
  decltype(&::cuCtxSynchronize) synchronize = nullptr;
  decltype(&::cuMemGetInfo_v2) memory_info = nullptr;
  decltype(&::cuMemAlloc_v2) allocate = nullptr;
  decltype(&::cuTrancheSimSetLoad) set_load = nullptr;  // nullptr on a real device
};

struct CloseLibrary {
  void operator()(void* library) const { dlclose(library); }
};
using LibraryHandle = std::unique_ptr<void, CloseLibrary>;

template <typename T>
bool Find(void* library, const char* name, T* function) {
  *function = reinterpret_cast<T>(dlsym(library, name));
  return *function != nullptr;
}

Result<LibraryHandle> Load(Functions* f) {
  // It stays loaded: a driver does not expect to be taken away from under its own threads.
  LibraryHandle library(dlopen("libcuda.so.1", RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE));
  if (!library) {
    return Fail(ErrorCode::kUnavailable, fmt::format("there is no CUDA driver: {}", dlerror()),
                "install the NVIDIA driver, or run under `tranche-sim exec DIR --`");
  }
  const char* missing = nullptr;
  const auto need = [&](const char* name, auto* function) {
    if (!Find(library.get(), name, function) && missing == nullptr) missing = name;
  };
  need("cuInit", &f->init);
  need("cuGetErrorName", &f->error_name);
  need("cuGetErrorString", &f->error_string);
  need("cuDeviceGet", &f->device_get);
  need("cuDeviceGetName", &f->device_name);
  need("cuDeviceGetAttribute", &f->attribute);
  need("cuDevicePrimaryCtxRetain", &f->retain);
  need("cuDevicePrimaryCtxRelease_v2", &f->release);
  need("cuCtxSetCurrent", &f->set_current);
  need("cuCtxSynchronize", &f->synchronize);
  need("cuMemGetInfo_v2", &f->memory_info);
  need("cuMemAlloc_v2", &f->allocate);
  if (missing != nullptr) {
    return Fail(ErrorCode::kUnavailable, fmt::format("the CUDA driver has no {}", missing),
                "it is too old");
  }
  Find(library.get(), "cuTrancheSimSetLoad", &f->set_load);
  return library;
}

std::string Text(const Functions& f, CUresult code) {
  const char *name = nullptr, *text = nullptr;
  f.error_name(code, &name);
  f.error_string(code, &text);
  return fmt::format("{} ({})", text ? text : "unknown error",
                     name ? name : std::to_string(code).c_str());
}

class CudaDevice final : public Device {
 public:
  CudaDevice(LibraryHandle library, const Functions& functions)
      : library_(std::move(library)), f_(functions) {}
  ~CudaDevice() override {
    // Gives the memory back with it.
    if (context_ != nullptr) f_.release(device_);
  }

  Status Hold(const Needs& needs);

  const std::string& name() const override { return name_; }
  double bandwidth() const override { return bandwidth_; }
  Bytes cache() const override { return cache_; }

  Status Check() override {
    const CUresult result = f_.synchronize();
    if (result == CUDA_SUCCESS) return {};
    return Fail(ErrorCode::kFailed, fmt::format("{} failed: {}", name_, Text(f_, result)));
  }
  void SetLoad(double sm, double memory) override {
    if (f_.set_load != nullptr) f_.set_load(sm, memory);
  }

 private:
  Status ReadDevice();
  Status Allocate(const Needs& needs, Bytes bytes);
  tl::unexpected<Error> NoRoom(const Needs& needs);

  LibraryHandle library_;
  const Functions f_;
  CUdevice device_ = 0;
  CUcontext context_ = nullptr;
  std::string name_;
  double bandwidth_ = 0;
  Bytes cache_;
};

Status CudaDevice::ReadDevice() {
  CUresult result = f_.init(0);
  if (result == CUDA_SUCCESS) result = f_.device_get(&device_, 0);
  if (result != CUDA_SUCCESS) {
    return Fail(ErrorCode::kUnavailable, "there is no CUDA device: " + Text(f_, result),
                "check CUDA_VISIBLE_DEVICES, and that the driver is loaded");
  }
  char name[128] = {};
  int clock_khz = 0, bus_bits = 0;
  result = f_.device_name(name, sizeof name, device_);
  if (result == CUDA_SUCCESS)
    result = f_.attribute(&clock_khz, CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE, device_);
  if (result == CUDA_SUCCESS) {
    result = f_.attribute(&bus_bits, CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH, device_);
  }
  name_ = name;
  // Two transfers per clock.
  bandwidth_ = 2.0 * clock_khz * 1000 * bus_bits / 8;
  if (result != CUDA_SUCCESS || bandwidth_ <= 0) {
    return Fail(ErrorCode::kFailed, fmt::format("the memory bandwidth of {} cannot be read: {}",
                                                name_, Text(f_, result)));
  }
  return {};
}

tl::unexpected<Error> CudaDevice::NoRoom(const Needs& needs) {
  size_t free = 0, total = 0;
  const bool known = context_ != nullptr && f_.memory_info(&free, &total) == CUDA_SUCCESS;
  const std::string has = known ? fmt::format("{} of its {} are free", FormatBytes(Bytes{free}),
                                              FormatBytes(Bytes{total}))
                                : "not even its context fits";
  return Fail(ErrorCode::kDoesNotFit,
              fmt::format("{} needs {} and does not fit on {}: {}", needs.model,
                          FormatBytes(needs.memory), name_, has),
              "give it a larger slice, a shorter context or fewer sequences at once");
}

Status CudaDevice::Allocate(const Needs& needs, Bytes bytes) {
  if (bytes.value == 0) return {};
  CUdeviceptr pointer = 0;
  const CUresult result = f_.allocate(&pointer, bytes.value);
  if (result == CUDA_ERROR_OUT_OF_MEMORY) return NoRoom(needs);
  if (result != CUDA_SUCCESS) {
    return Fail(ErrorCode::kFailed, fmt::format("cannot take {} on {}: {}", FormatBytes(bytes),
                                                name_, Text(f_, result)));
  }
  return {};
}

Status CudaDevice::Hold(const Needs& needs) {
  if (needs.memory < needs.weights + kOverhead) {
    return Fail(
        ErrorCode::kInvalid,
        fmt::format("{} of memory do not hold {} of weights and {} besides",
                    FormatBytes(needs.memory), FormatBytes(needs.weights), FormatBytes(kOverhead)),
        "raise --memory");
  }
  if (auto read = ReadDevice(); !read) return read;
  const CUresult result = f_.retain(&context_, device_);
  if (result != CUDA_SUCCESS) context_ = nullptr;
  if (result == CUDA_ERROR_OUT_OF_MEMORY) return NoRoom(needs);
  if (result != CUDA_SUCCESS || f_.set_current(context_) != CUDA_SUCCESS) {
    return Fail(ErrorCode::kFailed, fmt::format("cannot use {}: {}", name_, Text(f_, result)));
  }
  cache_ = needs.memory - needs.weights - kOverhead;
  for (const Bytes bytes : {needs.weights, cache_, kOverhead - kForContext}) {
    if (auto allocated = Allocate(needs, bytes); !allocated) return allocated;
  }
  return {};
}

}  // namespace

Result<std::unique_ptr<Device>> Device::Open(const Needs& needs) {
  Functions functions;
  auto library = Load(&functions);
  if (!library) return tl::unexpected(library.error());
  auto device = std::make_unique<CudaDevice>(std::move(*library), functions);
  if (auto held = device->Hold(needs); !held) return tl::unexpected(held.error());
  return device;
}

}  // namespace tranche::sim
