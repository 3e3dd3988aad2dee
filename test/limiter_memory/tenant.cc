#include "tenant.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ostream>
#include <thread>

#include "abi/cuda.h"

namespace tranche::limiter_memory {
namespace {

constexpr uint64_t kGranule = uint64_t{2} << 20;
// Of more rows than this the driver says another thing.
constexpr uint64_t kMostPitched = uint64_t{1} << 29;

// The driver's functions, by name, out of one library.
void* g_library;
template <typename Function>
Function* Find(const char* name) {
  void* function = dlsym(g_library, name);
  if (function == nullptr) {
    std::fprintf(stderr, "no %s\n", name);
    _exit(1);
  }
  return reinterpret_cast<Function*>(function);
}
#define DRIVER(name) Find<decltype(::name)>(#name)

class Worker {
 public:
  int Do(const Command& command) {
    const int answer = Perform(command);
    // Without a context nearly everything would be refused for that reason.
    CUcontext current = nullptr;
    if (primary_ != nullptr && DRIVER(cuCtxGetCurrent)(&current) == CUDA_SUCCESS &&
        current == nullptr)
      DRIVER(cuCtxSetCurrent)(primary_);
    // What was destroyed while in use: when its memory goes is the driver's affair, but for this.
    const bool freed = command.op == Op::kFree || command.op == Op::kFreeAsync;
    if (pool_destroyed_ && freed) DRIVER(cuCtxSynchronize)();
    return answer;
  }
  // What was last shared.
  const Shared& shared() const { return shared_; }

 private:
  struct Mapping {
    CUdeviceptr address;
    size_t bytes;
  };
  struct Handle {
    CUmemGenericAllocationHandle handle;
    size_t bytes;
  };

  template <typename T>
  static T* Pick(std::vector<T>* all, uint32_t which) {
    return all->empty() ? nullptr : &(*all)[which % all->size()];
  }
  template <typename T>
  static void Drop(std::vector<T>* all, T* one) {
    all->erase(all->begin() + (one - all->data()));
  }
  // Calls destroy(one) for one of them; it is forgotten if it is gone.
  template <typename T, typename Destroy>
  static int End(std::vector<T>* all, uint32_t which, const Destroy& destroy) {
    T* one = Pick(all, which);
    if (one == nullptr) return kNothing;
    const CUresult answer = destroy(*one);
    if (answer == CUDA_SUCCESS) Drop(all, one);
    return answer;
  }
  template <typename T>
  static int Made(CUresult answer, std::vector<T>* all, const T& one) {
    if (answer == CUDA_SUCCESS) all->push_back(one);
    return answer;
  }

  int Pooled(CUresult answer, const CUdeviceptr& pointer) {
    if (answer == CUDA_SUCCESS) pooled_.push_back(pointer);
    return Made(answer, &pointers_, pointer);
  }
  // What comes out of a pool may come from a context in need: so it goes first, as it should.
  void ReturnPooled() {
    for (const CUdeviceptr pointer : pooled_) {
      const auto live = std::find(pointers_.begin(), pointers_.end(), pointer);
      if (live == pointers_.end()) continue;
      if (DRIVER(cuMemFree_v2)(pointer) == CUDA_SUCCESS) pointers_.erase(live);
    }
    pooled_.clear();
    DRIVER(cuCtxSynchronize)();
  }

