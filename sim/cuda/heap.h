#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <utility>

namespace tranche::sim::cuda {

// The unit in which a device hands out memory, and that in which small allocations share it.
inline constexpr uint64_t kGranule = uint64_t{2} << 20;
inline constexpr uint64_t kSmallStep = 512;

constexpr uint64_t RoundUp(uint64_t bytes, uint64_t step) {
  return (bytes + step - 1) / step * step;
}

// Places in blocks of device memory: best fit, neighbours joined. Bookkeeping only; who gives the
// blocks pays for them. Not safe from several threads.
class Heap {
 public:
  // A place of that many bytes (a multiple of kSmallStep), or nothing when no block has room.
  std::optional<uint64_t> Take(uint64_t bytes);
  void Give(uint64_t address, uint64_t bytes);
  // A new block, all free.
  void Add(uint64_t base, uint64_t bytes);
  // Takes blocks away in which nothing lies, the last first, while there are more than `keep` bytes
  // of blocks; `released(base, bytes)` for each.
  template <typename Released>
  void Trim(uint64_t keep, const Released& released) {
    for (auto block = blocks_.end(); block != blocks_.begin() && held_ > keep;) {
      --block;
      const auto [base, bytes] = *block;
      if (held_ - bytes < keep || !IsFree(base, bytes)) continue;
      Strike(base, bytes);
      held_ -= bytes;
      block = blocks_.erase(block);
      released(base, bytes);
    }
  }
  // The block that holds the address when nothing lies in it, taken away: (base, bytes).
  std::optional<std::pair<uint64_t, uint64_t>> TakeBlockIfFree(uint64_t address);
  uint64_t held() const { return held_; }

 private:
  bool IsFree(uint64_t base, uint64_t bytes) const;
  void Strike(uint64_t base, uint64_t bytes);
  void Insert(uint64_t base, uint64_t bytes);

  std::map<uint64_t, uint64_t> blocks_;              // base -> bytes
  std::map<uint64_t, uint64_t> free_;                // base -> bytes
  std::set<std::pair<uint64_t, uint64_t>> by_size_;  // (bytes, base) of the same
  uint64_t held_ = 0;
};

}  // namespace tranche::sim::cuda
