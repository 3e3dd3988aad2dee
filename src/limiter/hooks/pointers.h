#pragma once

#include "limiter/hooks/metered.h"

// Memory that a program knows by its address. Small memory shares a granule with others of its
// kind; which with which shows in the address, so a granule is charged with the first that lies in
// it and given back with the last.
namespace tranche::limiter {

// Calls allocate(), which writes the address of `bytes` of memory to *made.
template <typename Allocate>
CUresult AllocatePointer(CUdeviceptr* made, uint64_t bytes, const Allocate& allocate) {
  Account account = Account::Current();
  // What the driver refuses anyway, with its own words.
  if (made == nullptr || bytes == 0) return allocate();
  State& state = TheState();
  return Metered(
      account, Granules(bytes), allocate,
      [&](Charge charge) {
        if (bytes < kGranule) {
          charge.other = *made / kGranule;
          charge.bytes = 0;
          bool began = false;
          if (!state.handles.AddUserOrBegin(Kind::kGranule, charge.other, charge, &began))
            return false;
          if (!began) account.Release(kGranule);
        }
        return state.handles.Put(Kind::kPointer, *made, charge);
      },
      [&] {
        REAL(cuMemFree_v2)
        (*made);
      });
}

// Calls free(), which gives `pointer` back to the driver. *known: it was ours.
template <typename Free>
CUresult FreePointer(CUdeviceptr pointer, const Free& free, bool* known) {
  State& state = TheState();
  Charge charge;
  *known = state.handles.Take(Kind::kPointer, pointer, &charge);
  const CUresult answer = free();
  if (!*known) return answer;
  if (answer != CUDA_SUCCESS) {
    state.handles.Put(Kind::kPointer, pointer, charge);
    return answer;
  }
  GiveBack(state, charge);
  return answer;
}

}  // namespace tranche::limiter
