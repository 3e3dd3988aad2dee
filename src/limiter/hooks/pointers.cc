#include "limiter/hooks/pointers.h"

#include "limiter/libc.h"

namespace tranche::limiter {
namespace {

// How long a call that needs to be alone waits for others that place or free small memory.
constexpr int64_t kAlonePatience = 100000000;

}  // namespace

bool KeepSmall(State& state, const Account& account, CUdeviceptr pointer, uint64_t bytes,
               bool* began) {
  *began = false;
  const uint64_t number = pointer / kGranule;
  Charge shared;
  if (!state.handles.AddUser(Kind::kGranule, number, &shared)) {
    Granule* granule = state.granules.Take(number, account.context());
    if (granule == nullptr) return false;
    shared = Charge();
    shared.other = reinterpret_cast<uint64_t>(granule);
    shared.device = account.device();
    shared.context = account.context();
    if (!state.handles.AddUserOrBegin(Kind::kGranule, number, &shared, began)) {
      state.granules.Give(granule);
      return false;
    }
    if (!*began) state.granules.Give(granule);
  }
  auto* granule = reinterpret_cast<Granule*>(shared.other);
  Charge charge;
  charge.other = shared.other;
  charge.users = static_cast<uint32_t>(bytes);
  charge.device = account.device();
  charge.context = account.context();
  granule->Mark(pointer, bytes, true);
  if (state.handles.Put(Kind::kPointer, pointer, charge)) return true;
  granule->Mark(pointer, bytes, false);
  bool gone = false;
  if (state.handles.RemoveUser(Kind::kGranule, number, &shared, &gone) && gone)
    state.granules.Give(granule);
  *began = false;
  return false;
}

CUresult AllocateInHole(State& state, Account account, uint64_t bytes, const CUdeviceptr* made,
                        CUresult (*allocate)(const void*), const void* arguments) {
  const auto call = [&] { return allocate(arguments); };
  if (!state.small_gate.EnterAlone(libc::Now() + kAlonePatience)) {
    account.Count(&TrancheCounters::refused);
    account.Count(&TrancheCounters::contended);
    return Refused(call);
  }
  TRANCHE_LABEL(kAloneInHole);
  CUresult answer = CUDA_ERROR_OUT_OF_MEMORY;
  // Where arrays lie, which may be in the same granules, nobody can see.
  const bool room =
      !HaveSmallArrays(state, account.device()) && state.granules.HasRoom(account.context(), bytes);
  if (room) {
    answer = call();
    TRANCHE_LABEL(kMadeInHole);
    bool began = false;
    bool keep = answer == CUDA_SUCCESS && KeepSmall(state, account, *made, bytes, &began);
    // The driver thinks otherwise, and took another granule.
    if (keep && began && !account.Reserve(kGranule)) {
      account.Count(&TrancheCounters::undone);
      Charge charge, all;
      bool gone = false;
      state.handles.Take(Kind::kPointer, *made, &charge);
      state.handles.RemoveUser(Kind::kGranule, *made / kGranule, &all, &gone);
      state.granules.Give(reinterpret_cast<Granule*>(charge.other));
      keep = false;
    }
    if (answer == CUDA_SUCCESS && !keep) {
      REAL(cuMemFree_v2)(*made);
      answer = CUDA_ERROR_OUT_OF_MEMORY;
    }
  } else {
    account.Count(&TrancheCounters::refused);
  }
  state.small_gate.LeaveAlone();
  return room ? answer : Refused(call);
}

}  // namespace tranche::limiter
