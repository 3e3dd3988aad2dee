#pragma once

#include <cstdint>
#include <string>

#include "abi/slice_table.h"

namespace tranche::limiter_memory {

// The table of a slice with a part of one GPU, as its maker sees it.
class Slice {
 public:
  // `uuid` as NVML writes it: "GPU-...".
  Slice(const std::string& path, const std::string& uuid, uint64_t limit, uint64_t context_bytes);
  ~Slice();
  Slice(const Slice&) = delete;
  Slice& operator=(const Slice&) = delete;

  const std::string& path() const { return path_; }
  TrancheSlice* table() { return table_; }
  uint64_t Used() const;
  void Reap();
  // From now on its time on the GPU is measured, too.
  void Meter();

 private:
  std::string path_;
  TrancheSlice* table_ = nullptr;
};

}  // namespace tranche::limiter_memory
