#pragma once

#include <array>
#include <string>
#include <string_view>

// What holds the memory of a slice, what is asked of each, and where they differ. The declared
// table is asserted row by row (backends_test.cc), and docs/enforcement.md shows it.
namespace tranche::limiter_memory {

enum class Backend {
  kLimiter,
  kKernelAlone,  // the program has dropped the limiter
  kKernelAndLimiter,
  kMpsAlone,  // likewise, with the server's pinned-memory limit on each client
  kMpsAndLimiter
};
inline constexpr std::array<std::string_view, 5> kBackendNames = {
    "limiter", "kernel alone", "kernel + limiter", "MPS alone", "MPS + limiter"};
inline constexpr std::array kBackends = {Backend::kLimiter, Backend::kKernelAlone,
                                         Backend::kKernelAndLimiter, Backend::kMpsAlone,
                                         Backend::kMpsAndLimiter};

// What the limiter does, and so all of them unless the table below says otherwise.
struct Promise {
  std::string_view what;
  std::string_view answer;
};
inline constexpr Promise kPromises[] = {
    {"linear memory", "held"},
    {"small linear memory", "held"},
    {"pitched memory", "held"},
    {"managed memory", "held"},
    {"stream-ordered memory", "held"},
    {"pools", "held"},
    {"physical memory", "held"},
    {"physical memory whose handle is gone", "held"},
    {"arrays", "held"},
    {"mipmapped arrays", "held"},
    {"memory of graphs", "held"},
    {"code", "held"},
    {"further contexts", "held"},
    {"the heap of a context", "held"},
    {"a context", "counts"},
    {"two processes", "share the limit"},
    {"what a killed process held", "can be taken again"},
    {"a limit that is lowered while it runs", "stops growth"},
    {"the size of the GPU that it is told", "its limit"},
    {"what is free, as it is told", "what it can take"},
    {"SMs that it sees, of 40, at 33 %", "40"},
};

struct Difference {
  std::string_view what;
  Backend backend;
  std::string_view answer;
  std::string_view why;
};
inline constexpr Difference kDifferences[] = {
    {"managed memory", Backend::kKernelAlone, "not held",
     "the driver's limits over cgroups count all but managed memory, which may lie on the host"},
    {"two processes", Backend::kMpsAlone, "have one limit each",
     "a pinned-memory limit is of each client, not of all clients of a slice"},
    {"a limit that is lowered while it runs", Backend::kMpsAlone, "changes nothing",
     "a client keeps the limit that it started with"},
    {"the size of the GPU that it is told", Backend::kMpsAlone, "the whole GPU",
     "under a pinned-memory limit only what is free tells of it, so frameworks that size from the "
     "total overrun"},
    {"SMs that it sees, of 40, at 33 %", Backend::kMpsAlone, "12",
     "an active-thread percentage is rounded down to whole pairs of SMs; as time it would be "
     "exact"},
    {"SMs that it sees, of 40, at 33 %", Backend::kMpsAndLimiter, "12",
     "the server's ceiling holds beside the limiter's share of time"},
};

}  // namespace tranche::limiter_memory
