#include "limiter/hooks/small_arrays.h"

#include "limiter/hooks/measured.h"
#include "limiter/libc.h"

// Charged are the granules in which small linear memory lies, and one for each array, less what is
// `spared`. As long as nobody has looked, every granule that goes may have been one that was
// spared, in the charge of another: so the charge may become too much, up to a granule for each
// array, and never too little.
namespace tranche::limiter {
namespace {

// Others measure at the same time for as long as their calls take; then it is not looked up.
constexpr int64_t kPatience = 5000000;

// What the process holds beyond its charges; false where that says nothing of arrays.
bool Look(State& state, int32_t device, int64_t* unseen) {
  // Managed memory is charged in full, and only a part of it is on the device.
  if (__atomic_load_n(&state.managed, __ATOMIC_SEQ_CST) != 0) return false;
  if (!state.measure_gate.EnterAlone(libc::Now() + kPatience)) return false;
  const auto others = [&] { return __atomic_load_n(&state.measuring, __ATOMIC_SEQ_CST) != 0; };
  // What they take shows as if arrays did.
  const bool known = !others() && Unseen::Read(device, unseen) && !others();
  state.measure_gate.LeaveAlone();
  return known;
}

// A granule less of those that are charged one by one.
void Remove(State& state, int32_t device, bool array) {
  bool release = true;
  {
    const Guard guard(state.arrays_lock);
    SmallArrays& arrays = state.small_arrays[device];
    if (array) --arrays.live;
    if (arrays.spared > 0) {
      --arrays.spared;
      release = false;
    }
  }
  if (release) Account::OfSlice(device).Release(kGranule);
}

}  // namespace

bool HaveSmallArrays(State& state, int32_t device) {
  return device >= 0 && __atomic_load_n(&state.small_arrays[device].live, __ATOMIC_SEQ_CST) != 0;
}

void BeforeSmallArray(int32_t device) {
  State& state = TheState();
  if (HaveSmallArrays(state, device)) return;
  int64_t unseen = 0;
  const bool known = Look(state, device, &unseen);
  const Guard guard(state.arrays_lock);
  SmallArrays& arrays = state.small_arrays[device];
  // Another thread was first.
  if (arrays.live != 0) return;
  arrays.known = known ? 1 : 0;
  arrays.unseen = unseen;
}

void AddSmallArray(State& state, int32_t device) {
  const Guard guard(state.arrays_lock);
  SmallArrays& arrays = state.small_arrays[device];
  __atomic_store_n(&arrays.live, arrays.live + 1, __ATOMIC_SEQ_CST);
}

void RemoveSmallArray(State& state, int32_t device) { Remove(state, device, true); }

void RemoveGranule(State& state, int32_t device) { Remove(state, device, false); }

void TrueUpSmallArrays(int32_t device) {
  State& state = TheState();
  int64_t unseen = 0;
  if (!HaveSmallArrays(state, device) || !Look(state, device, &unseen)) return;
  Account account = Account::OfSlice(device);
  const Guard guard(state.arrays_lock);
  SmallArrays& arrays = state.small_arrays[device];
  if (arrays.live == 0 || arrays.known == 0) return;
  // Whole granules; what is less is something else.
  const int64_t much = (arrays.unseen - unseen) / static_cast<int64_t>(kGranule);
  const int64_t little = (unseen - arrays.unseen) / static_cast<int64_t>(kGranule);
  if (much > 0) {
    const uint32_t most = arrays.live - arrays.spared;
    const uint32_t granules = much < most ? static_cast<uint32_t>(much) : most;
    arrays.spared += granules;
    account.Release(granules * kGranule);
  } else if (little > 0) {
    const uint32_t granules =
        little < arrays.spared ? static_cast<uint32_t>(little) : arrays.spared;
    arrays.spared -= granules;
    account.Overdraw(granules * kGranule);
  }
}

}  // namespace tranche::limiter
