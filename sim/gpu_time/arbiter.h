#pragma once

#include <cstddef>
#include <cstdint>
#include <limits>
#include <vector>

// How a GPU divides its time among contexts. Assumed, not measured: quantum, switch costs and the
// way blocks are dealt out are parameters or said below. Knows nothing of limiters. Times are
// nanoseconds of the caller's clock.
//
// The state is plain data without pointers, so that it may lie in memory that processes share, and
// be copied there and back.
namespace tranche::sim {

constexpr int64_t kNothing = std::numeric_limits<int64_t>::max();

enum class Sharing {
  // One group of contexts at a time, round robin over those that have work, a quantum each. A
  // context is a group of its own unless it is told otherwise. What a process has alone (exclusive,
  // or a MIG instance) is this with one context.
  kTimeSlices,
  // All contexts at once: the SMs go to the heads of all streams, in proportion to their blocks as
  // far as those can be resident, up to what each can use. So it is within a group, too (MPS).
  kConcurrent,
};

struct GpuTiming {
  Sharing sharing = Sharing::kTimeSlices;
  int64_t quantum = 2'000'000;
  int64_t preempting_switch = 75'000;
  int64_t dry_switch = 25'000;  // when the context that is left has nothing to do
  uint32_t sms = 132;
  uint32_t resident_blocks = 8;  // of an SM
};

// A copy has an engine of its own, which waits for nobody's time slice. A marker is stream-ordered
// work that no SM does. A wait is over when work of another stream is.
enum class Engine : uint8_t { kSms, kCopy, kMarker, kWait };

// One piece of work of a stream. Never changes while it is queued.
struct WorkItem {
  uint64_t id;         // the caller's; of a wait the number of what it waits for
  int64_t duration;    // alone on the GPU; 0 only for markers and copies
  int64_t visible_at;  // to the GPU; of one stream never descending
  uint32_t blocks;     // fewer than SMs: cannot fill the GPU. Of a wait: context << 16 | stream
  Engine engine;
};

// As many as a GPU's hardware has connections for.
inline constexpr uint32_t kTimedContexts = 64;
inline constexpr uint32_t kTimedStreams = 16;
inline constexpr uint32_t kQueueDepth = 2048;

// Work of a stream is numbered from 1, in the order in which it was given.
struct StreamState {
  uint64_t given = 0;
  uint64_t done = 0;
  // Of the first that is not done:
  double left = 0;
  double rate = 0;  // of what it would do alone; 0 = it does not run
  int64_t started_at = -1;
};

struct ContextState {
  uint32_t group = 0;
  uint32_t queued = 0;
  uint32_t streams = 0;       // that were ever used: those below this number
  double sm_part = 1;         // of the SMs, that all of the context gets at most
  uint32_t partition = 0;     // not 0: that is what all of the group with this number get together
  uint32_t below_normal = 0;  // it gets what the others of its group leave
  double served = 0;
  StreamState stream[kTimedStreams];
};

struct GpuState {
  GpuTiming timing;
  uint32_t contexts = 0;  // that were ever used: those below this number
  uint32_t current = 0;
  int64_t now = 0;
  int64_t next = kNothing;
  int64_t slice_end = 0;
  int64_t switching_until = 0;
  int64_t busy = 0;
  int64_t switching = 0;
  ContextState context[kTimedContexts];
};

// Works on one state. `items`: kTimedContexts x kTimedStreams rings of kQueueDepth, of which only
// those of contexts in use are touched.
class Arbiter {
 public:
  struct Done {
    uint32_t context, stream;
    uint64_t number;
    WorkItem item;
    int64_t started_at;
    int64_t at;
  };
  struct Running {
    StreamState* stream;
    uint32_t context;
    double weight;
    double demand;  // part of the GPU
    double share;
    bool full;
  };
  // Room to work in, kept from one use to the next.
  struct Scratch {
    std::vector<Running> running;
    std::vector<double> room, weight;
    std::vector<uint32_t> pool;  // by context: whose room it shares
  };

  Arbiter(GpuState* state, WorkItem* items, Scratch* scratch)
      : s_(*state), items_(items), scratch_(*scratch) {}

  // The context has nothing to do; it is a group of its own.
  void Clear(uint32_t context);
  // Gives work; its number. The stream has room for it. What it completes at once (a marker with
  // nothing before it) is appended.
  uint64_t Submit(uint32_t context, uint32_t stream, const WorkItem& item, std::vector<Done>* done);
  bool HasRoom(uint32_t context, uint32_t stream) const {
    const StreamState& s = s_.context[context].stream[stream];
    return s.given - s.done < kQueueDepth;
  }
  // Moves to `at`, not past `next`, and appends what completed there.
  void AdvanceTo(int64_t at, std::vector<Done>* done);
  // A context or a group changed: what runs is chosen anew.
  void Update(std::vector<Done>* done);

 private:
  WorkItem& ItemAt(uint32_t context, uint32_t stream, uint64_t number) const {
    return items_[(size_t{context} * kTimedStreams + stream) * kQueueDepth + number % kQueueDepth];
  }
  WorkItem& Head(uint32_t context, uint32_t stream) const {
    return ItemAt(context, stream, s_.context[context].stream[stream].done + 1);
  }
  bool Sliced() const { return s_.timing.sharing == Sharing::kTimeSlices; }
  bool MayRun(uint32_t context) const;
  bool HasWork(uint32_t context) const;
  uint32_t NextContext() const;
  void ChooseContext();
  void Pop(uint32_t context, uint32_t stream, std::vector<Done>* done);
  bool PopWhatTakesNoTime(std::vector<Done>* done);
  void Run(uint32_t context);
  void DealSms();

  GpuState& s_;
  WorkItem* items_;
  Scratch& scratch_;
};

}  // namespace tranche::sim
