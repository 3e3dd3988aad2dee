#include <type_traits>

#include "sim/cuda/capture.h"
#include "sim/cuda/memory.h"
#include "sim/cuda/streams.h"
#include "sim/cuda/worker.h"

// Values that a stream writes to memory when it comes so far, and values that it waits for.
namespace tranche::sim::cuda {
namespace {

template <typename T>
void Write(CUdeviceptr address, T value) {
  Call([&](Library& library) {
    if (Locate(library, address, sizeof(value)).allocation != nullptr)
      return WriteMemory(library, address, &value, sizeof(value));
    // The host looks at it while it changes.
    __atomic_store_n(reinterpret_cast<T*>(address), value, __ATOMIC_RELEASE);
    return CUDA_SUCCESS;
  });
}

template <typename T>
bool Holds(CUdeviceptr address, T value, unsigned int flags) {
  T now = 0;
  const CUresult read = Call([&](Library& library) {
    if (Locate(library, address, sizeof(now)).allocation != nullptr)
      return ReadMemory(library, address, &now, sizeof(now));
    now = __atomic_load_n(reinterpret_cast<const T*>(address), __ATOMIC_ACQUIRE);
    return CUDA_SUCCESS;
  });
  if (read != CUDA_SUCCESS) return true;  // freed meanwhile: nobody will ever write it
  using Signed = std::make_signed_t<T>;
  switch (flags & 3) {
    case CU_STREAM_WAIT_VALUE_EQ:
      return now == value;
    case CU_STREAM_WAIT_VALUE_AND:
      return (now & value) != 0;
    case CU_STREAM_WAIT_VALUE_NOR:
      return static_cast<T>(~(now | value)) != 0;
    default:
      return static_cast<Signed>(static_cast<T>(now - value)) >= 0;
  }
}

template <typename T>
void WriteOn(Stream* stream, CUdeviceptr address, T value) {
  if (IsIdle(*stream)) {
    Write(address, value);
  } else {
    Worker::Get().When(0, PointsOf(*stream), [=] { Write(address, value); });
  }
}

bool Usable(CUdeviceptr address, size_t bytes) {
  if (address == 0 || address % bytes != 0) return false;
  return Call([&](Library& library) {
           // The addresses of the device lie below those of any program.
           const bool device = Locate(library, address, bytes).allocation != nullptr;
           return device || address >= (uint64_t{1} << 40) ? CUDA_SUCCESS
                                                           : CUDA_ERROR_INVALID_VALUE;
         }) == CUDA_SUCCESS;
}

CUresult Give(CUstream handle, CUdeviceptr address, size_t bytes,
              std::function<void(Stream*)> body) {
  Stream* stream = FindStream(handle);
  if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (!Usable(address, bytes)) return CUDA_ERROR_INVALID_VALUE;
  if (stream->capture.load() != nullptr) {
    NodeWork work;
    work.type = CU_GRAPH_NODE_TYPE_BATCH_MEM_OP;
    work.run = std::move(body);
    return AddCaptured(stream, std::move(work));
  }
  Perform(stream, [body = std::move(body), stream] { body(stream); });
  return CUDA_SUCCESS;
}

template <typename T>
CUresult WriteValue(CUstream stream, CUdeviceptr address, T value) {
  return Give(stream, address, sizeof(T), [=](Stream* on) { WriteOn(on, address, value); });
}

template <typename T>
CUresult WaitValue(CUstream handle, CUdeviceptr address, T value, unsigned int flags) {
  Stream* stream = FindStream(handle);
  if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (!Usable(address, sizeof(T))) return CUDA_ERROR_INVALID_VALUE;
  if (stream->capture.load() != nullptr) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  const bool idle = !stream->gated.load() && IsIdle(*stream);
  if (!idle || !Holds(address, value, flags))
    Gate(stream, [=] { return Holds(address, value, flags); });
  return CUDA_SUCCESS;
}

CUresult Batch(CUstream stream, unsigned int count, const CUstreamBatchMemOpParams* operations) {
  if (count > 0 && operations == nullptr) return CUDA_ERROR_INVALID_VALUE;
  for (unsigned int i = 0; i < count; ++i) {
    const CUstreamBatchMemOpParams& op = operations[i];
    CUresult given = CUDA_SUCCESS;
    switch (op.operation) {
      case CU_STREAM_MEM_OP_WAIT_VALUE_32:
        given = WaitValue<uint32_t>(stream, op.waitValue.address, op.waitValue.value,
                                    op.waitValue.flags);
        break;
      case CU_STREAM_MEM_OP_WAIT_VALUE_64:
        given = WaitValue<uint64_t>(stream, op.waitValue.address, op.waitValue.value64,
                                    op.waitValue.flags);
        break;
      case CU_STREAM_MEM_OP_WRITE_VALUE_32:
        given = WriteValue<uint32_t>(stream, op.writeValue.address, op.writeValue.value);
        break;
      case CU_STREAM_MEM_OP_WRITE_VALUE_64:
        given = WriteValue<uint64_t>(stream, op.writeValue.address, op.writeValue.value64);
        break;
      case CU_STREAM_MEM_OP_BARRIER:
      case CU_STREAM_MEM_OP_FLUSH_REMOTE_WRITES:
        break;
      default:
        given = CUDA_ERROR_INVALID_VALUE;
    }
    if (given != CUDA_SUCCESS) return given;
  }
  return CUDA_SUCCESS;
}

}  // namespace

#define VALUE_OPS(suffix)                                                                    \
  CUDA_EXPORT CUresult cuStreamWriteValue32##suffix(CUstream s, CUdeviceptr a, cuuint32_t v, \
                                                    unsigned int) {                          \
    return WriteValue<uint32_t>(s, a, v);                                                    \
  }                                                                                          \
  CUDA_EXPORT CUresult cuStreamWriteValue64##suffix(CUstream s, CUdeviceptr a, cuuint64_t v, \
                                                    unsigned int) {                          \
    return WriteValue<uint64_t>(s, a, v);                                                    \
  }                                                                                          \
  CUDA_EXPORT CUresult cuStreamWaitValue32##suffix(CUstream s, CUdeviceptr a, cuuint32_t v,  \
                                                   unsigned int flags) {                     \
    return WaitValue<uint32_t>(s, a, v, flags);                                              \
  }                                                                                          \
  CUDA_EXPORT CUresult cuStreamWaitValue64##suffix(CUstream s, CUdeviceptr a, cuuint64_t v,  \
                                                   unsigned int flags) {                     \
    return WaitValue<uint64_t>(s, a, v, flags);                                              \
  }                                                                                          \
  CUDA_EXPORT CUresult cuStreamBatchMemOp##suffix(                                           \
      CUstream s, unsigned int count, CUstreamBatchMemOpParams* operations, unsigned int) {  \
    return Batch(s, count, operations);                                                      \
  }
VALUE_OPS()
VALUE_OPS(_v2)
#undef VALUE_OPS

}  // namespace tranche::sim::cuda
