#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>
#include <vector>

#include "sim/gpu_time/arbiter.h"

// A GPU of one process alone, for the programs of a World.
namespace tranche::sim {

struct Work {
  uint32_t context;
  uint32_t stream;   // of the context, small
  uint64_t id;       // the caller's
  int64_t duration;  // alone on the GPU
  uint32_t blocks;   // fewer than SMs: cannot fill the GPU
  Engine engine;
  int64_t visible_at;  // to the GPU; of one stream never descending
};

class TimedGpu {
 public:
  struct Done {
    Work work;
    int64_t started_at;
  };

  TimedGpu(uint32_t contexts, GpuTiming timing);

  // Caps the part of the SMs that all of a context gets (MPS active thread percentage), 0..1.
  void SetSmPart(uint32_t context, double part) { state_->context[context].sm_part = part; }
  // That part is what all contexts with this number get together (MPS static partitions).
  void SetPartition(uint32_t context, uint32_t partition, double part) {
    state_->context[context].partition = partition;
    state_->context[context].sm_part = part;
  }
  // It gets what those of normal priority leave (MPS client priority).
  void SetBelowNormal(uint32_t context) { state_->context[context].below_normal = 1; }
  // Contexts of one group run at once, others in turns.
  void SetGroup(uint32_t context, uint32_t group) { state_->context[context].group = group; }

  void Submit(const Work& work);
  // When the state next changes by itself, kNothing if it will not.
  int64_t Next() const { return state_->next; }
  // Moves to `at`, not past Next(), and appends what completed there.
  void AdvanceTo(int64_t at, std::vector<Done>* done);

  // Nanoseconds of work done for a context, as it would take alone; without markers and copies.
  double served(uint32_t context) const { return state_->context[context].served; }
  // Nanoseconds in which an SM worked for anybody, and in which the GPU changed contexts.
  int64_t busy() const { return state_->busy; }
  int64_t switching() const { return state_->switching; }

 private:
  struct Free {
    void operator()(WorkItem* items) const { std::free(items); }
  };

  std::unique_ptr<GpuState> state_;
  std::unique_ptr<WorkItem, Free> items_;
  Arbiter::Scratch scratch_;
  Arbiter arbiter_;
  std::vector<Arbiter::Done> done_;
};

}  // namespace tranche::sim
