#include "limiter/hooks/pools.h"

#include <string.h>

#include "limiter/hooks/pointers.h"

namespace tranche::limiter {
namespace {

// A pool grows by at least so much, where the device has it.
constexpr uint64_t kGrowth = uint64_t{32} << 20;

// What the driver says that a pool holds, or has in use.
bool ReadPool(const Pool& pool, bool used, uint64_t* bytes) {
  *bytes = 0;
  if (pool.graph) {
    return REAL(cuDeviceGetGraphMemAttribute)(
               pool.ordinal,
               used ? CU_GRAPH_MEM_ATTR_USED_MEM_CURRENT : CU_GRAPH_MEM_ATTR_RESERVED_MEM_CURRENT,
               bytes) == CUDA_SUCCESS;
  }
  return REAL(cuMemPoolGetAttribute)(
             reinterpret_cast<CUmemoryPool>(pool.handle),
             used ? CU_MEMPOOL_ATTR_USED_MEM_CURRENT : CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT,
             bytes) == CUDA_SUCCESS;
}

void TrimPool(const Pool& pool) {
  if (pool.graph)
    REAL(cuDeviceGraphMemTrim)(pool.ordinal);
  else
    REAL(cuMemPoolTrimTo)(reinterpret_cast<CUmemoryPool>(pool.handle), 0);
}

// Makes the charge follow what the driver says. `reserved` is held by the caller for it and is used
// up or given back. False: the pool holds more than is granted. What graphs take they take when
// they run, so their charge goes down only when nothing runs (`idle`).
bool Follow(State& state, Pool& pool, uint64_t reserved, bool idle) {
  uint64_t epoch = 0;
  {
    const Guard guard(state.pools_lock);
    epoch = pool.epoch;
  }
  uint64_t holds = 0;
  const bool read = ReadPool(pool, false, &holds);
  Account account = Account::OfSlice(pool.device);
  uint64_t grow = 0, shrink = 0;
  {
    const Guard guard(state.pools_lock);
    if (read && holds > pool.charged) {
      grow = holds - pool.charged;
      pool.charged = holds;
    } else if (read && pool.busy == 0 && pool.epoch == epoch && (!pool.graph || idle)) {
      // Down only when nobody was busy with it since the reading.
      shrink = pool.charged - holds;
      pool.charged = holds;
    }
  }
  account.Release(shrink);
  if (account.Settle(reserved, grow)) return true;
  // The caller undoes it; until then what is held is held.
  account.Overdraw(grow - reserved);
  return false;
}

CUdevice CurrentOrdinal() {
  CUdevice ordinal = -1;
  return REAL(cuCtxGetDevice)(&ordinal) == CUDA_SUCCESS ? ordinal : -1;
}

// The pool that cuMemAllocAsync takes from.
CUmemoryPool CurrentPool(CUdevice ordinal) {
  CUmemoryPool pool = nullptr;
  return ordinal >= 0 && REAL(cuDeviceGetMemPool)(&pool, ordinal) == CUDA_SUCCESS ? pool : nullptr;
}

template <typename Allocate>
CUresult FromPool(CUmemoryPool handle, CUdevice ordinal, CUdeviceptr* made, uint64_t bytes,
                  CUstream stream, const Allocate& allocate) {
  Account account = Account::Of(ordinal);
  if (!account.metered() || account.pointless() || made == nullptr || bytes == 0 ||
      handle == nullptr)
    return allocate();
  Charge elsewhere;
  // A pool of the host's memory.
  if (TheState().handles.Find(Kind::kHostPool, Number(handle), &elsewhere)) return allocate();
  Pool* pool = PoolCall::Find(Number(handle), ordinal, false);
  if (pool == nullptr) return CUDA_ERROR_OUT_OF_MEMORY;
  PoolCall call(pool);
  const uint64_t growth = bytes < kGrowth ? kGrowth : Granules(bytes);
  if (bytes > kTooMuch || !call.Begin(bytes, growth)) return CUDA_ERROR_OUT_OF_MEMORY;
  const CUresult answer = allocate();
  if (call.Finish() || answer != CUDA_SUCCESS) return answer;
  REAL(cuMemFreeAsync)(*made, stream);
  REAL(cuStreamSynchronize)(stream);
  TrimPool(*pool);
  SettlePools();
  if (account.used() > account.limit()) account.Count(&TrancheCounters::over_limit);
  return CUDA_ERROR_OUT_OF_MEMORY;
}

}  // namespace

Pool* PoolCall::Find(uint64_t handle, CUdevice ordinal, bool graph) {
  State& state = TheState();
  const Account account = Account::Of(ordinal);
  if (account.device() < 0) return nullptr;
  const Guard guard(state.pools_lock);
  Pool* room = nullptr;
  for (uint32_t i = 0; i < state.pool_count; ++i) {
    Pool& pool = state.pools[i];
    if (pool.handle == handle && pool.graph == graph) return &pool;
    if (pool.handle == 0 && room == nullptr) room = &pool;
  }
  if (room == nullptr) {
    if (state.pool_count == kMaxPools) return nullptr;
    room = &state.pools[state.pool_count++];
  }
  *room = {handle, account.device(), ordinal, graph, 0, 0, room->epoch + 1};
  return room;
}

bool PoolCall::Begin(uint64_t needed, uint64_t growth) {
  State& state = TheState();
  Account account = Account::OfSlice(pool_->device);
  if (!account.TryReserve(growth)) {
    // What the pools hold and nobody uses goes back before anything is refused; the same memory may
    // also serve this very call.
    uint64_t holds = 0, used = 0;
    const bool fits = ReadPool(*pool_, false, &holds) && ReadPool(*pool_, true, &used) &&
                      holds >= used && holds - used >= needed;
    if (!fits) {
      for (uint32_t i = 0; i < state.pool_count; ++i) {
        if (state.pools[i].handle != 0 && state.pools[i].device == pool_->device)
          TrimPool(state.pools[i]);
      }
      SettlePools();
      if (!account.Reserve(growth)) return false;
      reserved_ = growth;
    }
  } else {
    reserved_ = growth;
  }
  const Guard guard(state.pools_lock);
  ++pool_->busy;
  ++pool_->epoch;
  return true;
}

bool PoolCall::Finish() {
  State& state = TheState();
  {
    const Guard guard(state.pools_lock);
    --pool_->busy;
    ++pool_->epoch;
  }
  return Follow(state, *pool_, reserved_, false);
}

void PoolCall::Keep() {
  State& state = TheState();
  const Guard guard(state.pools_lock);
  pool_->charged += reserved_;
  --pool_->busy;
  ++pool_->epoch;
}

void PoolCall::Abandon() {
  State& state = TheState();
  {
    const Guard guard(state.pools_lock);
    --pool_->busy;
    ++pool_->epoch;
  }
  Account::OfSlice(pool_->device).Release(reserved_);
}

void SettlePools(bool idle) {
  State& state = TheState();
  const uint32_t count = __atomic_load_n(&state.pool_count, __ATOMIC_ACQUIRE);
  for (uint32_t i = 0; i < count; ++i) {
    if (state.pools[i].handle != 0) Follow(state, state.pools[i], 0, idle);
  }
  if (idle && count > 0) __atomic_fetch_add(&state.graph_epoch, 1, __ATOMIC_SEQ_CST);
}

namespace {

CUresult FreeAsync(CUdeviceptr pointer, CUstream stream, CUresult (*free)(CUdeviceptr, CUstream)) {
  bool known = false;
  // Ours when it is cuMemAlloc's, which the driver takes here as well.
  const CUresult answer = FreePointer(
      pointer, [&] { return free(pointer, stream); }, &known);
  if (!known && answer == CUDA_SUCCESS) SettlePools();
  return answer;
}

CUresult AllocAsync(CUdeviceptr* pointer, size_t bytes, CUstream stream,
                    CUresult (*allocate)(CUdeviceptr*, size_t, CUstream)) {
  const CUdevice ordinal = TheState().attached == State::kNoSlice ? -1 : CurrentOrdinal();
  const CUmemoryPool pool = ordinal < 0 ? nullptr : CurrentPool(ordinal);
  return FromPool(pool, ordinal, pointer, bytes, stream,
                  [&] { return allocate(pointer, bytes, stream); });
}

CUresult FromPoolAsync(CUdeviceptr* pointer, size_t bytes, CUmemoryPool pool, CUstream stream,
                       CUresult (*allocate)(CUdeviceptr*, size_t, CUmemoryPool, CUstream)) {
  State& state = TheState();
  Charge created;
  CUdevice ordinal = -1;
  if (state.attached != State::kNoSlice) {
    ordinal = state.handles.Find(Kind::kPool, Number(pool), &created)
                  ? static_cast<CUdevice>(created.other)
                  : CurrentOrdinal();
  }
  return FromPool(pool, ordinal, pointer, bytes, stream,
                  [&] { return allocate(pointer, bytes, pool, stream); });
}

}  // namespace

HOOK(cuMemAllocAsync, (CUdeviceptr * pointer, size_t bytes, CUstream stream)) {
  return AllocAsync(pointer, bytes, stream, REAL(cuMemAllocAsync));
}
HOOK(cuMemAllocAsync_ptsz, (CUdeviceptr * pointer, size_t bytes, CUstream stream)) {
  return AllocAsync(pointer, bytes, stream, REAL(cuMemAllocAsync_ptsz));
}
HOOK(cuMemAllocFromPoolAsync,
     (CUdeviceptr * pointer, size_t bytes, CUmemoryPool pool, CUstream stream)) {
  return FromPoolAsync(pointer, bytes, pool, stream, REAL(cuMemAllocFromPoolAsync));
}
HOOK(cuMemAllocFromPoolAsync_ptsz,
     (CUdeviceptr * pointer, size_t bytes, CUmemoryPool pool, CUstream stream)) {
  return FromPoolAsync(pointer, bytes, pool, stream, REAL(cuMemAllocFromPoolAsync_ptsz));
}
HOOK(cuMemFreeAsync, (CUdeviceptr pointer, CUstream stream)) {
  return FreeAsync(pointer, stream, REAL(cuMemFreeAsync));
}
HOOK(cuMemFreeAsync_ptsz, (CUdeviceptr pointer, CUstream stream)) {
  return FreeAsync(pointer, stream, REAL(cuMemFreeAsync_ptsz));
}

HOOK(cuMemPoolCreate, (CUmemoryPool * pool, const CUmemPoolProps* properties)) {
  const CUresult answer = REAL(cuMemPoolCreate)(pool, properties);
  State& state = TheState();
  if (answer != CUDA_SUCCESS || state.attached == State::kNoSlice) return answer;
  Charge charge;
  const bool device = properties->location.type == CU_MEM_LOCATION_TYPE_DEVICE;
  charge.other = static_cast<uint64_t>(properties->location.id);
  if (state.handles.Put(device ? Kind::kPool : Kind::kHostPool, Number(*pool), charge))
    return answer;
  REAL(cuMemPoolDestroy)(*pool);
  return CUDA_ERROR_OUT_OF_MEMORY;
}

HOOK(cuMemPoolDestroy, (CUmemoryPool pool)) {
  State& state = TheState();
  if (state.attached == State::kNoSlice) return REAL(cuMemPoolDestroy)(pool);
  Charge charge;
  state.handles.Take(Kind::kPool, Number(pool), &charge);
  state.handles.Take(Kind::kHostPool, Number(pool), &charge);
  uint64_t left = 0;
  int32_t device = -1;
  const CUresult answer = REAL(cuMemPoolDestroy)(pool);
  {
    const Guard guard(state.pools_lock);
    for (uint32_t i = 0; i < state.pool_count; ++i) {
      Pool& known = state.pools[i];
      if (known.graph || known.handle != Number(pool) || answer != CUDA_SUCCESS) continue;
      left = known.charged;
      device = known.device;
      known.handle = 0;
      ++known.epoch;
    }
  }
  if (device >= 0) Account::OfSlice(device).Release(left);
  return answer;
}

HOOK(cuMemPoolTrimTo, (CUmemoryPool pool, size_t keep)) {
  const CUresult answer = REAL(cuMemPoolTrimTo)(pool, keep);
  SettlePools();
  return answer;
}

HOOK(cuDeviceGraphMemTrim, (CUdevice device)) {
  const CUresult answer = REAL(cuDeviceGraphMemTrim)(device);
  SettlePools();
  return answer;
}

}  // namespace tranche::limiter
