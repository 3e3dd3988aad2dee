#pragma once

#include <stdint.h>

#include "limiter/policy/compute_table.h"

// Which of the two policies divides a GPU: exclusive turns (turns.h), or weighted fair queueing of
// what runs at once (mps_shares.h). Both keep their accounts in the same lines.
namespace tranche::limiter {

// What the table should be under: MPS only if every process says that it is one of its clients.
// Turns hold the shares of any mixture, only with less of the GPU in use.
inline bool AllUnderMps(const ComputeTable& table) {
  bool any = false;
  for (const SlotFlight& flight : table.flights) {
    if (flight.sharing == static_cast<uint32_t>(Sharing::kTimeSlice)) return false;
    any = any || flight.sharing == static_cast<uint32_t>(Sharing::kMps);
  }
  return any;
}

// Changes the policy, with the table's lock held; accounts, debts and buckets stay, and what is in
// flight lands under the new one. Returns whom to wake: everybody who waits, to ask again. The old
// policy has settled its accounts by `now`.
inline uint64_t ChangePolicy(ComputeTable* table, bool mps, int64_t now) {
  ComputeDevice& device = table->device;
  device.holder_plus_1 = 0;
  device.ending = device.overlap = 0;
  device.solo_plus_1 = device.solo_runs = 0;
  device.grace_until = 0;
  device.settled_at = now;
  device.active = 0;
  uint64_t waiting = 0;
  for (uint64_t left = device.present; left != 0; left &= left - 1) {
    const int i = __builtin_ctzll(left);
    TenantLine& line = device.tenants[i];
    const uint64_t bit = uint64_t{1} << i;
    if (line.waiting != 0) waiting |= bit;
    if (line.units > 0 || line.waiting != 0) device.active |= bit;
    line.settled_at = now;
    line.limited_at = 0;
    line.delta_credit = line.overlap_charge = 0;
    line.charge_mark = line.charged;
    line.asleep = 0;
  }
  __atomic_store_n(&table->mps, mps ? 1 : 0, __ATOMIC_RELEASE);
  return waiting;
}

}  // namespace tranche::limiter
