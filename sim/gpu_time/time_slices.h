#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <optional>
#include <vector>

// How a GPU divides its time among contexts without MPS: one at a time, round robin over those that
// have work, a quantum each. Assumed, not measured: quantum and switch costs are parameters. Knows
// nothing of limiters. Times are nanoseconds of the caller's virtual clock.
namespace tranche::sim {

struct SliceTiming {
  int64_t quantum = 2'000'000;
  int64_t preempting_switch = 75'000;
  int64_t dry_switch = 25'000;  // when the context that is left has nothing to do
};

class TimeSlices {
 public:
  struct Done {
    uint32_t context;
    uint64_t id;
    int64_t at;
  };

  TimeSlices(uint32_t contexts, SliceTiming timing) : timing_(timing), queues_(contexts) {}

  // Work of `duration` that the GPU sees at the present time.
  void Submit(uint32_t context, uint64_t id, int64_t duration) {
    queues_[context].push_back({id, duration});
    Choose();
  }

  // When the state next changes by itself.
  std::optional<int64_t> Next() const {
    if (switching_until_ > now_) return switching_until_;
    if (queues_[running_].empty()) return std::nullopt;
    const int64_t done = now_ + queues_[running_].front().left;
    return OthersWait() && slice_end_ < done ? std::max(slice_end_, now_) : done;
  }

  // Moves to `at`, not past Next(); says what completed there.
  std::optional<Done> AdvanceTo(int64_t at) {
    const int64_t passed = at - now_;
    now_ = at;
    std::optional<Done> done;
    if (switching_until_ >= at && switching_until_ != 0) {
      switching_ += passed;
      if (switching_until_ == at) {
        switching_until_ = 0;
        slice_end_ = at + timing_.quantum;
      }
    } else if (!queues_[running_].empty()) {
      Work& work = queues_[running_].front();
      work.left -= passed;
      busy_ += passed;
      if (work.left == 0) {
        done = Done{running_, work.id, at};
        queues_[running_].pop_front();
      }
    }
    Choose();
    return done;
  }

  int64_t busy() const { return busy_; }
  int64_t switching() const { return switching_; }

 private:
  struct Work {
    uint64_t id;
    int64_t left;
  };

  bool OthersWait() const { return NextContext() != running_; }
  uint32_t NextContext() const {
    for (uint32_t step = 1; step < queues_.size(); ++step) {
      const auto i = static_cast<uint32_t>((running_ + step) % queues_.size());
      if (!queues_[i].empty()) return i;
    }
    return running_;
  }
  void Choose() {
    if (switching_until_ != 0) return;
    const bool dry = queues_[running_].empty();
    if (!OthersWait()) {
      if (!dry && slice_end_ <= now_) slice_end_ = now_ + timing_.quantum;
      return;
    }
    if (!dry && slice_end_ > now_) return;
    switching_until_ = now_ + (dry ? timing_.dry_switch : timing_.preempting_switch);
    running_ = NextContext();
  }

  SliceTiming timing_;
  std::vector<std::deque<Work>> queues_;
  uint32_t running_ = 0;
  int64_t now_ = 0;
  int64_t slice_end_ = 0;
  int64_t switching_until_ = 0;
  int64_t busy_ = 0;
  int64_t switching_ = 0;
};

}  // namespace tranche::sim
