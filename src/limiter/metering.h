#pragma once

#include <stdint.h>

#include "abi/cuda.h"
#include "limiter/lock.h"
#include "limiter/policy/predictions.h"
#include "limiter/policy/turns.h"
#include "limiter/turnstile.h"

// How this process measures what it gives to a GPU, and asks before it does.
//
// A thread takes a lease of GPU time at the gate and launches within it, touching nothing that
// others write. When the lease is used up, or the thread is about to wait, it puts a marker (an
// event) behind its work on every stream that it used: the batch is then in flight. Whoever sees
// the markers reached reports to the gate and learns what the kernels took: a thread that has
// waited for the GPU anyway, or the watcher, a thread of ours.
namespace tranche::limiter {

constexpr uint32_t kBatchStreams = 8;
constexpr uint32_t kBatchKernels = 16;
constexpr uint32_t kMaxLaunchers = 512;
constexpr uint32_t kMaxFlights = 1024;
constexpr uint32_t kMaxEvents = 2048;
// As CUDA numbers the default streams.
inline CUstream LegacyStream() { return reinterpret_cast<CUstream>(1); }
inline CUstream PerThreadStream() { return reinterpret_cast<CUstream>(2); }

// What is launched as one: a kernel in one shape, or a graph.
struct KernelKey {
  const void* what = nullptr;
  uint64_t blocks = 1;
  uint32_t threads = 1;  // of a block; 0: it is a graph
  uint32_t shared = 0;   // bytes

  uint64_t Hash() const {
    uint64_t x = reinterpret_cast<uint64_t>(what);
    x = (x ^ (x >> 30) ^ blocks << 20) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27) ^ threads ^ uint64_t{shared >> 10} << 32) * UINT64_C(0x94d049bb133111eb);
    return x ^ x >> 31;
  }
};

inline KernelKey GraphKey(CUgraphExec graph) { return {graph, 1, 0, 0}; }

// Work of one thread, from its lease to its markers.
struct Batch {
  uint32_t open;
  int32_t device;  // in the slice table
  CUcontext context;
  int64_t leased;  // ns
  int64_t left;    // of them
  int64_t begun;   // when the lease was taken
  Admission admission;
  int64_t used;  // under MPS: what its launches are charged, as far as they were measured before
  // The last kernel of it, while that is in flight, for its name; nullptr where it was a graph.
  const void* last;
  CUevent start;         // ahead of the first launch; nullptr: there is none
  CUevent before_start;  // ahead of that, while it is being learnt what a marker takes; or nullptr
  uint32_t launches;
  uint32_t unmeasured;  // it is one launch of which nothing was known
  uint32_t demand;      // under MPS, of the last launch: the part of the GPU that it fills, ppm
  uint32_t streams;
  uint32_t parts;
  CUstream stream[kBatchStreams];
  PredictedPart part[kBatchKernels];
};

// A copy to the GPU that this thread gave to a stream while others wanted the GPU.
struct Copy {
  CUevent done;  // nullptr: there is none
  CUstream stream;
  CUcontext context;
};

// A thread that launches. `busy` is taken for the length of a launch; the watcher, which closes
// what was left open, only tries.
struct alignas(64) Launcher {
  uint32_t busy;
  const void* owner;   // the address of the thread's own pointer to this; nullptr: nobody's yet
  uint32_t launching;  // the owner is between Before and After
  uint32_t went_on;    // since its last launch it has neither waited for the GPU nor asked
  uint64_t launches;   // under MPS
  int64_t sampled_at;  // likewise: when it last began one alone on the GPU, to be measured
  Batch batch;
  Copy copy;
  int64_t next_lease;  // as much as the last one used of its own, so that little is held in vain
  // The watcher's: how many launches it saw at its last look at this batch, and when it began to.
  uint32_t seen_launches;
  int64_t seen_at;
};

struct Flight {
  uint32_t state;
  uint32_t generation;  // of this entry's use
  Batch batch;
  uint32_t markers;
  uint32_t reached;  // a bit each
  uint32_t told;     // that it runs for too long
  CUevent marker[kBatchStreams];
};

struct EventSlot {
  CUevent event;
  CUcontext context;
  uint32_t used;
};

// The end of the last batch that was seen complete.
struct Landing {
  CUevent end;  // kept for the next one to be compared with; nullptr: none yet
  CUcontext context;
  int64_t seen_at;
  int64_t ended_at;  // when the GPU was done, by its own time stamps; else as seen_at
};

// What a marker takes of a stream's time: as little as was seen of the first ones, so that nobody
// is given back what it used.
struct MarkerTime {
  static constexpr uint32_t kSamples = 16;
  uint32_t samples;
  int64_t ns;
};

struct Metering {
  Predictions predictions;
  Launcher launchers[kMaxLaunchers];
  uint32_t launcher_count;  // of those ever used

  Lock flights_lock;  // the flights, the events and what was learnt of them
  uint32_t flight_count;
  uint32_t flying;
  Flight flights[kMaxFlights];
  EventSlot events[kMaxEvents];
  uint32_t event_count;
  Landing last_landing[16];  // by device
  MarkerTime marker_time[16];

  uint32_t done_word;  // changes with every batch that is done
  uint32_t captures;   // streams that capture now
  uint32_t closing;    // the process ends: no more calls of the watcher

  Lock watcher_lock;
  uint32_t watcher;       // 0 none, 1 runs, 2 cannot be
  uint32_t watcher_word;  // changes when it shall look
  int64_t watcher_wakes;  // when it will look anyway
  Lock round_lock;        // held by the watcher while it may call the driver
};

// Before and after a launch of a metered process. Before() may wait; After() must follow, with what
// the driver answered. `launcher` is nullptr when this launch is not metered.
struct LaunchTicket {
  Launcher* launcher = nullptr;
  const void* what = nullptr;
  Prediction* cost = nullptr;
  CUstream stream = nullptr;
  int64_t predicted = 0;
  bool unmeasured = false;
  uint32_t demand = 0;
};
LaunchTicket BeforeMetered(const KernelKey& key, CUstream stream);
void AfterMetered(const LaunchTicket& ticket, CUresult answer);

// The calling thread is about to wait for the GPU, or to change its context: what it has launched
// gets its markers now.
void BeforeWaiting();
// It has waited: what is done is reported at once.
void AfterWaiting();
// It has given the GPU a copy on that stream, which what follows there must wait for.
void AfterCopy(CUstream stream);
// No launch of any thread on that stream is left without a marker; before it is destroyed or begins
// to capture.
void CloseStream(CUstream stream);
// The context is gone, and all that ran in it.
void ForgetContext(CUcontext context);
void CaptureBegan();
void CaptureEnded();

// Within metering: batches, flights and the watcher.

// Puts a marker ahead of a batch that is about to begin on that stream.
void MarkStart(Batch* batch, CUstream stream);
// Puts the markers behind an open batch. `foreign`: the batch is not the calling thread's, whose
// context is another.
void CloseBatch(Batch* batch, bool foreign);
// Reports what is complete. When something may be complete next; kNever if nothing is in flight.
int64_t PollFlights(Seen seen);
// An event of that context, which is current; nullptr when there is none to be had.
CUevent TakeEvent(Metering& metering, CUcontext context);
void ReturnEvent(Metering& metering, CUevent event);
// The watcher looks again no later than at `when`.
void WatchFrom(int64_t when);
// Tries to take a launcher whoever it belongs to; Free() it then.
bool TryTake(Launcher* launcher);
void FreeLauncher(Launcher* launcher);

}  // namespace tranche::limiter
