#include "limiter/gpu_gate.h"

#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "limiter/libc.h"
#include "limiter/open_table.h"

namespace tranche::limiter {
namespace {

// The broker looks far more often than this while anybody waits.
constexpr int64_t kBrokerIsGone = 1000 * kMillisecond;
constexpr int64_t kLookAgain = 50 * kMillisecond;

}  // namespace

const TrancheGate* GpuGate::Map(const char* path) {
  const int before = errno;
  const int fd = OpenTable(path, false, libc::Now() + kBrokerIsGone);
  uint64_t bytes = 0;
  void* memory = MAP_FAILED;
  if (fd >= 0 && libc::FileSize(fd, &bytes) && bytes == TRANCHE_GATE_BYTES)
    memory = mmap(nullptr, TRANCHE_GATE_BYTES, PROT_READ, MAP_SHARED, fd, 0);
  if (fd >= 0) close(fd);
  errno = before;
  if (memory == MAP_FAILED) return nullptr;
  const auto* gate = static_cast<const TrancheGate*>(memory);
  if (__atomic_load_n(&gate->magic, __ATOMIC_ACQUIRE) == TRANCHE_GATE_MAGIC &&
      gate->version == TRANCHE_GATE_VERSION)
    return gate;
  munmap(memory, TRANCHE_GATE_BYTES);
  return nullptr;
}

bool GpuGate::IsOpen(int64_t now) const {
  if ((__atomic_load_n(&gate_->open, __ATOMIC_ACQUIRE) & 1) != 0) return true;
  return now - static_cast<int64_t>(__atomic_load_n(&gate_->looked_at, __ATOMIC_RELAXED)) >
         kBrokerIsGone;
}

bool GpuGate::StillOpen() const {
  if (gate_ == nullptr) return true;
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  return IsOpen(libc::Now());
}

void GpuGate::Ring() const {
  __atomic_fetch_add(&table_->bell, 1, __ATOMIC_RELEASE);
  libc::SharedFutexWake(&table_->bell, 1);
}

void GpuGate::Knock() const {
  uint64_t* at_gate = &table_->flights[slot_].at_gate;
  __atomic_fetch_add(at_gate, 1, __ATOMIC_SEQ_CST);
  for (;;) {
    const uint32_t seen = __atomic_load_n(&gate_->open, __ATOMIC_ACQUIRE);
    const int64_t now = libc::Now();
    if (IsOpen(now)) break;
    Ring();
    // The kernel only reads the word, and so may wait on what we cannot write.
    libc::SharedFutexWait(const_cast<uint32_t*>(&gate_->open), seen, now + kLookAgain);
  }
  __atomic_fetch_sub(at_gate, 1, __ATOMIC_RELEASE);
}

void GpuGate::Left(bool idle) const {
  if (gate_ == nullptr || !idle) return;
  // What was just written must be seen before it is asked whether to ring: the broker does the
  // same in the other order.
  __atomic_thread_fence(__ATOMIC_SEQ_CST);
  if (__atomic_load_n(&gate_->others_wait, __ATOMIC_RELAXED) != 0) Ring();
}

}  // namespace tranche::limiter
