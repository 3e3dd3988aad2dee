#include "sim/cuda/heap.h"

#include <iterator>

namespace tranche::sim::cuda {

void Heap::Strike(uint64_t base, uint64_t bytes) {
  free_.erase(base);
  by_size_.erase({bytes, base});
}

void Heap::Insert(uint64_t base, uint64_t bytes) {
  free_[base] = bytes;
  by_size_.insert({bytes, base});
}

std::optional<uint64_t> Heap::Take(uint64_t bytes) {
  const auto fit = by_size_.lower_bound({bytes, 0});
  if (fit == by_size_.end()) return {};
  const auto [size, base] = *fit;
  Strike(base, size);
  if (size > bytes) Insert(base + bytes, size - bytes);
  return base;
}

void Heap::Give(uint64_t address, uint64_t bytes) {
  // Neighbours join inside a block only: blocks are given back one by one.
  const auto block = std::prev(blocks_.upper_bound(address));
  const uint64_t first = block->first, last = first + block->second;
  auto next = free_.lower_bound(address);
  if (next != free_.begin()) {
    const auto before = std::prev(next);
    if (before->first >= first && before->first + before->second == address) {
      address = before->first;
      bytes += before->second;
      Strike(before->first, before->second);
    }
  }
  if (next != free_.end() && next->first == address + bytes && next->first < last) {
    const auto [base, size] = *next;
    Strike(base, size);
    bytes += size;
  }
  Insert(address, bytes);
}

void Heap::Add(uint64_t base, uint64_t bytes) {
  blocks_[base] = bytes;
  held_ += bytes;
  Insert(base, bytes);
}

bool Heap::IsFree(uint64_t base, uint64_t bytes) const {
  const auto found = free_.find(base);
  return found != free_.end() && found->second == bytes;
}

std::optional<std::pair<uint64_t, uint64_t>> Heap::TakeBlockIfFree(uint64_t address) {
  auto block = blocks_.upper_bound(address);
  if (block == blocks_.begin()) return {};
  --block;
  const std::pair<uint64_t, uint64_t> found = *block;
  if (!IsFree(found.first, found.second)) return {};
  Strike(found.first, found.second);
  held_ -= found.second;
  blocks_.erase(block);
  return found;
}

}  // namespace tranche::sim::cuda
