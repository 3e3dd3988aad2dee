#include "limiter/hooks/measured.h"

#include "limiter/hooks/pools.h"
#include "limiter/libc.h"
#include "limiter/own_use.h"
#include "limiter/policy/memory_ledger.h"
#include "limiter/slice_file.h"

namespace tranche::limiter {
namespace {

// After that it is measured all the same, with whatever shows of the others: loading code may take
// seconds, and no process is to wait for another's.
constexpr int64_t kPatience = 5000000;
// Threads of one process wait for each other's loads as they do within the driver.
constexpr int64_t kInProcess = 10000000000;
// As long as other threads are waited for that are in the middle of a call, and how often; in
// between they all go on. A call that waits for the GPU may take longer; what it frees shows then.
constexpr int64_t kRest = 100000000;
constexpr int kRests = 10;
// A process that holds more than it is charged by this, or less, is not the one that we are: in
// another pid namespace its number may be a stranger's. Or it has managed memory that lies on the
// host, of which the driver does not say how much.
constexpr int64_t kCredible = int64_t{512} << 20;

// A reading may take so much of a core and no more: a program loads code hundreds of times, and
// how long a driver takes to say this is not known of all.
constexpr int64_t kDearReading = 10000000;

// No call of this process is between its charge and its effect on the device.
class Rest {
 public:
  explicit Rest(State& state) : state_(state) {
    const int64_t until = libc::Now() + kRest;
    calls_ = state.call_gate.EnterAlone(until);
    small_ = state.small_gate.EnterAlone(until);
    pools_ = state.pool_gate.EnterAlone(until);
  }
  ~Rest() {
    if (pools_) state_.pool_gate.LeaveAlone();
    if (small_) state_.small_gate.LeaveAlone();
    if (calls_) state_.call_gate.LeaveAlone();
  }
  Rest(const Rest&) = delete;
  Rest& operator=(const Rest&) = delete;

  bool complete() const { return calls_ && small_ && pools_; }

 private:
  State& state_;
  bool calls_, small_, pools_;
};

}  // namespace

bool Unseen::Read(int32_t device, int64_t* bytes) {
  const State::OwnUse& told = TheState().own_use[device];
  if (__atomic_load_n(&told.unsaid, __ATOMIC_RELAXED) != 0) return false;
  for (int left = kRests;; --left) {
    const Rest rest(TheState());
    if (rest.complete() || left == 1) return ReadAtRest(device, bytes);
  }
}

bool Unseen::ReadAtRest(int32_t device, int64_t* bytes) {
  State& state = TheState();
  const auto i = static_cast<uint32_t>(device);
  SettlePools();
  State::OwnUse& told = state.own_use[i];
  uint64_t own = 0;
  const int64_t begun = libc::ThreadTime();
  const bool said = ReadOwnUse(state.slice->devices[i].uuid, &own);
  if (!said || libc::ThreadTime() - begun > kDearReading) {
    // And will not say later, or not for less.
    __atomic_store_n(&told.unsaid, 1, __ATOMIC_RELAXED);
    return false;
  }
  *bytes = static_cast<int64_t>(own - MemoryLedger(state.slice, i).HeldBy(state.slot));
  return *bytes > -kCredible && *bytes < kCredible;
}

Measurement::Measurement(const Account& account, How how)
    : account_(account), alone_(TheState().measure_gate.EnterAlone(libc::Now() + kInProcess)) {
  State& state = TheState();
  __atomic_fetch_add(&state.measuring, 1, __ATOMIC_SEQ_CST);
  const State::OwnUse& last = state.own_use[account_.device()];
  brief_ = how == kLookup && alone_ && last.known != 0 &&
           __atomic_load_n(&state.managed, __ATOMIC_SEQ_CST) == 0;
  unseen_ = last.unseen;
  exact_ = brief_ || Unseen::Read(account_.device(), &unseen_);
  if (!exact_) lock_ = SliceFile::LockToMeasure(SlicePath(), libc::Now() + kPatience);
  works_ = Free(&free_);
  used_ = account_.used();
}

Measurement::~Measurement() {
  State& state = TheState();
  SliceFile::Unlock(lock_);
  __atomic_fetch_sub(&state.measuring, 1, __ATOMIC_SEQ_CST);
  if (alone_) state.measure_gate.LeaveAlone();
}

bool Measurement::Free(uint64_t* bytes) {
  size_t free = 0, total = 0;
  if (REAL(cuMemGetInfo_v2)(&free, &total) != CUDA_SUCCESS) return false;
  *bytes = free;
  return true;
}

int64_t Measurement::Taken() const {
  uint64_t free = 0;
  const bool works = works_ && Free(&free);
  // Nobody did anything.
  if (brief_ && works && free == free_ && account_.used() == used_) return 0;
  int64_t unseen = 0;
  if (exact_ && Unseen::Read(account_.device(), &unseen)) return unseen - unseen_;
  if (!works) return 0;
  return static_cast<int64_t>(free_ - free) - static_cast<int64_t>(account_.used() - used_);
}

void Measurement::Remember(int64_t taken) const {
  State& state = TheState();
  if (!exact_ || !alone_) return;
  State::OwnUse& last = state.own_use[account_.device()];
  last.unseen = taken < 0 ? unseen_ + taken : unseen_;
  last.known = __atomic_load_n(&state.managed, __ATOMIC_SEQ_CST) == 0 ? 1 : 0;
}

}  // namespace tranche::limiter
