#include <algorithm>

#include "sim/cuda/memory.h"
#include "sim/machine/mig.h"

// Limits of a context. Those that reserve memory on the device beyond what every context holds are
// charged for it, in whole granules.
namespace tranche::sim::cuda {
namespace {

constexpr uint64_t kStack = 1024, kFifo = uint64_t{1} << 20, kHeap = uint64_t{8} << 20;
constexpr uint64_t kThreadsPerSm = 2048;

uint64_t Default(CUlimit limit) {
  switch (limit) {
    case CU_LIMIT_STACK_SIZE:
      return kStack;
    case CU_LIMIT_PRINTF_FIFO_SIZE:
      return kFifo;
    case CU_LIMIT_MALLOC_HEAP_SIZE:
      return kHeap;
    case CU_LIMIT_DEV_RUNTIME_SYNC_DEPTH:
      return 2;
    case CU_LIMIT_DEV_RUNTIME_PENDING_LAUNCH_COUNT:
      return 2048;
    case CU_LIMIT_MAX_L2_FETCH_GRANULARITY:
      return 64;
    default:
      return 0;
  }
}

uint64_t ValueOf(const Library::Context& context, CUlimit limit) {
  return context.limits[limit] != 0 ? context.limits[limit] : Default(limit);
}

// Beyond what is part of the overhead of every context.
uint64_t Extra(CUlimit limit, uint64_t value, uint64_t sm_count) {
  const uint64_t usual = Default(limit);
  if (value <= usual) return 0;
  switch (limit) {
    case CU_LIMIT_STACK_SIZE:
      return RoundUp((value - usual) * kThreadsPerSm * sm_count, kGranule);
    case CU_LIMIT_PRINTF_FIFO_SIZE:
    case CU_LIMIT_MALLOC_HEAP_SIZE:
      return RoundUp(value - usual, kGranule);
    default:
      return 0;
  }
}

uint64_t SmCount(Library& library, const Library::Context& context) {
  const Target target = library.devices()[static_cast<size_t>(context.device)].target;
  const GpuSpec& gpu = library.machine().spec().gpus[target.gpu];
  uint64_t count = gpu.sm;
  if (target.ci != 0) {
    library.machine().Read([&](const MachineState& state) {
      count = SmCountOf(gpu, state.gpus[target.gpu], target.ci);
      return Rc::kOk;
    });
  }
  return count;
}

}  // namespace

CUDA_EXPORT CUresult cuCtxSetLimit(CUlimit limit, size_t value) {
  return CallInContext([&](Library& library, Library::Context& context) {
    if (static_cast<unsigned int>(limit) >= CU_LIMIT_SHMEM_SIZE)
      return CUDA_ERROR_UNSUPPORTED_LIMIT;
    if (value > kMaxBytes >> 20) {
      return limit == CU_LIMIT_STACK_SIZE ? CUDA_ERROR_INVALID_VALUE : CUDA_ERROR_OUT_OF_MEMORY;
    }
    const uint64_t sm_count = SmCount(library, context);
    const uint64_t before = Extra(limit, ValueOf(context, limit), sm_count);
    const uint64_t after = Extra(limit, value, sm_count);
    if (after > before) {
      const CUresult charged = library.Charge(context.serial, after - before);
      if (charged != CUDA_SUCCESS) return charged;
    } else {
      library.Discharge(context.serial, before - after);
    }
    context.limits[limit] = std::max<size_t>(value, 1);
    return CUDA_SUCCESS;
  });
}

CUDA_EXPORT CUresult cuCtxGetLimit(size_t* value, CUlimit limit) {
  return CallInContext([&](Library&, const Library::Context& context) {
    if (value == nullptr) return CUDA_ERROR_INVALID_VALUE;
    if (static_cast<unsigned int>(limit) >= CU_LIMIT_SHMEM_SIZE)
      return CUDA_ERROR_UNSUPPORTED_LIMIT;
    *value = ValueOf(context, limit);
    return CUDA_SUCCESS;
  });
}

}  // namespace tranche::sim::cuda
