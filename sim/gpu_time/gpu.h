#pragma once

#include <cstdint>
#include <deque>
#include <limits>
#include <vector>

// How a GPU divides its time among contexts. Assumed, not measured: quantum, switch costs and the
// way blocks are dealt out are parameters or said below. Knows nothing of limiters. Times are
// nanoseconds of the caller's virtual clock.
namespace tranche::sim {

constexpr int64_t kNothing = std::numeric_limits<int64_t>::max();

enum class Sharing {
  // One context at a time, round robin over those that have work, a quantum each. What a process
  // has alone (exclusive, or a MIG instance) is this with one context.
  kTimeSlices,
  // All contexts at once (MPS): the SMs go to the heads of all streams, in proportion to their
  // blocks as far as those can be resident, up to what each can use.
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
// work that no SM does.
enum class Engine : uint8_t { kSms, kCopy, kMarker };

struct Work {
  uint32_t context;
  uint32_t stream;   // of the context, small
  uint64_t id;       // the caller's
  int64_t duration;  // alone on the GPU
  uint32_t blocks;   // fewer than SMs: cannot fill the GPU
  Engine engine;
  int64_t visible_at;  // to the GPU; of one stream never descending
};

class Gpu {
 public:
  struct Done {
    Work work;
    int64_t started_at;
  };

  Gpu(uint32_t contexts, GpuTiming timing);

  // Caps the part of the SMs that all of a context gets (MPS active thread percentage), 0..1.
  void SetSmPart(uint32_t context, double part) { contexts_[context].sm_part = part; }

  void Submit(const Work& work);
  // When the state next changes by itself, kNothing if it will not.
  int64_t Next() const { return next_; }
  // Moves to `at`, not past Next(), and appends what completed there.
  void AdvanceTo(int64_t at, std::vector<Done>* done);

  // Nanoseconds of work done for a context, as it would take alone; without markers and copies.
  double served(uint32_t context) const { return contexts_[context].served; }
  // Nanoseconds in which an SM worked for anybody, and in which the GPU changed contexts.
  int64_t busy() const { return busy_; }
  int64_t switching() const { return switching_; }

 private:
  struct Item {
    Work work;
    double left;
    int64_t started_at;
  };
  struct Context {
    std::vector<std::deque<Item>> streams;
    double sm_part = 1;
    double served = 0;
    uint32_t queued = 0;
  };
  struct Running {
    Item* item;
    double rate;  // of what it would do alone
    double weight;
    double demand;  // part of the GPU
    double share;
    bool full;
  };

  bool HasWork(const Context& context) const;
  uint32_t NextContext() const;
  void ChooseContext();
  void Run(Context& context, bool sms);
  void DealSms();
  void Update();

  GpuTiming timing_;
  std::vector<Context> contexts_;
  std::vector<Running> running_;
  uint32_t current_ = 0;
  int64_t now_ = 0;
  int64_t next_ = kNothing;
  int64_t slice_end_ = 0;
  int64_t switching_until_ = 0;
  int64_t busy_ = 0;
  int64_t switching_ = 0;
};

}  // namespace tranche::sim
