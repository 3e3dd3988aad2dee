#pragma once

#include "limiter/hooks/metered.h"

// Memory that a program knows by its address. Small memory shares a granule with others of its
// kind; which with which shows in the address, so a granule is charged with the first that lies in
// it and given back with the last.
namespace tranche::limiter {

// Remembers small memory that was allocated. False when the host has no memory for it. *began: it
// is the first of its granule.
bool KeepSmall(State& state, const Account& account, CUdeviceptr pointer, uint64_t bytes,
               bool* began);
// Small memory where no further granule is granted: allocate() is called only if it finds room in
// one that is there already.
CUresult AllocateInHole(State& state, Account account, uint64_t bytes, const CUdeviceptr* made,
                        CUresult (*allocate)(const void*), const void* arguments);

template <typename Allocate>
CUresult AllocateSmall(State& state, Account account, CUdeviceptr* made, uint64_t bytes,
                       const Allocate& allocate) {
  state.small_gate.Enter();
  if (!account.TryReserve(kGranule)) {
    state.small_gate.Leave();
    return AllocateInHole(
        state, account, bytes, made,
        [](const void* it) { return (*static_cast<const Allocate*>(it))(); }, &allocate);
  }
  CUresult answer = allocate();
  TRANCHE_LABEL(kSmallMade);
  bool began = false;
  if (answer == CUDA_SUCCESS && !KeepSmall(state, account, *made, bytes, &began)) {
    REAL(cuMemFree_v2)(*made);
    answer = CUDA_ERROR_OUT_OF_MEMORY;
  }
  TRANCHE_LABEL(kSmallKept);
  if (!began) account.Release(kGranule);
  state.small_gate.Leave();
  if (__builtin_expect(began && HaveSmallArrays(state, account.device()), 0))
    TrueUpSmallArrays(account.device());
  return answer;
}

// Calls allocate(), which writes the address of `bytes` of memory to *made, in granules that it
// shares with nobody. `mark`: what is to stand in Charge.other.
template <typename Allocate>
CUresult AllocateApart(CUdeviceptr* made, uint64_t bytes, const Allocate& allocate,
                       uint64_t mark = 0) {
  // What the driver refuses anyway, with its own words.
  if (made == nullptr || bytes == 0) return allocate();
  return Metered(
      Account::Current(), Granules(bytes), allocate,
      [&](Charge charge) {
        charge.other = mark;
        if (!TheState().handles.Put(Kind::kPointer, *made, charge)) return false;
        if (mark == kManaged) __atomic_fetch_add(&TheState().managed, 1, __ATOMIC_SEQ_CST);
        return true;
      },
      [&] {
        REAL(cuMemFree_v2)
        (*made);
      });
}

// The same where small memory shares granules.
template <typename Allocate>
CUresult AllocatePointer(CUdeviceptr* made, uint64_t bytes, const Allocate& allocate) {
  if (bytes >= kGranule || made == nullptr || bytes == 0)
    return AllocateApart(made, bytes, allocate);
  const Account account = Account::Current();
  if (!account.metered() || account.pointless()) return allocate();
  return AllocateSmall(TheState(), account, made, bytes, allocate);
}

// Calls free(), which gives `pointer` back to the driver. `charge` stood under it and has been
// taken out.
template <typename Free>
CUresult FreePointer(State& state, CUdeviceptr pointer, const Charge& charge, const Free& free) {
  const bool small = charge.bytes == 0;
  SmallGate& gate = small ? state.small_gate : state.call_gate;
  gate.Enter();
  const CUresult answer = free();
  TRANCHE_LABEL(kSmallFreed);
  bool granule = false;
  if (answer == CUDA_SUCCESS) {
    if (small) reinterpret_cast<Granule*>(charge.other)->Mark(pointer, charge.users, false);
    granule = GiveBack(state, charge);
  } else {
    state.handles.Put(Kind::kPointer, pointer, charge);
  }
  gate.Leave();
  if (granule) TrueUpSmallArrays(charge.device);
  return answer;
}

}  // namespace tranche::limiter
