#pragma once

#include <stdint.h>

namespace tranche::limiter {

// Pieces of addresses that are known to be free, neighbours joined. What there is no memory to
// remember is forgotten: it is then merely not known. All zeros is empty. Not safe from several
// threads.
class FreeRanges {
 public:
  void Add(uint64_t base, uint64_t bytes);
  // No longer free, as far as it was.
  void Remove(uint64_t base, uint64_t bytes);
  bool Fits(uint64_t bytes) const;
  void Clear() { count_ = 0; }

 private:
  static constexpr uint32_t kMost = 1 << 16;
  struct Range {
    uint64_t base, end;
  };
  // The first that ends at or behind `at`.
  uint32_t Seek(uint64_t at) const;
  bool Insert(uint32_t at, Range range);
  void Erase(uint32_t first, uint32_t end);

  Range* ranges_;  // by address
  uint32_t count_, capacity_;
};

}  // namespace tranche::limiter
