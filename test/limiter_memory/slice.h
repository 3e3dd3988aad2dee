#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "abi/slice_table.h"

namespace tranche::limiter_memory {

// The table of a slice with a part of each of some GPUs, as its maker sees it.
class Slice {
 public:
  // UUIDs as NVML writes them: "GPU-...".
  Slice(const std::string& path, const std::vector<std::string>& uuids, uint64_t limit,
        uint64_t context_bytes);
  ~Slice();
  Slice(const Slice&) = delete;
  Slice& operator=(const Slice&) = delete;

  const std::string& path() const { return path_; }
  TrancheSlice* table() { return table_; }
  uint64_t Used(uint32_t device = 0) const;
  void Reap();
  // From now on its time on the GPU is measured, too.
  void Meter();

 private:
  std::string path_;
  TrancheSlice* table_ = nullptr;
};

}  // namespace tranche::limiter_memory
