#include "limiter/hooks/pools.h"

#include <string.h>

namespace tranche::limiter {
namespace {

CUmemoryPool Handle(const Pool& pool) { return reinterpret_cast<CUmemoryPool>(pool.handle); }

// A pool that the program has destroyed goes when the last of its memory is given back.
void Bury(State& state, Pool& pool) {
  uint64_t used = 0;
  if (!ReadPool(pool, true, &used) || used != 0) return;
  CUmemoryPool handle = nullptr;
  uint64_t left = 0;
  {
    const Guard guard(state.pools_lock);
    if (!pool.doomed || pool.handle == 0) return;
    handle = Handle(pool);
    left = pool.charged;
    pool.handle = 0;
    pool.doomed = false;
    pool.free.Clear();
    ++pool.epoch;
  }
  __atomic_fetch_sub(&state.doomed_pools, 1, __ATOMIC_SEQ_CST);
  REAL(cuMemPoolDestroy)(handle);
  Account::OfSlice(pool.device).Release(left);
}

// Makes the charge follow what the driver says. `reserved` is held by the caller for it and is used
// up or given back. False: the pool holds more than is granted. What graphs take they take when
// they run, so their charge goes down only when nothing runs (`idle`).
bool Follow(State& state, Pool& pool, uint64_t reserved, bool idle, uint64_t* grew = nullptr) {
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
    // Which of its blocks went does not show.
    if (shrink != 0) pool.free.Clear();
  }
  if (grew != nullptr) *grew = grow;
  account.Release(shrink);
  if (account.Settle(reserved, grow)) return true;
  // The caller undoes it; until then what is held is held.
  account.Overdraw(grow - reserved);
  return false;
}

}  // namespace

bool ReadPool(const Pool& pool, bool used, uint64_t* bytes) {
  *bytes = 0;
  if (pool.graph) {
    return REAL(cuDeviceGetGraphMemAttribute)(
               pool.ordinal,
               used ? CU_GRAPH_MEM_ATTR_USED_MEM_CURRENT : CU_GRAPH_MEM_ATTR_RESERVED_MEM_CURRENT,
               bytes) == CUDA_SUCCESS;
  }
  return REAL(cuMemPoolGetAttribute)(
             Handle(pool),
             used ? CU_MEMPOOL_ATTR_USED_MEM_CURRENT : CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT,
             bytes) == CUDA_SUCCESS;
}

void TrimPools(int32_t device, bool idle) {
  State& state = TheState();
  const uint32_t count = __atomic_load_n(&state.pool_count, __ATOMIC_ACQUIRE);
  for (uint32_t i = 0; i < count; ++i) {
    const Pool& pool = state.pools[i];
    if (pool.handle == 0 || pool.device != device) continue;
    if (!pool.graph)
      REAL(cuMemPoolTrimTo)(Handle(pool), 0);
    else if (idle)
      REAL(cuDeviceGraphMemTrim)(pool.ordinal);
  }
  SettlePools(idle);
}

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
    room = &state.pools[state.pool_count];
    __atomic_store_n(&state.pool_count, state.pool_count + 1, __ATOMIC_RELEASE);
  }
  room->device = account.device();
  room->ordinal = ordinal;
  room->graph = graph;
  room->charged = 0;
  room->busy = 0;
  ++room->epoch;
  room->doomed = false;
  room->free.Clear();
  room->handle = handle;
  return room;
}

bool PoolCall::Begin(uint64_t growth) {
  if (!Account::OfSlice(pool_->device).TryReserve(growth)) return false;
  reserved_ = growth;
  BeginWithin();
  return true;
}

void PoolCall::BeginWithin() {
  const Guard guard(TheState().pools_lock);
  ++pool_->busy;
  epoch_ = ++pool_->epoch;
}

bool PoolCall::Finish(uint64_t* grew) {
  State& state = TheState();
  bool alone = false;
  {
    const Guard guard(state.pools_lock);
    --pool_->busy;
    alone = pool_->epoch == epoch_ && pool_->busy == 0;
    ++pool_->epoch;
  }
  const bool granted = Follow(state, *pool_, reserved_, false, grew);
  const Guard guard(state.pools_lock);
  if (!alone || pool_->epoch != epoch_ + 1) *grew = 0;
  return granted;
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
    Pool& pool = state.pools[i];
    if (pool.handle == 0) continue;
    Follow(state, pool, 0, idle);
    if (pool.doomed) Bury(state, pool);
  }
  if (idle && count > 0) __atomic_fetch_add(&state.graph_epoch, 1, __ATOMIC_SEQ_CST);
}

