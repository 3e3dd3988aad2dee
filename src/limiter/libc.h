#pragma once

#include <stdint.h>

// What we need of the kernel where libc's own function is newer than GLIBC_2.28 or has side
// effects. All keep errno as it was.
namespace tranche::limiter::libc {

// fstat is GLIBC_2.33. False when it fails.
bool FileSize(int fd, uint64_t* bytes);

// Waits while *word is `expected`; may return early.
void FutexWait(uint32_t* word, uint32_t expected);
void FutexWake(uint32_t* word, int most = 1);

// The same for a word in memory that processes share, until an instant of Now(); INT64_MAX is for
// ever. False when that instant came.
bool SharedFutexWait(uint32_t* word, uint32_t expected, int64_t until);
void SharedFutexWake(uint32_t* word, int most);
// And for a word of this process alone.
bool FutexWaitUntil(uint32_t* word, uint32_t expected, int64_t until);

void Yield();
// Nanoseconds of CLOCK_MONOTONIC: the same for all processes of a host.
int64_t Now();
// Of a core, that the calling thread has used.
int64_t ThreadTime();

}  // namespace tranche::limiter::libc
