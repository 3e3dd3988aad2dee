#pragma once

#include <stdint.h>

#include "limiter/lock.h"

// Memory smaller than a granule, of which many pieces share one.
namespace tranche::limiter {

// Devices hand out memory in granules of 2 MiB.
constexpr uint64_t kGranule = uint64_t{2} << 20;

// A granule in which small memory of one context lies, and which parts of it are taken.
struct Granule {
  static constexpr uint64_t kStep = 512;  // small memory begins and ends at multiples of this
  uint64_t number;                        // its address / kGranule
  uint64_t context;                       // 0: this entry is free
  uint64_t taken[kGranule / kStep / 64];  // a bit for each step
  Granule* next_free;

  void Mark(uint64_t address, uint64_t bytes, bool is_taken);
  // Whether `bytes` in one piece lie free.
  bool HasRoom(uint64_t bytes) const;
};

// All granules of a process. All zeros is empty; an entry stays where it is for ever, and a thread
// that holds one may mark in it without a lock.
class GranuleStore {
 public:
  // nullptr when the host has no memory for it.
  Granule* Take(uint64_t number, uint64_t context);
  void Give(Granule* granule);
  // Whether any granule of that context has room. Only while nobody marks.
  bool HasRoom(uint64_t context, uint64_t bytes);

 private:
  static constexpr uint32_t kInChunk = 120;
  struct Chunk {
    Chunk* next;
    Granule granules[kInChunk];
  };

  Lock lock_;
  Chunk* chunks_;
  Granule* free_;
};

// Calls into the driver that place or free small memory, any number at a time; or one call alone,
// which finds the driver's granules exactly as they are in our books. All zeros is open.
class SmallGate {
 public:
  void Enter();
  void Leave();
  // False when others were still inside at `until`, of libc::Now().
  bool EnterAlone(int64_t until);
  void LeaveAlone();

 private:
  uint32_t inside_;
  uint32_t alone_;
};

}  // namespace tranche::limiter
