#pragma once

#include <sys/types.h>

#include <cstdint>
#include <iosfwd>
#include <string>
#include <vector>

// A process of a tenant that does as it is told, one call of the driver after the other, and says
// what the driver answered. Two of them that are told the same, one limited and one on a GPU that
// is as small as the limit, answer the same.
namespace tranche::limiter_memory {

enum class Op : uint32_t {
  kRetain,  // and make it current
  kRelease,
  kReset,
  kCreateContext,  // and make it current
  kDestroyContext,
  kUseContext,  // which: 0 the primary one, n the n-th created
  kCreateGreen,
  kDestroyGreen,
  kSetHeap,
  kSetStack,
  kSetFifo,
  kLinear,
  kManaged,
  kPitch,
  kFree,  // whatever has an address and is freed
  kAsync,
  kFromPool,
  kFreeAsync,
  kSynchronize,
  kCreatePool,
  kDestroyPool,
  kTrimPool,
  kKeepAll,  // the default pool gives nothing back
  kKeepNone,
  kCreateHandle,
  kReleaseHandle,
  kMap,
  kUnmap,
  kRetainHandle,
  kReimport,
  kArray,
  kDestroyArray,
  kMipmap,
  kDestroyMipmap,
  kGraph,  // a graph with a memory node, launched
  kTrimGraphs,
  kLoadModule,
  kUnloadModule,
  kBind,  // a handle to a multicast object of one device
  kUnbind,
  kShare,       // the last linear memory, or the handle of physical memory (which: 1)
  kOpenShared,  // what another process shares
  kMapShared,
  kCloseShared,
  kCountSms,     // answers how many it sees
  kImport,       // memory that another interface allocated
  kMapImported,  // as a buffer, and as a mipmapped array
  kFreeMapped,
  kEndImport,
  kMapArray,  // a handle to a sparse array
  kUnmapArray,
  kEndMapped,  // the sparse array
  kSmallArray,
  kLoadLibrary,        // nothing of it is needed yet
  kUseLibrary,         // in the current context
  kLoadBesideThreads,  // modules, while other threads allocate and free
  kMistake,  // which of the mistakes that a program may make: null pointers, handles of nothing
  kCount
};
constexpr uint32_t kMistakes = 42;

// What one process gives to another, as CUDA and the kernel have it.
struct Shared {
  uint32_t kind = 0;  // 0: linear memory, 1: a handle
  int pid = 0, descriptor = -1;
  uint64_t bytes = 0;
  char handle[64] = {};
  bool operator==(const Shared&) const = default;
};

struct Command {
  Op op = Op::kSynchronize;
  uint32_t which = 0;  // of those that live
  uint64_t bytes = 0;
  Shared shared = {};
};
std::ostream& operator<<(std::ostream& out, const Command& command);

struct Reply {
  int answer = 0;                // CUresult, or kNothing
  uint64_t free = 0, total = 0;  // by cuMemGetInfo; 0 without a context
  Shared shared = {};
  bool operator==(const Reply&) const = default;
};
// There was nothing to do it with.
inline constexpr int kNothing = -1;

class Tenant {
 public:
  // Starts a process that calls `library` with these variables in its environment. Before any
  // thread.
  Tenant(const std::string& library, const std::vector<std::pair<std::string, std::string>>& names);
  ~Tenant() { Kill(); }
  Tenant(const Tenant&) = delete;
  Tenant& operator=(const Tenant&) = delete;

  pid_t pid() const { return pid_; }
  bool Ask(const Command& command, Reply* reply);
  void Tell(const Command& command);
  bool Hear(Reply* reply);
  // Waits until it stops (TRANCHE_TEST_STOP_AT); false when it ended.
  bool AwaitStop();
  void GoOn();
  // SIGKILL, and waits for it.
  void Kill();

 private:
  pid_t pid_ = -1;
  int socket_ = -1;
};

}  // namespace tranche::limiter_memory
