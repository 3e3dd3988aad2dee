#pragma once

#include <pthread.h>

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "sim/gpu_time/arbiter.h"

// The time of one GPU, or of one MIG device, as the contexts of all processes of a machine share
// it: who gives work, and who asks whether it is done, moves it on to the present.
//
// It lives in a file of the machine's folder, under a lock that is handed on when its holder dies.
// A change is made in a copy of the state and becomes valid with one store; work that is queued is
// written before that, where nobody looks. A process killed at any instant therefore leaves the old
// state or the new one.
namespace tranche::sim::cuda {

class SharedGpu {
 public:
  // That of the device, with as many SMs if this process is its first. nullptr when it cannot be
  // had. Stays for the life of the process; any thread.
  static SharedGpu* Get(const std::string& machine_folder, uint32_t gpu, uint64_t compute_instance,
                        uint32_t sms);

  struct Place {
    uint64_t group = 0;  // contexts of one run at once (an MPS server); 0 = it has turns of its own
    uint32_t partition = 0;  // of the group: its contexts together have at most sm_part; 0 = none
    double sm_part = 1;      // of the SMs, that it gets at most
    bool below_normal = false;  // it gets what those of normal priority leave
  };
  // A context of this process. False when there are too many.
  bool Attach(const Place& place, uint32_t* slot);
  // All that the context has not done will never be.
  void Detach(uint32_t slot);

  // The state at the present moment, to look at or to give work.
  class Present {
   public:
    explicit Present(SharedGpu* gpu);
    ~Present();
    Present(const Present&) = delete;
    Present& operator=(const Present&) = delete;

    uint64_t now() const { return static_cast<uint64_t>(state_->now); }
    const GpuState& state() const { return *state_; }
    // The number of the work.
    uint64_t Submit(uint32_t slot, uint32_t queue, const WorkItem& item);
    // What was queued with that number, if it is not one of the last kQueueDepth any more whose
    // room the next one takes: the number, and the item.
    const WorkItem* Outgoing(uint32_t slot, uint32_t queue, uint64_t* number) const;
    // Not before then is the work done; 0 when it is.
    uint64_t NotBefore(uint32_t slot, uint32_t queue, uint64_t number) const;

   private:
    friend class SharedGpu;
    SharedGpu* gpu_;
    GpuState* state_;
    Arbiter arbiter_;
  };

  // Work up to this number is known to be done. No lock; may lag behind.
  uint64_t KnownDone(uint32_t slot, uint32_t queue) const {
    return file_->done[slot][queue].load(std::memory_order_acquire);
  }
  // When that work was done: one of the last kQueueDepth of its queue, and known to be done.
  uint64_t DoneAt(uint32_t slot, uint32_t queue, uint64_t number) const {
    return file_->done_at[slot][queue][number % kQueueDepth].load(std::memory_order_relaxed);
  }

  // Nanoseconds of work done for a context, as it would take alone.
  double Served(uint32_t slot);
  // The same of all that live, by process.
  std::vector<std::pair<uint32_t, double>> ServedByProcess();

 private:
  struct Owner {
    uint32_t pid = 0;  // 0 = the slot is free
    uint64_t start_ticks = 0;
  };
  struct Copy {
    GpuState time;
    Owner owner[kTimedContexts];
    int64_t looked_for_dead_at = 0;
  };
  struct File {
    uint64_t magic;
    uint64_t size;
    pthread_mutex_t lock;
    std::atomic<uint32_t> valid;
    Copy copies[2];
    std::atomic<uint64_t> done[kTimedContexts][kTimedStreams];
    std::atomic<uint64_t> done_at[kTimedContexts][kTimedStreams][kQueueDepth];
    WorkItem items[kTimedContexts * kTimedStreams * kQueueDepth];
  };

  explicit SharedGpu(File* file) : file_(file) {}
  static File* Map(const std::string& folder, const std::string& name, uint32_t sms);
  void Lock();
  // Of the valid copy into the other one; that one.
  Copy* Draft();
  void Keep(const std::vector<Arbiter::Done>& done);
  void RemoveTheDead(Copy* draft);

  File* const file_;
  // With the lock held.
  bool all_stale_ = false;  // `done` may lack what a dead holder had still to write
  Copy* draft_ = nullptr;
  Arbiter::Scratch scratch_;
  std::vector<Arbiter::Done> done_;
};

}  // namespace tranche::sim::cuda
