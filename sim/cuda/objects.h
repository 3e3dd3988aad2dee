#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <functional>
#include <mutex>
#include <string>

#include "abi/cuda.h"
#include "sim/cuda/timeline.h"

// What handles of streams, events, contexts and functions stand for (slots.h).
namespace tranche::sim::cuda {

struct Stream;
struct Graph;

// What a launch needs to know of a context.
struct ContextSlot {
  std::atomic<bool> alive{false};
  Stream* legacy = nullptr;
  Engine engine;
  // When the legacy default stream, and when all streams that wait for it, are done.
  std::atomic<uint64_t> legacy_ready{0}, blocking_ready{0};
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
  std::atomic<uint64_t> ready{0};  // when all that it was given is done

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
  std::atomic<bool> recorded{false};
  std::atomic<bool> gated{false};  // its stream waits for a value before it comes to the record
  std::atomic<uint64_t> at{0};     // done then
  Capture* capture = nullptr;      // recorded in a capture, behind these nodes
  std::deque<CUgraphNode> tips;
};

// A kernel: CUfunction and CUkernel alike. Never destroyed while the process lives, so that a
// launch reads it without a lock.
struct Kernel {
  std::atomic<bool> alive{false};
  std::string name;
  uint64_t cost_ns = 0;
  bool cost_is_argument = false;  // the first argument of a launch is its cost, 64 bits
  CUmodule module = nullptr;
  CUlibrary library = nullptr;
};

// When all that the stream waits for is done.
inline uint64_t ReadyOf(const Stream& stream) {
  const uint64_t own = stream.ready.load(std::memory_order_acquire);
  uint64_t other = 0;
  if (stream.kind == Stream::Kind::kLegacy) {
    other = stream.home->blocking_ready.load(std::memory_order_acquire);
  } else if (stream.kind == Stream::Kind::kBlocking) {
    other = stream.home->legacy_ready.load(std::memory_order_acquire);
  }
  return own > other ? own : other;
}

// The stream has work until then.
inline void Occupy(Stream* stream, uint64_t until) {
  RaiseTo(&stream->ready, until);
  if (stream->kind == Stream::Kind::kLegacy) RaiseTo(&stream->home->legacy_ready, until);
  if (stream->kind == Stream::Kind::kBlocking) RaiseTo(&stream->home->blocking_ready, until);
}

}  // namespace tranche::sim::cuda
