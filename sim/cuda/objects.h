#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <string>

#include "abi/cuda.h"
#include "sim/cuda/shared_gpu.h"
#include "sim/cuda/timeline.h"

// What handles of streams, events, contexts and functions stand for (slots.h).
namespace tranche::sim::cuda {

struct Stream;
struct Graph;
struct SharedEvent;

// What a launch needs to know of a context. Work is known by the queue of the context's that it is
// in, and its number there; 0 = none.
struct ContextSlot {
  std::atomic<bool> alive{false};
  Stream* legacy = nullptr;
  SharedGpu* gpu = nullptr;
  uint32_t slot = 0;  // of the context on the GPU; its own as long as it is alive
  std::atomic<uint32_t> streams{0};
  // The last work of the legacy default stream (in queue 0), and by queue that of the streams that
  // wait for it and that it waits for.
  std::atomic<uint64_t> legacy_last{0}, blocking_last[kTimedStreams] = {};
  // With the GPU's lock held: by queue, up to which work the one waits for the other already.
  uint64_t waits_for_legacy[kTimedStreams] = {}, legacy_waits_for[kTimedStreams] = {};
};

// Work that was given to a GPU.
struct Point {
  const ContextSlot* home = nullptr;
  uint32_t queue = 0;
  uint64_t number = 0;
};

// A capture that runs over one or more streams.
struct Capture {
  uint64_t id = 0;
  Graph* graph = nullptr;
  Stream* origin = nullptr;
};

struct Stream {
  enum class Kind { kLegacy, kBlocking, kNonBlocking };
  std::atomic<bool> alive{false};
  Kind kind = Kind::kBlocking;
  ContextSlot* home = nullptr;
  unsigned int flags = 0;
  int priority = 0;
  uint64_t id = 0;
  uint32_t queue = 0;             // as the GPU has it; several streams may share one
  std::atomic<uint64_t> last{0};  // the last work that it was given

  // Not nullptr while it captures; then `tips` are the nodes that the next one depends on.
  std::atomic<Capture*> capture{nullptr};
  std::deque<CUgraphNode> tips;

  // While it waits for a value in memory, what comes after waits here.
  std::atomic<bool> gated{false};
  std::mutex gate_mutex;
  std::deque<std::function<void()>> behind_gate;
};

struct Event {
  std::atomic<bool> alive{false};
  bool timed = true;
  bool interprocess = false;
  SharedEvent* shared = nullptr;  // what all processes that have it see of it; guarded by mutex
  SharedGpu* gpu = nullptr;       // of a shared one
  uint64_t shared_seen = 0;       // of it, as `point` has it; guarded by mutex
  std::atomic<bool> recorded{false};
  std::atomic<bool> gated{false};  // its stream waits for a value before it comes to the record
  std::mutex mutex;
  Point point;                             // behind which it is; guarded by mutex
  std::atomic<uint64_t> at{0};             // done then; 0 = not known to be
  std::atomic<Capture*> capture{nullptr};  // recorded in a capture, behind these nodes
  std::deque<CUgraphNode> tips;
};

// A kernel: CUfunction and CUkernel alike. Never destroyed while the process lives, so that a
// launch reads it without a lock.
struct Kernel {
  std::atomic<bool> alive{false};
  std::string name;
  uint64_t cost_ns = 0;
  bool cost_is_argument = false;  // the first argument of a launch is its cost, 64 bits
  bool counts = false;            // ... is a condition that it lowers
  CUmodule module = nullptr;
  CUlibrary library = nullptr;
};

}  // namespace tranche::sim::cuda
