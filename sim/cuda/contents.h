#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>
#include <memory>

namespace tranche::sim::cuda {

// What is written in one allocation. Device memory of tens of gigabytes has to fit into a small
// machine, so only pages that were written differently from byte to byte take room; untouched
// memory reads as zeros.
class Contents {
 public:
  static constexpr size_t kPage = size_t{64} << 10;

  void Write(uint64_t at, const void* from, size_t bytes);
  void Read(uint64_t at, void* to, size_t bytes) const;
  // `value` again and again, from `at` on; its low `width` bytes (1, 2 or 4), of which `at` is a
  // multiple.
  void Fill(uint64_t at, uint32_t value, size_t width, uint64_t count);
  // Host memory taken by now.
  size_t held() const { return held_; }

 private:
  // Either bytes, or one pattern of four all over.
  struct Page {
    std::unique_ptr<std::array<char, kPage>> bytes;
    uint32_t pattern = 0;
  };
  char* Bytes(uint64_t page);

  std::map<uint64_t, Page> pages_;
  size_t held_ = 0;
};

}  // namespace tranche::sim::cuda
