#pragma once

#include <stdint.h>

namespace tranche::limiter {

// How long a process that begins waits for a broker that is just being replaced, in nanoseconds.
constexpr int64_t kBrokerComesBack = 3000000000;

// The memory of a table: of the file that `path` is, or from the broker whose socket it is
// (abi/table_socket.h). A descriptor for the caller to close, under an open file description of its
// own; -1, with errno, when there is none. A broker that is just being replaced is waited for until
// an instant of libc::Now(), or not at all.
int OpenTable(const char* path, bool write, int64_t until = 0);

}  // namespace tranche::limiter
