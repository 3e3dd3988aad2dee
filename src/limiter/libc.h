#pragma once

#include <stdint.h>

// What we need of the kernel where libc's own function is newer than GLIBC_2.28 or has side
// effects. All keep errno as it was.
namespace tranche::limiter::libc {

// fstat is GLIBC_2.33. False when it fails.
bool FileSize(int fd, uint64_t* bytes);

// Waits while *word is `expected`; may return early.
void FutexWait(uint32_t* word, uint32_t expected);
void FutexWake(uint32_t* word);

}  // namespace tranche::limiter::libc