HOOK(cuMemPoolCreate, (CUmemoryPool * pool, const CUmemPoolProps* properties)) {
  const CUresult answer = REAL(cuMemPoolCreate)(pool, properties);
  State& state = TheState();
  if (answer != CUDA_SUCCESS || state.attached == State::kNoSlice) return answer;
  Charge charge;
  const bool device = properties->location.type == CU_MEM_LOCATION_TYPE_DEVICE;
  if (properties->allocType == CU_MEM_ALLOCATION_TYPE_MANAGED) {
    __atomic_fetch_add(&state.managed, 1, __ATOMIC_SEQ_CST);
    // Wherever it prefers to be, it comes to the device that uses it: charged there, as a pool that
    // was not seen being made.
    if (!device) return answer;
  }
  charge.other = static_cast<uint64_t>(properties->location.id);
  charge.users = properties->handleTypes != CU_MEM_HANDLE_TYPE_NONE ? 1 : 0;
  if (state.handles.Put(device ? Kind::kPool : Kind::kHostPool, Number(*pool), charge))
    return answer;
  REAL(cuMemPoolDestroy)(*pool);
  return CUDA_ERROR_OUT_OF_MEMORY;
}

// What is still allocated in a pool outlives it, in a driver's pool that nobody can ask any more
// how much it holds. So that one stays, out of the program's reach, until it is empty.
HOOK(cuMemPoolDestroy, (CUmemoryPool handle)) {
  State& state = TheState();
  if (state.attached == State::kNoSlice) return REAL(cuMemPoolDestroy)(handle);
  Pool* pool = nullptr;
  {
    const Guard guard(state.pools_lock);
    for (uint32_t i = 0; i < state.pool_count; ++i) {
      Pool& known = state.pools[i];
      if (!known.graph && known.handle == Number(handle)) pool = &known;
    }
    // A second time: there is no such pool any more.
    if (pool != nullptr && pool->doomed) return CUDA_ERROR_INVALID_VALUE;
  }
  Charge charge;
  const bool ours = state.handles.Take(Kind::kPool, Number(handle), &charge);
  uint64_t used = 0;
  if (pool == nullptr || !ours || !ReadPool(*pool, true, &used) || used == 0) {
    const CUresult answer = REAL(cuMemPoolDestroy)(handle);
    if (answer != CUDA_SUCCESS) {
      if (ours) state.handles.Put(Kind::kPool, Number(handle), charge);
      return answer;
    }
    state.handles.Take(Kind::kHostPool, Number(handle), &charge);
    uint64_t left = 0;
    if (pool != nullptr) {
      const Guard guard(state.pools_lock);
      left = pool->charged;
      pool->handle = 0;
      pool->free.Clear();
      ++pool->epoch;
    }
    if (left != 0) Account::OfSlice(pool->device).Release(left);
    return answer;
  }
  // As the driver does for a pool that is destroyed.
  CUmemoryPool current = nullptr, standard = nullptr;
  if (REAL(cuDeviceGetMemPool)(&current, pool->ordinal) == CUDA_SUCCESS && current == handle &&
      REAL(cuDeviceGetDefaultMemPool)(&standard, pool->ordinal) == CUDA_SUCCESS)
    REAL(cuDeviceSetMemPool)(pool->ordinal, standard);
  cuuint64_t none = 0;
  REAL(cuMemPoolSetAttribute)(handle, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &none);
  REAL(cuMemPoolTrimTo)(handle, 0);
  {
    const Guard guard(state.pools_lock);
    pool->doomed = true;
  }
  __atomic_fetch_add(&state.doomed_pools, 1, __ATOMIC_SEQ_CST);
  SettlePools();
  return CUDA_SUCCESS;
}

HOOK(cuMemPoolTrimTo, (CUmemoryPool pool, size_t keep)) {
  const CUresult answer = REAL(cuMemPoolTrimTo)(pool, keep);
  SettlePools();
  return answer;
}

HOOK(cuDeviceGraphMemTrim, (CUdevice device)) {
  const CUresult answer = REAL(cuDeviceGraphMemTrim)(device);
  SettlePools(true);
  return answer;
}

}  // namespace tranche::limiter
