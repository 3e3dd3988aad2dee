#include "slice.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdlib>

#include "limiter/policy/memory_ledger.h"
#include "limiter/slice_file.h"

namespace tranche::limiter_memory {

Slice::Slice(const std::string& path, const std::vector<std::string>& uuids, uint64_t limit,
             uint64_t context_bytes)
    : path_(path) {
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0 || ftruncate(fd, TRANCHE_SLICE_BYTES) != 0) std::abort();
  void* memory = mmap(nullptr, TRANCHE_SLICE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  if (memory == MAP_FAILED) std::abort();
  table_ = static_cast<TrancheSlice*>(memory);
  table_->magic = TRANCHE_SLICE_MAGIC;
  table_->version = TRANCHE_SLICE_VERSION;
  table_->device_count = static_cast<uint32_t>(uuids.size());
  table_->bytes = TRANCHE_SLICE_BYTES;
  for (size_t i = 0; i < uuids.size(); ++i) {
    TrancheDevice& device = table_->devices[i];
    device.memory_limit = limit;
    device.context_bytes = context_bytes;
    int digits = 0;
    for (const char c : uuids[i].substr(4)) {
      if (c == '-' || digits == 32) continue;
      const char text[] = {c, 0};
      uint8_t& byte = device.uuid[digits++ / 2];
      byte = static_cast<uint8_t>(byte * 16 + std::strtoul(text, nullptr, 16));
    }
  }
}

Slice::~Slice() {
  munmap(table_, TRANCHE_SLICE_BYTES);
  unlink(path_.c_str());
}

uint64_t Slice::Used(uint32_t device) const { return limiter::MemoryLedger(table_, device).Used(); }

void Slice::Meter() {
  constexpr uint32_t kAll = 1000000;
  if (!limiter::SliceFile::SetShares(path_.c_str(), table_, 0, 0, kAll, kAll, kAll, 0))
    std::abort();
}

void Slice::Reap() { limiter::SliceFile::Reap(path_.c_str(), table_); }

}  // namespace tranche::limiter_memory
