#pragma once

#include <stdint.h>

#include "limiter/lock.h"

namespace tranche::limiter {

// What a handle of the driver stands for. One number may be a pointer and something else at once,
// so each kind is a space of its own.
enum class Kind : uint8_t {
  kNone = 0,
  kPointer,  // linear, pitched or managed memory; value.bytes 0: in a granule with others, then
             // value.other: the Granule, value.users: the bytes asked for
  kGranule,  // 2 MiB of addresses in which small memory lies; value.users, value.other: the Granule
  kPhysical,  // cuMemCreate; value.users: the handle itself and every mapping
  kMapping,   // an address that cuMemMap gave; value.other: the physical handle
  kBinding,   // of physical memory to a multicast object, by that and its place there; value.other:
              // the physical handle
  kArray,
  kMipmap,
  kContext,
  kGraphExec,  // value.bytes: what its memory nodes take
  kGraphNode,  // a memory node; value.bytes
  kPool,       // value.other: the ordinal it lies on; value.users: 1 if it may be exported
  kHostPool,   // not on a device
  kPooled,     // an address that came out of a pool; value.other: the pool's handle, value.bytes
  kModule,     // what loading it was seen to take, and what was loaded of it later
  kLibrary,
  kExternal,      // memory that another interface allocated
  kArrayMapping,  // a place in a sparse array to which memory is mapped; value.other: its handle
  kLimits,        // of a context: what raising its limits was seen to take
};

struct Charge {
  uint64_t bytes = 0;
  uint64_t other = 0;
  uint64_t context = 0;  // with which it dies; 0: with none
  uint32_t users = 0;
  int32_t device = 0;  // in the slice table
};

// (kind, handle) -> charge, in constant time, from any thread. All zeros is empty. Memory comes
// from mmap: the program's malloc is the program's.
class HandleMap {
 public:
  // False when there is no memory for it. What was there under that handle is replaced: the driver
  // gave the handle away again.
  bool Put(Kind kind, uint64_t handle, const Charge& charge);
  // Takes it out.
  bool Take(Kind kind, uint64_t handle, Charge* charge);
  bool Find(Kind kind, uint64_t handle, Charge* charge);
  // One user more, of something that is there. False when it is not.
  bool AddUser(Kind kind, uint64_t handle, Charge* charge);
  // One user more, of something that begins with its first, as *charge says; which becomes what
  // there is. False when there is no memory for it.
  bool AddUserOrBegin(Kind kind, uint64_t handle, Charge* charge, bool* began);
  // Adds to the bytes of what is there, or begins with the charge. False when there is no memory
  // for it.
  bool AddBytes(Kind kind, uint64_t handle, const Charge& charge);
  // Takes at most so many bytes away from what is there; how many.
  uint64_t TakeBytes(Kind kind, uint64_t handle, uint64_t bytes);
  // One user less; with the last it is taken out and `gone` set. False when it is not there.
  bool RemoveUser(Kind kind, uint64_t handle, Charge* charge, bool* gone);
  // Takes out one of those that die with that context; false when none is left. `from` is where the
  // search goes on, 0 at first.
  bool TakeOneOf(uint64_t context, uint64_t* from, Kind* kind, Charge* charge);

 private:
  static constexpr uint32_t kShards = 64;
  struct Entry {
    uint64_t handle;
    Kind kind;
    Charge charge;
  };
  struct Shard {
    Lock lock;
    uint32_t capacity;  // a power of two, or 0
    uint32_t count;
    Entry* entries;
  };

  static uint64_t Hash(Kind kind, uint64_t handle);
  Shard& ShardOf(uint64_t hash) { return shards_[hash >> 58]; }
  static Entry* Seek(Shard& shard, Kind kind, uint64_t handle, uint64_t hash);
  static bool Grow(Shard& shard);
  static bool Insert(Shard& shard, Kind kind, uint64_t handle, uint64_t hash, const Charge& charge);
  static void Erase(Shard& shard, Entry* entry);

  Shard shards_[kShards];
};

}  // namespace tranche::limiter
