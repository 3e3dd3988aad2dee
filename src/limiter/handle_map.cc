#include "limiter/handle_map.h"

#include <errno.h>
#include <stddef.h>
#include <sys/mman.h>

namespace tranche::limiter {

uint64_t HandleMap::Hash(Kind kind, uint64_t handle) {
  // The finaliser of splitmix64: addresses differ in few bits, and both ends of the hash are used.
  uint64_t x = handle + static_cast<uint64_t>(kind) * UINT64_C(0x9e3779b97f4a7c15);
  x = (x ^ (x >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
  x = (x ^ (x >> 27)) * UINT64_C(0x94d049bb133111eb);
  return x ^ (x >> 31);
}

HandleMap::Entry* HandleMap::Seek(Shard& shard, Kind kind, uint64_t handle, uint64_t hash) {
  if (shard.capacity == 0) return nullptr;
  const uint32_t mask = shard.capacity - 1;
  for (uint32_t i = static_cast<uint32_t>(hash) & mask;; i = (i + 1) & mask) {
    Entry& entry = shard.entries[i];
    if (entry.kind == Kind::kNone) return nullptr;
    if (entry.kind == kind && entry.handle == handle) return &entry;
  }
}

bool HandleMap::Grow(Shard& shard) {
  const uint32_t capacity = shard.capacity == 0 ? 64 : shard.capacity * 2;
  const int before = errno;
  void* memory = mmap(nullptr, capacity * sizeof(Entry), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  errno = before;
  if (memory == MAP_FAILED) return false;
  auto* entries = static_cast<Entry*>(memory);
  for (uint32_t i = 0; i < shard.capacity; ++i) {
    const Entry& entry = shard.entries[i];
    if (entry.kind == Kind::kNone) continue;
    uint32_t at = static_cast<uint32_t>(Hash(entry.kind, entry.handle)) & (capacity - 1);
    while (entries[at].kind != Kind::kNone) at = (at + 1) & (capacity - 1);
    entries[at] = entry;
  }
  if (shard.entries != nullptr) munmap(shard.entries, shard.capacity * sizeof(Entry));
  errno = before;
  shard.entries = entries;
  shard.capacity = capacity;
  return true;
}

bool HandleMap::Insert(Shard& shard, Kind kind, uint64_t handle, uint64_t hash,
                       const Charge& charge) {
  if (shard.count * 2 >= shard.capacity && !Grow(shard)) return false;
  const uint32_t mask = shard.capacity - 1;
  uint32_t at = static_cast<uint32_t>(hash) & mask;
  while (shard.entries[at].kind != Kind::kNone) at = (at + 1) & mask;
  shard.entries[at] = {handle, kind, charge};
  ++shard.count;
  return true;
}

void HandleMap::Erase(Shard& shard, Entry* entry) {
  // What follows moves up, so that no search ends too early and no tombstones pile up.
  const uint32_t mask = shard.capacity - 1;
  auto hole = static_cast<uint32_t>(entry - shard.entries);
  for (uint32_t i = (hole + 1) & mask; shard.entries[i].kind != Kind::kNone; i = (i + 1) & mask) {
    const uint32_t home =
        static_cast<uint32_t>(Hash(shard.entries[i].kind, shard.entries[i].handle)) & mask;
    if (((i - home) & mask) < ((i - hole) & mask)) continue;
    shard.entries[hole] = shard.entries[i];
    hole = i;
  }
  shard.entries[hole].kind = Kind::kNone;
  --shard.count;
}

bool HandleMap::Put(Kind kind, uint64_t handle, const Charge& charge) {
  const uint64_t hash = Hash(kind, handle);
  Shard& shard = ShardOf(hash);
  const Guard guard(shard.lock);
  if (Entry* entry = Seek(shard, kind, handle, hash)) {
    entry->charge = charge;
    return true;
  }
  return Insert(shard, kind, handle, hash, charge);
}

bool HandleMap::Take(Kind kind, uint64_t handle, Charge* charge) {
  const uint64_t hash = Hash(kind, handle);
  Shard& shard = ShardOf(hash);
  const Guard guard(shard.lock);
  Entry* entry = Seek(shard, kind, handle, hash);
  if (entry == nullptr) return false;
  *charge = entry->charge;
  Erase(shard, entry);
  return true;
}

bool HandleMap::Find(Kind kind, uint64_t handle, Charge* charge) {
  const uint64_t hash = Hash(kind, handle);
  Shard& shard = ShardOf(hash);
  const Guard guard(shard.lock);
  const Entry* entry = Seek(shard, kind, handle, hash);
  if (entry != nullptr) *charge = entry->charge;
  return entry != nullptr;
}

bool HandleMap::AddUser(Kind kind, uint64_t handle, Charge* charge) {
  const uint64_t hash = Hash(kind, handle);
  Shard& shard = ShardOf(hash);
  const Guard guard(shard.lock);
  Entry* entry = Seek(shard, kind, handle, hash);
  if (entry == nullptr) return false;
  ++entry->charge.users;
  *charge = entry->charge;
  return true;
}

bool HandleMap::AddUserOrBegin(Kind kind, uint64_t handle, Charge* charge, bool* began) {
  const uint64_t hash = Hash(kind, handle);
  Shard& shard = ShardOf(hash);
  const Guard guard(shard.lock);
  Entry* entry = Seek(shard, kind, handle, hash);
  *began = entry == nullptr;
  if (entry != nullptr) {
    ++entry->charge.users;
    *charge = entry->charge;
    return true;
  }
  charge->users = 1;
  return Insert(shard, kind, handle, hash, *charge);
}

bool HandleMap::AddBytes(Kind kind, uint64_t handle, const Charge& charge) {
  const uint64_t hash = Hash(kind, handle);
  Shard& shard = ShardOf(hash);
  const Guard guard(shard.lock);
  Entry* entry = Seek(shard, kind, handle, hash);
  if (entry == nullptr) return Insert(shard, kind, handle, hash, charge);
  entry->charge.bytes += charge.bytes;
  return true;
}

uint64_t HandleMap::TakeBytes(Kind kind, uint64_t handle, uint64_t bytes) {
  const uint64_t hash = Hash(kind, handle);
  Shard& shard = ShardOf(hash);
  const Guard guard(shard.lock);
  Entry* entry = Seek(shard, kind, handle, hash);
  if (entry == nullptr) return 0;
  const uint64_t taken = bytes < entry->charge.bytes ? bytes : entry->charge.bytes;
  entry->charge.bytes -= taken;
  return taken;
}

bool HandleMap::RemoveUser(Kind kind, uint64_t handle, Charge* charge, bool* gone) {
  const uint64_t hash = Hash(kind, handle);
  Shard& shard = ShardOf(hash);
  const Guard guard(shard.lock);
  Entry* entry = Seek(shard, kind, handle, hash);
  if (entry == nullptr) return false;
  --entry->charge.users;
  *charge = entry->charge;
  *gone = entry->charge.users == 0;
  if (*gone) Erase(shard, entry);
  return true;
}

bool HandleMap::TakeOneOf(uint64_t context, uint64_t* from, Kind* kind, Charge* charge) {
  for (uint64_t at = *from >> 32; at < kShards; ++at, *from = at << 32) {
    Shard& shard = shards_[at];
    const Guard guard(shard.lock);
    for (uint64_t i = *from & UINT32_MAX; i < shard.capacity; ++i) {
      Entry& entry = shard.entries[i];
      // A granule goes with the last that lies in it.
      if (entry.kind == Kind::kNone || entry.kind == Kind::kGranule ||
          entry.charge.context != context)
        continue;
      *kind = entry.kind;
      *charge = entry.charge;
      Erase(shard, &entry);
      // Another may have moved up to this place, or wrapped around to the end.
      *from = at << 32;
      return true;
    }
  }
  return false;
}

}  // namespace tranche::limiter
