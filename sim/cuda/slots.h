#pragma once

#include <sys/mman.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <deque>
#include <new>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#include <sanitizer/lsan_interface.h>
#endif
#endif

namespace tranche::sim::cuda {

// Objects whose handle is their address, so that a launch finds its stream without a lock, in one
// reserved range, so that a made-up handle is recognised. T has a member `std::atomic<bool> alive`.
// Slots are used again late: an outlived handle stays recognisable for long.
template <typename T, size_t kCount = size_t{1} << 18>
class Slots {
 public:
  // nullptr when none is left. Under the library's lock, as Drop.
  T* Make() {
    if (base_.load(std::memory_order_relaxed) == nullptr) {
      void* memory = mmap(nullptr, kCount * sizeof(T), PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
      if (memory == MAP_FAILED) return nullptr;
#if defined(__has_feature)
#if __has_feature(address_sanitizer)
      // What only an object in here points at is no leak.
      __lsan_register_root_region(memory, kCount * sizeof(T));
#endif
#endif
      base_.store(static_cast<T*>(memory), std::memory_order_release);
    }
    T* slot = nullptr;
    if (used_ < kCount) {
      slot = base_.load(std::memory_order_relaxed) + used_++;
    } else if (!free_.empty()) {
      slot = free_.front();
      free_.pop_front();
      slot->~T();
    } else {
      return nullptr;
    }
    new (slot) T;
    slot->alive.store(true, std::memory_order_release);
    return slot;
  }

  void Drop(T* slot) {
    slot->alive.store(false, std::memory_order_release);
    free_.push_back(slot);
  }

  // Any thread, no lock. nullptr when there is no such object (any more).
  template <typename Handle>
  T* Find(Handle handle) const {
    T* const base = base_.load(std::memory_order_acquire);
    const uint64_t offset = reinterpret_cast<uint64_t>(handle) - reinterpret_cast<uint64_t>(base);
    if (base == nullptr || offset >= kCount * sizeof(T) || offset % sizeof(T) != 0) return nullptr;
    T* const slot = base + offset / sizeof(T);
    return slot->alive.load(std::memory_order_acquire) ? slot : nullptr;
  }

  template <typename Body>
  void ForEach(const Body& body) {
    T* base = base_.load(std::memory_order_relaxed);
    for (size_t i = 0; i < used_; ++i) {
      if (base[i].alive.load(std::memory_order_relaxed)) body(&base[i]);
    }
  }

 private:
  std::atomic<T*> base_{nullptr};
  size_t used_ = 0;
  std::deque<T*> free_;
};

}  // namespace tranche::sim::cuda