  int Retain() {
    const CUresult answer = DRIVER(cuDevicePrimaryCtxRetain)(&primary_, 0);
    if (answer == CUDA_SUCCESS) DRIVER(cuCtxSetCurrent)(primary_);
    return answer;
  }
  int CreateGreen() {
    CUdevResource all = {};
    CUdevResourceDesc description = nullptr;
    CUgreenCtx green = nullptr;
    CUresult answer = DRIVER(cuDeviceGetDevResource)(0, &all, CU_DEV_RESOURCE_TYPE_SM);
    if (answer == CUDA_SUCCESS) answer = DRIVER(cuDevResourceGenerateDesc)(&description, &all, 1);
    if (answer == CUDA_SUCCESS)
      answer = DRIVER(cuGreenCtxCreate)(&green, description, 0, CU_GREEN_CTX_DEFAULT_STREAM);
    return Made(answer, &greens_, green);
  }
  int CreateHandle(uint64_t bytes) {
    CUmemAllocationProp properties = {};
    properties.type = CU_MEM_ALLOCATION_TYPE_PINNED;
    properties.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
    properties.requestedHandleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
    Handle made = {0, (bytes + kGranule - 1) / kGranule * kGranule};
    const CUresult answer = DRIVER(cuMemCreate)(&made.handle, made.bytes, &properties, 0);
    return Made(answer, &handles_, made);
  }
  int Map(uint32_t which) {
    const Handle* handle = Pick(&handles_, which);
    if (handle == nullptr) return kNothing;
    Mapping mapping = {0, handle->bytes};
    CUresult answer = DRIVER(cuMemAddressReserve)(&mapping.address, mapping.bytes, 0, 0, 0);
    if (answer == CUDA_SUCCESS)
      answer = DRIVER(cuMemMap)(mapping.address, mapping.bytes, 0, handle->handle, 0);
    return Made(answer, &mappings_, mapping);
  }
  int RetainHandle(uint32_t which) {
    const Mapping* mapping = Pick(&mappings_, which);
    if (mapping == nullptr) return kNothing;
    Handle handle = {0, mapping->bytes};
    const CUresult answer = DRIVER(cuMemRetainAllocationHandle)(
        &handle.handle, reinterpret_cast<void*>(mapping->address));
    return Made(answer, &handles_, handle);
  }
  int Reimport(uint32_t which) {
    const Handle* handle = Pick(&handles_, which);
    if (handle == nullptr) return kNothing;
    int descriptor = -1;
    Handle again = {0, handle->bytes};
    CUresult answer = DRIVER(cuMemExportToShareableHandle)(
        &descriptor, handle->handle, CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0);
    if (answer != CUDA_SUCCESS) return answer;
    answer = DRIVER(cuMemImportFromShareableHandle)(
        &again.handle, reinterpret_cast<void*>(static_cast<intptr_t>(descriptor)),
        CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
    close(descriptor);
    return Made(answer, &handles_, again);
  }
  int CreatePool() {
    CUmemPoolProps properties = {};
    properties.allocType = CU_MEM_ALLOCATION_TYPE_PINNED;
    properties.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
    CUmemoryPool pool = nullptr;
    const CUresult answer = DRIVER(cuMemPoolCreate)(&pool, &properties);
    return Made(answer, &pools_, pool);
  }
  int Keep(cuuint64_t threshold) {
    CUmemoryPool pool = nullptr;
    const CUresult answer = DRIVER(cuDeviceGetDefaultMemPool)(&pool, 0);
    return answer != CUDA_SUCCESS
               ? answer
               : DRIVER(cuMemPoolSetAttribute)(pool, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &threshold);
  }
  int Graph(uint64_t bytes) {
    CUDA_MEM_ALLOC_NODE_PARAMS parameters = {};
    parameters.poolProps.allocType = CU_MEM_ALLOCATION_TYPE_PINNED;
    parameters.poolProps.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
    parameters.bytesize = bytes;
    CUgraph graph = nullptr;
    CUgraphNode node = nullptr, end = nullptr;
    CUgraphExec exec = nullptr;
    CUresult answer = DRIVER(cuGraphCreate)(&graph, 0);
    if (answer == CUDA_SUCCESS)
      answer = DRIVER(cuGraphAddMemAllocNode)(&node, graph, nullptr, 0, &parameters);
    if (answer == CUDA_SUCCESS)
      answer = DRIVER(cuGraphAddMemFreeNode)(&end, graph, &node, 1, parameters.dptr);
    if (answer == CUDA_SUCCESS) answer = DRIVER(cuGraphInstantiateWithFlags)(&exec, graph, 0);
    if (answer == CUDA_SUCCESS) answer = DRIVER(cuGraphLaunch)(exec, nullptr);
    DRIVER(cuCtxSynchronize)();
    if (exec != nullptr) DRIVER(cuGraphExecDestroy)(exec);
    if (graph != nullptr) DRIVER(cuGraphDestroy)(graph);
    return answer;
  }
  // Smaller ones are charged for a whole granule, though they may share it.
  static CUDA_ARRAY3D_DESCRIPTOR Shape(uint64_t bytes) {
    CUDA_ARRAY3D_DESCRIPTOR shape = {};
    shape.Width = 8192;
    shape.Height = std::clamp<uint64_t>(bytes / (8192 * 16), kGranule / (8192 * 16), 1 << 17);
    shape.Format = CU_AD_FORMAT_FLOAT;
    shape.NumChannels = 4;
    return shape;
  }
  static std::string Image(uint64_t code) {
    return "tranche-kernels 1\nkernel nothing 0\ncode " + std::to_string(code) + "\n";
  }
  int LoadModule(uint64_t bytes) {
    if (bytes > uint64_t{64} << 20) return kNothing;
    const std::string image = Image(bytes);
    CUmodule module = nullptr;
    const CUresult answer = DRIVER(cuModuleLoadData)(&module, image.c_str());
    return Made(answer, &modules_, module);
  }

  int Bind(uint32_t which) {
    const Handle* handle = Pick(&handles_, which);
    if (handle == nullptr) return kNothing;
    CUmulticastObjectProp properties = {};
    properties.numDevices = 1;
    properties.size = handle->bytes;
    Handle object = {0, handle->bytes};
    CUresult answer = DRIVER(cuMulticastCreate)(&object.handle, &properties);
    if (answer == CUDA_SUCCESS) answer = DRIVER(cuMulticastAddDevice)(object.handle, 0);
    if (answer == CUDA_SUCCESS)
      answer = DRIVER(cuMulticastBindMem)(object.handle, 0, handle->handle, 0, handle->bytes, 0);
    return Made(answer, &bindings_, object);
  }
  int Share(uint32_t kind) {
    shared_ = {};
    shared_.kind = kind;
    shared_.pid = getpid();
    if (kind == 0) {
      if (pointers_.empty()) return kNothing;
      CUipcMemHandle handle = {};
      const CUresult answer = DRIVER(cuIpcGetMemHandle)(&handle, pointers_.back());
      std::memcpy(shared_.handle, &handle, sizeof(handle));
      return answer;
    }
    if (handles_.empty()) return kNothing;
    shared_.bytes = handles_.back().bytes;
    return DRIVER(cuMemExportToShareableHandle)(&shared_.descriptor, handles_.back().handle,
                                                CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0);
  }
  int OpenShared(const Shared& shared) {
    opened_ = shared;
    if (shared.kind == 0) {
      CUipcMemHandle handle = {};
      std::memcpy(&handle, shared.handle, sizeof(handle));
      return DRIVER(cuIpcOpenMemHandle_v2)(&opened_at_, handle, CU_IPC_MEM_LAZY_ENABLE_PEER_ACCESS);
    }
    const std::string path =
        "/proc/" + std::to_string(shared.pid) + "/fd/" + std::to_string(shared.descriptor);
    const int descriptor = open(path.c_str(), O_RDWR | O_CLOEXEC);
    const CUresult answer = DRIVER(cuMemImportFromShareableHandle)(
        &opened_handle_, reinterpret_cast<void*>(static_cast<intptr_t>(descriptor)),
        CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
    close(descriptor);
    return answer;
  }
  int MapShared() {
    CUdeviceptr address = 0;
    CUresult answer = DRIVER(cuMemAddressReserve)(&address, opened_.bytes, 0, 0, 0);
    if (answer == CUDA_SUCCESS)
      answer = DRIVER(cuMemMap)(address, opened_.bytes, 0, opened_handle_, 0);
    return Made(answer, &mappings_, Mapping{address, opened_.bytes});
  }
  int CloseShared() {
    return opened_.kind == 0 ? DRIVER(cuIpcCloseMemHandle)(opened_at_)
                             : DRIVER(cuMemRelease)(opened_handle_);
  }

  int LoadBesideThreads(uint64_t bytes) {
    constexpr int kThreads = 3, kLoads = 16;
    std::atomic<bool> done = false;
    std::atomic<int> answer = CUDA_SUCCESS;
    const auto note = [&](CUresult one) {
      if (one != CUDA_SUCCESS) answer = one;
    };
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([&, i] {
        note(DRIVER(cuCtxSetCurrent)(primary_));
        const uint64_t piece = i == 0 ? 4096 : 10 << 20;
        while (!done) {
          CUdeviceptr pointer = 0;
          note(i == 2 ? DRIVER(cuMemAllocAsync)(&pointer, piece, nullptr)
                      : DRIVER(cuMemAlloc_v2)(&pointer, piece));
          note(i == 2 ? DRIVER(cuMemFreeAsync)(pointer, nullptr) : DRIVER(cuMemFree_v2)(pointer));
        }
      });
    }
    const std::string image = Image(bytes);
    const auto load = [&] {
      note(DRIVER(cuCtxSetCurrent)(primary_));
      for (int i = 0; i < kLoads; ++i) {
        CUmodule module = nullptr;
        note(DRIVER(cuModuleLoadData)(&module, image.c_str()));
        if (i % 2 == 1) note(DRIVER(cuModuleUnload)(module));
      }
    };
    std::thread other(load);
    load();
    other.join();
    done = true;
    for (std::thread& thread : threads) thread.join();
    DRIVER(cuCtxSynchronize)();
    return answer;
  }

  int Import(uint64_t bytes) {
    CUDA_EXTERNAL_MEMORY_HANDLE_DESC description = {};
    description.type = CU_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD;
    description.handle.fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    description.size = bytes;
    CUexternalMemory memory = nullptr;
    const CUresult answer = DRIVER(cuImportExternalMemory)(&memory, &description);
    // Else it is the driver's.
    if (answer != CUDA_SUCCESS) close(description.handle.fd);
    return Made(answer, &imported_, memory);
  }
  int MapImported(uint64_t bytes) {
    if (imported_.empty()) return kNothing;
    CUDA_EXTERNAL_MEMORY_BUFFER_DESC buffer = {};
    buffer.size = bytes;
    const CUresult answer =
        DRIVER(cuExternalMemoryGetMappedBuffer)(&mapped_, imported_.back(), &buffer);
    CUDA_EXTERNAL_MEMORY_MIPMAPPED_ARRAY_DESC mipmap = {};
    mipmap.arrayDesc = {256, 256, 0, CU_AD_FORMAT_FLOAT, 4, 0};
    mipmap.numLevels = 2;
    return answer != CUDA_SUCCESS ? answer
                                  : DRIVER(cuExternalMemoryGetMappedMipmappedArray)(
                                        &mapped_mipmap_, imported_.back(), &mipmap);
  }
  int FreeMapped() {
    const CUresult answer = DRIVER(cuMemFree_v2)(mapped_);
    return answer != CUDA_SUCCESS ? answer : DRIVER(cuMipmappedArrayDestroy)(mapped_mipmap_);
  }
  // All of a handle, to a place of its own.
  int MapArray(uint32_t which, CUmemOperationType operation) {
    if (sparse_ == nullptr) {
      const CUDA_ARRAY3D_DESCRIPTOR shape = {4096, 4096, 0, CU_AD_FORMAT_FLOAT, 4, 0x40};
      const CUresult answer = DRIVER(cuArray3DCreate_v2)(&sparse_, &shape);
      if (answer != CUDA_SUCCESS) return answer;
    }
    CUarrayMapInfo map = {};
    map.resourceType = CU_RESOURCE_TYPE_ARRAY;
    map.resource.array = sparse_;
    map.subresource.sparseLevel.offsetX = 512 * which;
    map.memOperationType = operation;
    map.deviceBitMask = 1;
    if (operation == CU_MEM_OPERATION_TYPE_MAP) {
      if (handles_.empty()) return kNothing;
      map.memHandle.memHandle = handles_.back().handle;
    }
    return DRIVER(cuMemMapArrayAsync)(&map, 1, nullptr);
  }

  static int Mistake(uint32_t which) {
    constexpr uint64_t kNowhere = 0x12345000;
    const auto nothing = reinterpret_cast<void*>(kNowhere);
    const CUDA_ARRAY_DESCRIPTOR flat = {16, 16, CU_AD_FORMAT_FLOAT, 1};
    const CUDA_ARRAY3D_DESCRIPTOR solid = {16, 16, 0, CU_AD_FORMAT_FLOAT, 1, 0};
    CUmemAllocationProp properties = {};
    properties.type = CU_MEM_ALLOCATION_TYPE_PINNED;
    properties.location = {CU_MEM_LOCATION_TYPE_DEVICE, 99};
    CUmemPoolProps pool = {};
    pool.allocType = CU_MEM_ALLOCATION_TYPE_PINNED;
    pool.location = {CU_MEM_LOCATION_TYPE_DEVICE, 99};
    CUmemGenericAllocationHandle handle = 0;
    CUmemoryPool made_pool = nullptr;
    CUdeviceptr pointer = 0;
    CUarray array = nullptr;
    CUmipmappedArray mipmap = nullptr;
    CUcontext context = nullptr;
    CUgreenCtx green = nullptr;
    CUmodule module = nullptr;
    CUlibrary library = nullptr;
    size_t bytes = 0;
    switch (which % kMistakes) {
      case 0:
        return DRIVER(cuMemGetInfo_v2)(nullptr, &bytes);
      case 1:
        return DRIVER(cuMemGetInfo_v2)(&bytes, nullptr);
      case 2:
        return DRIVER(cuMemGetInfo_v2)(nullptr, nullptr);
      case 3:
        return DRIVER(cuMemGetInfo)(nullptr, nullptr);
      case 4:
        return DRIVER(cuDeviceTotalMem_v2)(nullptr, 0);
      case 5:
        return DRIVER(cuDeviceTotalMem_v2)(&bytes, 99);
      case 6:
        return DRIVER(cuMemAlloc_v2)(nullptr, 4096);
      case 7:
        return DRIVER(cuMemAlloc_v2)(&pointer, 0);
      case 8:
        return DRIVER(cuMemAllocPitch_v2)(nullptr, &bytes, 100, 100, 4);
      case 9:
        return DRIVER(cuMemAllocPitch_v2)(&pointer, nullptr, 100, 100, 4);
      case 10:
        return DRIVER(cuMemAllocManaged)(&pointer, 4096, 77);
      case 11:
        return DRIVER(cuMemFree_v2)(0);
      case 12:
        return DRIVER(cuMemFree_v2)(kNowhere);
      case 13:
        return DRIVER(cuMemFreeAsync)(kNowhere, nullptr);
      case 14:
        return DRIVER(cuMemAllocAsync)(nullptr, 4096, nullptr);
      case 15:
        return DRIVER(cuMemAllocAsync)(&pointer, 0, nullptr);
      case 16:
        return DRIVER(cuMemAllocFromPoolAsync)(&pointer, 4096, nullptr, nullptr);
      case 17:
        return DRIVER(cuMemPoolCreate)(nullptr, &pool);
      case 18:
        return DRIVER(cuMemPoolCreate)(&made_pool, nullptr);
      case 19:
        return DRIVER(cuMemPoolCreate)(&made_pool, &pool);
      case 20:
        return DRIVER(cuMemPoolDestroy)(nullptr);
      case 21:
        return DRIVER(cuMemCreate)(nullptr, kGranule, &properties, 0);
      case 22:
        return DRIVER(cuMemCreate)(&handle, kGranule, nullptr, 0);
      case 23:
        return DRIVER(cuMemCreate)(&handle, 0, &properties, 0);
      case 24:
        return DRIVER(cuMemRelease)(kNowhere);
      case 25:
        return DRIVER(cuMemMap)(kNowhere, kGranule, 0, kNowhere, 0);
      case 26:
        return DRIVER(cuMemUnmap)(kNowhere, kGranule);
      case 27:
        return DRIVER(cuMemRetainAllocationHandle)(nullptr, nothing);
      case 28:
        return DRIVER(cuMemImportFromShareableHandle)(nullptr, nullptr,
                                                      CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR);
      case 29:
        return DRIVER(cuArrayCreate_v2)(nullptr, &flat);
      case 30:
        return DRIVER(cuArrayCreate_v2)(&array, nullptr);
      case 31:
        return DRIVER(cuArray3DCreate_v2)(nullptr, &solid);
      case 32:
        return DRIVER(cuArray3DCreate_v2)(&array, nullptr);
      case 33:
        return DRIVER(cuMipmappedArrayCreate)(&mipmap, nullptr, 3);
      case 34:
        return DRIVER(cuArrayDestroy)(nullptr);
      case 35:
        return DRIVER(cuCtxCreate_v2)(nullptr, 0, 0);
      case 36:
        return DRIVER(cuCtxCreate_v2)(&context, 0, 99);
      case 37:
        return DRIVER(cuCtxDestroy_v2)(nullptr);
      case 38:
        return DRIVER(cuDevicePrimaryCtxRetain)(nullptr, 0);
      case 39:
        return DRIVER(cuGreenCtxCreate)(&green, nullptr, 0, CU_GREEN_CTX_DEFAULT_STREAM);
      case 40:
        return DRIVER(cuModuleLoadData)(&module, nullptr);
      default:
        return DRIVER(cuLibraryLoadData)(&library, nullptr, nullptr, nullptr, 0, nullptr, nullptr,
                                         0);
    }
  }

  int Perform(const Command& command) {
    const uint64_t bytes = command.bytes;
    const uint32_t which = command.which;
    CUdeviceptr pointer = 0;
    size_t pitch = 0;
    const bool ends =
        command.op == Op::kRelease || command.op == Op::kReset || command.op == Op::kDestroyContext;
    if (ends) ReturnPooled();
    switch (command.op) {
      case Op::kRetain:
        return Retain();
      case Op::kRelease:
        return primary_ == nullptr ? kNothing : DRIVER(cuDevicePrimaryCtxRelease_v2)(0);
      case Op::kReset:
        return DRIVER(cuDevicePrimaryCtxReset_v2)(0);
      case Op::kCreateContext: {
        CUcontext context = nullptr;
        const CUresult answer = DRIVER(cuCtxCreate_v2)(&context, 0, 0);
        return Made(answer, &contexts_, context);
      }
      case Op::kDestroyContext:
        return End(&contexts_, which, DRIVER(cuCtxDestroy_v2));
      case Op::kUseContext: {
        const size_t number = which % (contexts_.size() + 1);
        const CUcontext context = number == 0 ? primary_ : contexts_[number - 1];
        return context == nullptr ? kNothing : DRIVER(cuCtxSetCurrent)(context);
      }
      case Op::kCreateGreen:
        return CreateGreen();
      case Op::kDestroyGreen:
        return End(&greens_, which, DRIVER(cuGreenCtxDestroy));
      case Op::kSetHeap:
        return DRIVER(cuCtxSetLimit)(CU_LIMIT_MALLOC_HEAP_SIZE, bytes);
      case Op::kSetStack:
        return DRIVER(cuCtxSetLimit)(CU_LIMIT_STACK_SIZE, 512 * (1 + which % 8));
      case Op::kSetFifo:
        return DRIVER(cuCtxSetLimit)(CU_LIMIT_PRINTF_FIFO_SIZE, bytes);
      case Op::kLinear:
        return Made(DRIVER(cuMemAlloc_v2)(&pointer, bytes), &pointers_, pointer);
      case Op::kManaged:
        return Made(DRIVER(cuMemAllocManaged)(&pointer, bytes, CU_MEM_ATTACH_GLOBAL), &pointers_,
                    pointer);
      case Op::kPitch:
        return Made(DRIVER(cuMemAllocPitch_v2)(&pointer, &pitch, 1000,
                                               1 + std::min(bytes, kMostPitched) / 1024, 4),
                    &pointers_, pointer);
      case Op::kFree:
        return End(&pointers_, which, DRIVER(cuMemFree_v2));
      case Op::kAsync:
        return Pooled(DRIVER(cuMemAllocAsync)(&pointer, bytes, nullptr), pointer);
      case Op::kFromPool: {
        const CUmemoryPool* pool = Pick(&pools_, which);
        return pool == nullptr
                   ? kNothing
                   : Pooled(DRIVER(cuMemAllocFromPoolAsync)(&pointer, bytes, *pool, nullptr),
                            pointer);
      }
      case Op::kFreeAsync:
        return End(&pointers_, which,
                   [](CUdeviceptr at) { return DRIVER(cuMemFreeAsync)(at, nullptr); });
      case Op::kSynchronize:
        return DRIVER(cuCtxSynchronize)();
      case Op::kCreatePool:
        return CreatePool();
      case Op::kDestroyPool:
        pool_destroyed_ = true;
        return End(&pools_, which, DRIVER(cuMemPoolDestroy));
      case Op::kTrimPool: {
        const CUmemoryPool* pool = Pick(&pools_, which);
        return pool == nullptr ? kNothing : DRIVER(cuMemPoolTrimTo)(*pool, bytes);
      }
      case Op::kKeepAll:
        return Keep(UINT64_MAX);
      case Op::kKeepNone:
        return Keep(0);
      case Op::kCreateHandle:
        return CreateHandle(bytes);
      case Op::kReleaseHandle:
        return End(&handles_, which,
                   [](const Handle& one) { return DRIVER(cuMemRelease)(one.handle); });
      case Op::kMap:
        return Map(which);
      case Op::kUnmap:
        return End(&mappings_, which,
                   [](const Mapping& one) { return DRIVER(cuMemUnmap)(one.address, one.bytes); });
      case Op::kRetainHandle:
        return RetainHandle(which);
      case Op::kReimport:
        return Reimport(which);
      case Op::kArray: {
        CUarray array = nullptr;
        const CUDA_ARRAY3D_DESCRIPTOR shape = Shape(bytes);
        return Made(DRIVER(cuArray3DCreate_v2)(&array, &shape), &arrays_, array);
      }
      case Op::kDestroyArray:
        return End(&arrays_, which, DRIVER(cuArrayDestroy));
      case Op::kMipmap: {
        CUmipmappedArray array = nullptr;
        const CUDA_ARRAY3D_DESCRIPTOR shape = Shape(bytes);
        return Made(DRIVER(cuMipmappedArrayCreate)(&array, &shape, 3), &mipmaps_, array);
      }
      case Op::kDestroyMipmap:
        return End(&mipmaps_, which, DRIVER(cuMipmappedArrayDestroy));
      case Op::kGraph:
        return Graph(bytes);
      case Op::kTrimGraphs:
        return DRIVER(cuDeviceGraphMemTrim)(0);
      case Op::kLoadModule:
        return LoadModule(bytes);
      case Op::kUnloadModule:
        return End(&modules_, which, DRIVER(cuModuleUnload));
      case Op::kBind:
        return Bind(which);
      case Op::kUnbind:
        return End(&bindings_, which, [](const Handle& object) {
          const CUresult answer = DRIVER(cuMulticastUnbind)(object.handle, 0, 0, object.bytes);
          if (answer == CUDA_SUCCESS) DRIVER(cuMemRelease)(object.handle);
          return answer;
        });
      case Op::kShare:
        return Share(which);
      case Op::kOpenShared:
        return OpenShared(command.shared);
      case Op::kMapShared:
        return MapShared();
      case Op::kCloseShared:
        return CloseShared();
      case Op::kCountSms: {
        int sms = 0;
        const CUresult answer =
            DRIVER(cuDeviceGetAttribute)(&sms, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 0);
        return answer == CUDA_SUCCESS ? sms : -answer;
      }
      case Op::kImport:
        return Import(bytes);
      case Op::kMapImported:
        return MapImported(bytes);
      case Op::kFreeMapped:
        return FreeMapped();
      case Op::kEndImport:
        return End(&imported_, which, DRIVER(cuDestroyExternalMemory));
      case Op::kMapArray:
        return MapArray(which, CU_MEM_OPERATION_TYPE_MAP);
      case Op::kUnmapArray:
        return MapArray(which, CU_MEM_OPERATION_TYPE_UNMAP);
      case Op::kEndMapped: {
        const CUresult answer = DRIVER(cuArrayDestroy)(sparse_);
        sparse_ = nullptr;
        return answer;
      }
      case Op::kSmallArray: {
        CUarray array = nullptr;
        const CUDA_ARRAY_DESCRIPTOR shape = {std::max<size_t>(1, bytes / 4), 1, CU_AD_FORMAT_FLOAT,
                                             1};
        return Made(DRIVER(cuArrayCreate_v2)(&array, &shape), &arrays_, array);
      }
      case Op::kLoadLibrary:
        return DRIVER(cuLibraryLoadData)(&library_, Image(bytes).c_str(), nullptr, nullptr, 0,
                                         nullptr, nullptr, 0);
      case Op::kUseLibrary: {
        CUmodule module = nullptr;
        return DRIVER(cuLibraryGetModule)(&module, library_);
      }
      case Op::kLoadBesideThreads:
        return LoadBesideThreads(bytes);
      case Op::kMistake:
        return Mistake(which);
      case Op::kCount:
        break;
    }
    return kNothing;
  }

  Shared shared_, opened_;
  CUdeviceptr opened_at_ = 0;
  CUmemGenericAllocationHandle opened_handle_ = 0;
  CUcontext primary_ = nullptr;
  bool pool_destroyed_ = false;
  std::vector<CUcontext> contexts_;
  std::vector<CUgreenCtx> greens_;
  std::vector<CUdeviceptr> pointers_;
  std::vector<CUdeviceptr> pooled_;  // of these
  std::vector<CUmemoryPool> pools_;
  std::vector<Handle> handles_;
  std::vector<Handle> bindings_;  // multicast objects with the memory of one handle
  std::vector<Mapping> mappings_;
  std::vector<CUarray> arrays_;
  std::vector<CUmipmappedArray> mipmaps_;
  std::vector<CUmodule> modules_;
  CUlibrary library_ = nullptr;
  std::vector<CUexternalMemory> imported_;
  CUdeviceptr mapped_ = 0;
  CUmipmappedArray mapped_mipmap_ = nullptr;
  CUarray sparse_ = nullptr;
};

[[noreturn]] void Serve(int socket, const std::string& library) {
  g_library = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (g_library == nullptr) {
    std::fprintf(stderr, "%s\n", dlerror());
    _exit(1);
  }
  if (DRIVER(cuInit)(0) != CUDA_SUCCESS) _exit(2);
  Worker worker;
  Command command;
  while (recv(socket, &command, sizeof(command), 0) == sizeof(command)) {
    Reply reply;
    reply.answer = worker.Do(command);
    if (command.op == Op::kShare) reply.shared = worker.shared();
    size_t free = 0, total = 0;
    if (DRIVER(cuMemGetInfo_v2)(&free, &total) == CUDA_SUCCESS) {
      reply.free = free;
      reply.total = total;
    }
    if (send(socket, &reply, sizeof(reply), MSG_NOSIGNAL) != sizeof(reply)) break;
  }
  _exit(0);
}

}  // namespace

std::ostream& operator<<(std::ostream& out, const Command& command) {
  constexpr const char* kNames[] = {
      "Retain",         "Release",       "Reset",       "CreateContext",
      "DestroyContext", "UseContext",    "CreateGreen", "DestroyGreen",
      "SetHeap",        "SetStack",      "SetFifo",     "Linear",
      "Managed",        "Pitch",         "Free",        "Async",
      "FromPool",       "FreeAsync",     "Synchronize", "CreatePool",
      "DestroyPool",    "TrimPool",      "KeepAll",     "KeepNone",
      "CreateHandle",   "ReleaseHandle", "Map",         "Unmap",
      "RetainHandle",   "Reimport",      "Array",       "DestroyArray",
      "Mipmap",         "DestroyMipmap", "Graph",       "TrimGraphs",
      "LoadModule",     "UnloadModule",  "Bind",        "Unbind",
      "Share",          "OpenShared",    "MapShared",   "CloseShared",
      "CountSms",       "Import",        "MapImported", "FreeMapped",
      "EndImport",      "MapArray",      "UnmapArray",  "EndMapped",
      "SmallArray",     "LoadLibrary",   "UseLibrary",  "LoadBesideThreads",
      "Mistake"};
  static_assert(sizeof(kNames) / sizeof(*kNames) == static_cast<size_t>(Op::kCount));
  return out << kNames[static_cast<size_t>(command.op)] << " #" << command.which << " "
             << command.bytes;
}

Tenant::Tenant(const std::string& library,
               const std::vector<std::pair<std::string, std::string>>& names) {
  int ends[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return;
  pid_ = fork();
  if (pid_ == 0) {
    close(ends[0]);
    unsetenv("CUDA_VISIBLE_DEVICES");
    for (const auto& [name, value] : names) setenv(name.c_str(), value.c_str(), 1);
    Serve(ends[1], library);
  }
  close(ends[1]);
  socket_ = ends[0];
}

void Tenant::Tell(const Command& command) {
  send(socket_, &command, sizeof(command), MSG_NOSIGNAL);
}

bool Tenant::Hear(Reply* reply) {
  return recv(socket_, reply, sizeof(*reply), 0) == sizeof(*reply);
}

bool Tenant::Ask(const Command& command, Reply* reply) {
  Tell(command);
  return Hear(reply);
}

bool Tenant::AwaitStop() {
  int status = 0;
  return waitpid(pid_, &status, WUNTRACED) == pid_ && WIFSTOPPED(status);
}

void Tenant::GoOn() { kill(pid_, SIGCONT); }

void Tenant::Kill() {
  if (pid_ <= 0) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
  close(socket_);
  pid_ = -1;
}

}  // namespace tranche::limiter_memory
