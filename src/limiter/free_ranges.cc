#include "limiter/free_ranges.h"

#include <errno.h>
#include <stddef.h>
#include <string.h>
#include <sys/mman.h>

namespace tranche::limiter {

uint32_t FreeRanges::Seek(uint64_t at) const {
  uint32_t low = 0, high = count_;
  while (low < high) {
    const uint32_t middle = (low + high) / 2;
    if (ranges_[middle].end < at)
      low = middle + 1;
    else
      high = middle;
  }
  return low;
}

bool FreeRanges::Insert(uint32_t at, Range range) {
  if (count_ == capacity_) {
    if (capacity_ == kMost) return false;
    const uint32_t capacity = capacity_ == 0 ? 256 : capacity_ * 2;
    const int before = errno;
    void* memory = mmap(nullptr, capacity * sizeof(Range), PROT_READ | PROT_WRITE,
                        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    errno = before;
    if (memory == MAP_FAILED) return false;
    if (ranges_ != nullptr) {
      memcpy(memory, ranges_, count_ * sizeof(Range));
      munmap(ranges_, capacity_ * sizeof(Range));
    }
    ranges_ = static_cast<Range*>(memory);
    capacity_ = capacity;
  }
  memmove(ranges_ + at + 1, ranges_ + at, (count_ - at) * sizeof(Range));
  ranges_[at] = range;
  ++count_;
  return true;
}

void FreeRanges::Erase(uint32_t first, uint32_t end) {
  memmove(ranges_ + first, ranges_ + end, (count_ - end) * sizeof(Range));
  count_ -= end - first;
}

void FreeRanges::Add(uint64_t base, uint64_t bytes) {
  Range range = {base, base + bytes};
  const uint32_t first = Seek(base);
  uint32_t end = first;
  for (; end < count_ && ranges_[end].base <= range.end; ++end) {
    if (ranges_[end].base < range.base) range.base = ranges_[end].base;
    if (ranges_[end].end > range.end) range.end = ranges_[end].end;
  }
  if (end == first) {
    Insert(first, range);
    return;
  }
  ranges_[first] = range;
  Erase(first + 1, end);
}

void FreeRanges::Remove(uint64_t base, uint64_t bytes) {
  const uint64_t end = base + bytes;
  for (uint32_t i = Seek(base); i < count_ && ranges_[i].base < end;) {
    Range& range = ranges_[i];
    if (range.end <= base) {
      ++i;
    } else if (range.base < base && range.end > end) {
      const Range behind = {end, range.end};
      range.end = base;
      Insert(i + 1, behind);
      return;
    } else if (range.base < base) {
      range.end = base;
      ++i;
    } else if (range.end > end) {
      range.base = end;
      return;
    } else {
      Erase(i, i + 1);
    }
  }
}

bool FreeRanges::Fits(uint64_t bytes) const {
  for (uint32_t i = 0; i < count_; ++i) {
    if (ranges_[i].end - ranges_[i].base >= bytes) return true;
  }
  return false;
}

}  // namespace tranche::limiter
