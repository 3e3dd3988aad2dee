#include "limiter/hooks/pointers.h"
#include "limiter/hooks/pools.h"
#include "limiter/libc.h"

// Memory that is taken out of pools and given back to them, in the order of a stream.
namespace tranche::limiter {
namespace {

// A pool grows by at least so much, where the device has it.
constexpr uint64_t kGrowth = uint64_t{32} << 20;
// How long a call waits to be alone with the pools.
constexpr int64_t kAlonePatience = 100000000;

struct Request {
  CUmemoryPool handle;
  CUdeviceptr* made;
  uint64_t bytes;
  CUstream stream;
  uint64_t growth() const { return bytes < kGrowth ? kGrowth : Granules(bytes); }
  uint64_t places() const { return (bytes + Granule::kStep - 1) / Granule::kStep * Granule::kStep; }
};

// What a capture is given becomes part of a graph, and does nothing yet.
bool Captures(CUstream stream) {
  CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
  return REAL(cuStreamIsCapturing)(stream, &status) == CUDA_SUCCESS &&
         status != CU_STREAM_CAPTURE_STATUS_NONE;
}

CUstream PerThread(CUstream stream) { return stream == nullptr ? PerThreadStream() : stream; }

// `grew`: the pool did by so much for it. It then lies at the beginning of what is new.
void Remember(State& state, Pool& pool, const Request& request, uint64_t grew) {
  Charge charge;
  charge.bytes = request.places();
  charge.other = Number(request.handle);
  state.handles.Put(Kind::kPooled, *request.made, charge);
  const Guard guard(state.pools_lock);
  if (grew > charge.bytes) pool.free.Add(*request.made, grew);
  pool.free.Remove(*request.made, charge.bytes);
}

// What was taken out of a pool is there to be taken again.
void Return(State& state, CUdeviceptr pointer, const Charge& charge) {
  const Guard guard(state.pools_lock);
  for (uint32_t i = 0; i < state.pool_count; ++i) {
    Pool& pool = state.pools[i];
    if (!pool.graph && pool.handle == charge.other) pool.free.Add(pointer, charge.bytes);
  }
}

// Ends the call, in which the pool should not have grown by more than was granted.
CUresult End(State& state, PoolCall& call, Pool& pool, const Request& request, CUresult answer) {
  TRANCHE_LABEL(kPoolTaken);
  uint64_t grew = 0;
  const bool granted = call.Finish(&grew);
  if (answer != CUDA_SUCCESS) {
    // To no avail the driver may have had all pools give back what they could.
    SettlePools();
    return answer;
  }
  TRANCHE_LABEL(kPoolFollowed);
  if (granted) {
    Remember(state, pool, request, grew);
    return answer;
  }
  REAL(cuMemFreeAsync)(*request.made, request.stream);
  REAL(cuStreamSynchronize)(request.stream);
  TrimPools(pool.device, false);
  Account account = Account::OfSlice(pool.device);
  if (account.used() > account.limit()) account.Count(&TrancheCounters::over_limit);
  return CUDA_ERROR_OUT_OF_MEMORY;
}

// Whether the pool can serve it without growing. As long as `threshold` is not given back the pool
// keeps what it has.
bool HasRoom(State& state, Pool& pool, const Request& request, cuuint64_t* threshold) {
  cuuint64_t all = UINT64_MAX;
  *threshold = all;
  if (REAL(cuMemPoolGetAttribute)(request.handle, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, threshold) !=
          CUDA_SUCCESS ||
      REAL(cuMemPoolSetAttribute)(request.handle, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &all) !=
          CUDA_SUCCESS)
    return false;
  uint64_t holds = 0;
  const bool read = ReadPool(pool, false, &holds);
  const Guard guard(state.pools_lock);
  if (!read || holds != pool.charged) pool.free.Clear();
  return pool.free.Fits(request.places());
}

enum class Way { kDone, kAllocate };

// Where the pool may not grow as it likes. Called alone. kAllocate: memory of its own is to be
// allocated instead, which takes no more than it needs; the pool would have taken as little, had
// the device no more left than the limit has.
template <typename Allocate>
Way InNeed(State& state, Pool& pool, const Request& request, bool exported, CUresult* answer,
           const Allocate& allocate) {
  TRANCHE_LABEL(kPoolInNeed);
  PoolCall call(&pool);
  cuuint64_t threshold = 0;
  const bool room = HasRoom(state, pool, request, &threshold);
  if (room) {
    call.BeginWithin();
    *answer = End(state, call, pool, request, allocate());
  }
  REAL(cuMemPoolSetAttribute)(request.handle, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &threshold);
  if (room) return Way::kDone;
  // What the pools hold and nobody uses goes back before anything is refused.
  TrimPools(pool.device, false);
  if (call.Begin(request.growth())) {
    *answer = End(state, call, pool, request, allocate());
    return Way::kDone;
  }
  if (!exported) return Way::kAllocate;
  *answer = CUDA_ERROR_OUT_OF_MEMORY;
  Account::OfSlice(pool.device).Count(&TrancheCounters::refused);
  return Way::kDone;
}

template <typename Allocate>
CUresult FromPool(const Request& request, CUdevice ordinal, const Allocate& allocate) {
  State& state = TheState();
  Account account = Account::Of(ordinal);
  if (!account.metered() || account.pointless() || request.made == nullptr || request.bytes == 0 ||
      request.handle == nullptr || Captures(request.stream))
    return allocate();
  Charge elsewhere;
  // A pool of the host's memory.
  if (state.handles.Find(Kind::kHostPool, Number(request.handle), &elsewhere)) return allocate();
  Pool* pool = PoolCall::Find(Number(request.handle), ordinal, false);
  if (pool == nullptr) return CUDA_ERROR_OUT_OF_MEMORY;
  if (request.bytes > kTooMuch)
    return TooMuch(allocate, [&] { REAL(cuMemFreeAsync)(*request.made, request.stream); });
  state.pool_gate.Enter();
  PoolCall call(pool);
  if (call.Begin(request.growth())) {
    TRANCHE_LABEL(kPoolBegun);
    const CUresult answer = End(state, call, *pool, request, allocate());
    state.pool_gate.Leave();
    return answer;
  }
  state.pool_gate.Leave();
  Charge created;
  const bool exported =
      state.handles.Find(Kind::kPool, Number(request.handle), &created) && created.users != 0;
  if (!state.pool_gate.EnterAlone(libc::Now() + kAlonePatience)) {
    account.Count(&TrancheCounters::refused);
    account.Count(&TrancheCounters::contended);
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  CUresult answer = CUDA_ERROR_OUT_OF_MEMORY;
  const Way way = InNeed(state, *pool, request, exported, &answer, allocate);
  state.pool_gate.LeaveAlone();
  if (way == Way::kDone) return answer;
  return AllocatePointer(request.made, request.bytes,
                         [&] { return REAL(cuMemAlloc_v2)(request.made, request.bytes); });
}

// The pool that cuMemAllocAsync takes from.
CUmemoryPool CurrentPool(CUdevice ordinal) {
  CUmemoryPool pool = nullptr;
  return ordinal >= 0 && REAL(cuDeviceGetMemPool)(&pool, ordinal) == CUDA_SUCCESS ? pool : nullptr;
}

template <typename Allocate>
CUresult AllocAsync(CUdeviceptr* pointer, size_t bytes, CUstream stream, const Allocate& allocate) {
  const CUdevice ordinal = TheState().attached == State::kNoSlice ? -1 : CurrentOrdinal();
  const CUmemoryPool pool = ordinal < 0 ? nullptr : CurrentPool(ordinal);
  return FromPool({pool, pointer, bytes, stream}, ordinal, allocate);
}

template <typename Allocate>
CUresult FromPoolAsync(CUdeviceptr* pointer, size_t bytes, CUmemoryPool pool, CUstream stream,
                       const Allocate& allocate) {
  State& state = TheState();
  Charge created;
  CUdevice ordinal = -1;
  if (state.attached != State::kNoSlice) {
    ordinal = state.handles.Find(Kind::kPool, Number(pool), &created)
                  ? static_cast<CUdevice>(created.other)
                  : CurrentOrdinal();
  }
  return FromPool({pool, pointer, bytes, stream}, ordinal, allocate);
}

template <typename Call>
CUresult FreeAsync(CUdeviceptr pointer, CUstream stream, const Call& free) {
  return TheState().attached == State::kNoSlice || Captures(stream) ? free() : Free(pointer, free);
}

}  // namespace

CUresult FreeAny(CUdeviceptr pointer, CUresult (*free)(const void*), const void* arguments) {
  State& state = TheState();
  Charge charge;
  if (state.handles.Take(Kind::kPointer, pointer, &charge))
    return FreePointer(state, pointer, charge, [&] { return free(arguments); });
  if (!state.handles.Take(Kind::kPooled, pointer, &charge)) {
    const CUresult answer = free(arguments);
    if (answer == CUDA_SUCCESS && pointer != 0 && IsLimited()) SettlePools();
    return answer;
  }
  const CUresult answer = free(arguments);
  if (answer != CUDA_SUCCESS) {
    state.handles.Put(Kind::kPooled, pointer, charge);
    return answer;
  }
  TRANCHE_LABEL(kPoolReturned);
  Return(state, pointer, charge);
  if (__atomic_load_n(&state.doomed_pools, __ATOMIC_SEQ_CST) != 0) SettlePools();
  return answer;
}

HOOK(cuMemAllocAsync, (CUdeviceptr * pointer, size_t bytes, CUstream stream)) {
  return AllocAsync(pointer, bytes, stream,
                    [&] { return REAL(cuMemAllocAsync)(pointer, bytes, stream); });
}
HOOK(cuMemAllocAsync_ptsz, (CUdeviceptr * pointer, size_t bytes, CUstream stream)) {
  return AllocAsync(pointer, bytes, PerThread(stream),
                    [&] { return REAL(cuMemAllocAsync_ptsz)(pointer, bytes, stream); });
}
HOOK(cuMemAllocFromPoolAsync,
     (CUdeviceptr * pointer, size_t bytes, CUmemoryPool pool, CUstream stream)) {
  return FromPoolAsync(pointer, bytes, pool, stream,
                       [&] { return REAL(cuMemAllocFromPoolAsync)(pointer, bytes, pool, stream); });
}
HOOK(cuMemAllocFromPoolAsync_ptsz,
     (CUdeviceptr * pointer, size_t bytes, CUmemoryPool pool, CUstream stream)) {
  return FromPoolAsync(pointer, bytes, pool, PerThread(stream), [&] {
    return REAL(cuMemAllocFromPoolAsync_ptsz)(pointer, bytes, pool, stream);
  });
}
HOOK(cuMemFreeAsync, (CUdeviceptr pointer, CUstream stream)) {
  return FreeAsync(pointer, stream, [&] { return REAL(cuMemFreeAsync)(pointer, stream); });
}
HOOK(cuMemFreeAsync_ptsz, (CUdeviceptr pointer, CUstream stream)) {
  return FreeAsync(pointer, PerThread(stream),
                   [&] { return REAL(cuMemFreeAsync_ptsz)(pointer, stream); });
}

}  // namespace tranche::limiter
