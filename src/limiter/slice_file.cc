#include "limiter/slice_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "limiter/libc.h"
#include "limiter/open_table.h"
#include "limiter/policy/memory_ledger.h"
#include "limiter/table_lock.h"
#include "limiter/turnstile.h"

#ifndef F_OFD_SETLK
#define F_OFD_SETLK 37
#endif

namespace tranche::limiter {
namespace {

bool LockSlot(int fd, uint32_t slot, short how) {
  struct flock lock = {};
  lock.l_type = how;
  lock.l_whence = SEEK_SET;
  lock.l_start = TRANCHE_SLICE_LOCK_AT + slot;
  lock.l_len = 1;
  return fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

bool IsTable(const TrancheSlice* slice) {
  return slice->magic == TRANCHE_SLICE_MAGIC && slice->version == TRANCHE_SLICE_VERSION &&
         slice->bytes == TRANCHE_SLICE_BYTES && slice->device_count <= TRANCHE_SLICE_DEVICES &&
         (slice->compute_version == 0 || slice->compute_version == kComputeVersion);
}

uint64_t StartTime() {
  const int fd = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  char text[1024];
  const ssize_t n = read(fd, text, sizeof(text) - 1);
  close(fd);
  if (n <= 0) return 0;
  text[n] = 0;
  // The name of the program may hold spaces and parentheses; after its last one comes field 3.
  const char* at = strrchr(text, ')');
  for (int field = 2; at != nullptr && field < 22; ++field) {
    at = strchr(at + 1, ' ');
  }
  return at == nullptr ? 0 : strtoull(at + 1, nullptr, 10);
}

// "pid:[4026531836]"
uint64_t PidNamespace() {
  char text[64];
  const ssize_t n = readlink("/proc/self/ns/pid", text, sizeof(text) - 1);
  if (n <= 0) return 0;
  text[n] = 0;
  const char* number = strchr(text, '[');
  return number == nullptr ? 0 : strtoull(number + 1, nullptr, 10);
}

// Of a slot whose byte the caller has locked: nobody lives there, and nobody can come to.
void Empty(const char* path, TrancheSlice* slice, uint32_t slot) {
  for (uint32_t i = 0; i < TRANCHE_SLICE_DEVICES; ++i) MemoryLedger(slice, i).Empty(slot);
  for (uint32_t i = 0; i < slice->device_count; ++i) {
    TableLock::Break(ComputeOf(&slice->devices[i]), slot);
    Turnstile turnstile(slice, i, slot, path);
    if (turnstile.metered()) turnstile.Forget();
  }
}

// Takes the first slot that nobody holds.
bool Claim(const char* path, int fd, TrancheSlice* slice, uint32_t* slot) {
  for (uint32_t i = 0; i < TRANCHE_SLICE_SLOTS; ++i) {
    if (!LockSlot(fd, i, F_WRLCK)) continue;
    TRANCHE_LABEL(kSlotLocked);
    Empty(path, slice, i);
    TRANCHE_LABEL(kSlotEmptied);
    uint64_t used = MemoryLedger::Load(&slice->slots_used);
    while (used <= i && !__atomic_compare_exchange_n(&slice->slots_used, &used, uint64_t{i} + 1,
                                                     false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
    }
    TrancheSlot& own = slice->slots[i];
    MemoryLedger::Store(&own.start_time, StartTime());
    MemoryLedger::Store(&own.pid_namespace, PidNamespace());
    MemoryLedger::Add(&own.generation, 1);
    MemoryLedger::Store(&own.pid, static_cast<uint64_t>(getpid()));
    *slot = i;
    TRANCHE_LABEL(kSlotClaimed);
    return true;
  }
  return false;
}

}  // namespace

TrancheSlice* SliceFile::Join(const char* path, uint32_t* slot) {
  const int before = errno;
  TrancheSlice* slice = nullptr;
  const int fd = OpenTable(path, true, libc::Now() + kBrokerComesBack);
  uint64_t bytes = 0;
  if (fd >= 0 && libc::FileSize(fd, &bytes) && bytes == TRANCHE_SLICE_BYTES) {
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (memory != MAP_FAILED) {
      slice = static_cast<TrancheSlice*>(memory);
      if (!IsTable(slice) || madvise(memory, bytes, MADV_DONTFORK) != 0 ||
          !Claim(path, fd, slice, slot)) {
        munmap(memory, bytes);
        slice = nullptr;
      }
    }
  }
  if (fd >= 0) close(fd);
  errno = before;
  return slice;
}

uint32_t SliceFile::Reap(const char* path, TrancheSlice* slice) {
  const int before = errno;
  uint32_t reaped = 0;
  const int fd = OpenTable(path, true);
  const uint64_t used = MemoryLedger::Load(&slice->slots_used);
  for (uint32_t i = 0; fd >= 0 && i < used && i < TRANCHE_SLICE_SLOTS; ++i) {
    if (MemoryLedger::Load(&slice->slots[i].pid) == 0 || !LockSlot(fd, i, F_WRLCK)) continue;
    TRANCHE_LABEL(kReapLocked);
    // Dead, and as long as this lock is held nobody else can come to live there.
    Empty(path, slice, i);
    TRANCHE_LABEL(kReapEmptied);
    MemoryLedger::Store(&slice->slots[i].pid, 0);
    LockSlot(fd, i, F_UNLCK);
    ++reaped;
  }
  if (fd >= 0) close(fd);
  errno = before;
  return reaped;
}

namespace {

// Calls what the maker of a table does with it, while it shows that it lives.
template <typename Change>
bool FromOutside(const char* path, const Change& change) {
  const int before = errno;
  const int fd = OpenTable(path, true);
  const bool alive = fd >= 0 && LockSlot(fd, ComputeTable::kOutside, F_WRLCK);
  if (alive) change();
  if (fd >= 0) close(fd);
  errno = before;
  return alive;
}

}  // namespace

bool SliceFile::SetShares(const char* path, TrancheSlice* slice, uint32_t device, uint32_t line,
                          uint32_t request, uint32_t limit, uint32_t weight, int32_t priority) {
  return FromOutside(path, [&] {
    Turnstile(slice, device, ComputeTable::kOutside, path, line)
        .SetShares(request, limit, weight, priority);
    MemoryLedger::Store(&slice->compute_version, kComputeVersion);
  });
}

uint32_t SliceFile::FreeLine(const char* path, TrancheSlice* gpu) {
  uint32_t line = kMostTenants;
  FromOutside(path, [&] { line = Turnstile(gpu, 0, ComputeTable::kOutside, path).FreeLine(); });
  return line;
}

void SliceFile::RemoveLine(const char* path, TrancheSlice* gpu, uint32_t line) {
  FromOutside(path, [&] { Turnstile(gpu, 0, ComputeTable::kOutside, path, line).RemoveLine(); });
}

int SliceFile::LockToMeasure(const char* path, int64_t until) {
  // Beyond the bytes of all slots.
  constexpr uint32_t kMeasuring = 2 * TRANCHE_SLICE_SLOTS;
  constexpr int64_t kLook = 200000;
  const int before = errno;
  int fd = OpenTable(path, true);
  uint32_t nobody = 0;
  while (fd >= 0 && !LockSlot(fd, kMeasuring, F_WRLCK)) {
    const int64_t now = libc::Now();
    if (now < until) {
      libc::FutexWaitUntil(&nobody, 0, now + kLook);
      continue;
    }
    close(fd);
    fd = -1;
  }
  errno = before;
  return fd;
}

void SliceFile::Unlock(int lock) {
  const int before = errno;
  if (lock >= 0) close(lock);
  errno = before;
}

bool SliceFile::IsDead(const char* path, uint32_t slot) {
  const int before = errno;
  const int fd = OpenTable(path, true);
  const bool dead = fd >= 0 && LockSlot(fd, slot, F_WRLCK);
  // Closing it ends the lock.
  if (fd >= 0) close(fd);
  errno = before;
  return dead;
}

}  // namespace tranche::limiter
