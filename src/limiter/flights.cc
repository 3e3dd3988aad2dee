#include "limiter/libc.h"
#include "limiter/policy/mps_shares.h"
#include "limiter/state.h"

// Batches behind which there are markers: until they are seen complete.
namespace tranche::limiter {
namespace {

enum FlightState : uint32_t { kFree = 0, kFilling, kFlying, kLanding };

constexpr int64_t kShortestPoll = 10 * kMicrosecond;
// What is longer holds work of others.
constexpr int64_t kLongestMarker = 10 * kMicrosecond;
constexpr int64_t kLongestPoll = 1 * kMillisecond;
// A pause between two looks is no more than such a part of the time for which it has been due.
constexpr int64_t kPollPart = 32;

// Driver calls of ours must not disturb a capture of the program's: some are forbidden to every
// thread while one captures.
class CaptureApart {
 public:
  explicit CaptureApart(const Metering& metering)
      : apart_(__atomic_load_n(&metering.captures, __ATOMIC_RELAXED) != 0) {
    if (apart_) REAL(cuThreadExchangeStreamCaptureMode)(&mode_);
  }
  ~CaptureApart() {
    if (apart_) REAL(cuThreadExchangeStreamCaptureMode)(&mode_);
  }
  CaptureApart(const CaptureApart&) = delete;
  CaptureApart& operator=(const CaptureApart&) = delete;

 private:
  bool apart_;
  CUstreamCaptureMode mode_ = CU_STREAM_CAPTURE_MODE_RELAXED;
};

}  // namespace

CUevent TakeEvent(Metering& metering, CUcontext context) {
  EventSlot* empty = nullptr;
  {
    const Guard guard(metering.flights_lock);
    for (uint32_t i = 0; i < metering.event_count; ++i) {
      EventSlot& slot = metering.events[i];
      if (slot.used == 0 && slot.event != nullptr && slot.context == context) {
        slot.used = 1;
        return slot.event;
      }
      if (slot.event == nullptr && slot.used == 0 && empty == nullptr) empty = &slot;
    }
    if (empty == nullptr && metering.event_count < kMaxEvents)
      empty = &metering.events[metering.event_count++];
    if (empty == nullptr) return nullptr;
    empty->used = 1;
    empty->context = context;
  }
  CUevent event = nullptr;
  const bool made = REAL(cuEventCreate)(&event, CU_EVENT_DEFAULT) == CUDA_SUCCESS;
  const Guard guard(metering.flights_lock);
  empty->event = made ? event : nullptr;
  if (!made) empty->used = 0;
  return empty->event;
}

namespace {

// With the lock held.
void GiveBackEvent(Metering& metering, CUevent event) {
  if (event == nullptr) return;
  for (uint32_t i = 0; i < metering.event_count; ++i) {
    if (metering.events[i].event == event) metering.events[i].used = 0;
  }
}

}  // namespace

void ReturnEvent(Metering& metering, CUevent event) {
  const Guard guard(metering.flights_lock);
  GiveBackEvent(metering, event);
}

namespace {

Flight* TakeFlight(Metering& metering) {
  const Guard guard(metering.flights_lock);
  for (uint32_t i = 0; i < kMaxFlights; ++i) {
    if (metering.flights[i].state != kFree) continue;
    if (i >= metering.flight_count) metering.flight_count = i + 1;
    metering.flights[i].state = kFilling;
    ++metering.flights[i].generation;
    return &metering.flights[i];
  }
  return nullptr;
}

bool Reached(CUevent marker) { return REAL(cuEventQuery)(marker) != CUDA_ERROR_NOT_READY; }

// From one reached marker to another, ns; negative when the second was first.
bool Between(CUevent from, CUevent to, int64_t* ns) {
  float milliseconds = 0;
  if (REAL(cuEventElapsedTime)(&milliseconds, from, to) != CUDA_SUCCESS) return false;
  *ns = static_cast<int64_t>(static_cast<double>(milliseconds) * 1e6);
  return true;
}

// A sample of what a marker takes, where the flight holds one.
void LearnMarkerTime(Metering& metering, const Batch& batch) {
  int64_t apart = 0;
  if (batch.before_start == nullptr || batch.start == nullptr ||
      !Between(batch.before_start, batch.start, &apart))
    return;
  if (apart < 0 || apart > kLongestMarker) return;
  const Guard guard(metering.flights_lock);
  MarkerTime& known = metering.marker_time[batch.device];
  if (known.samples == 0 || apart < known.ns) known.ns = apart;
  __atomic_store_n(&known.samples, known.samples + 1, __ATOMIC_RELAXED);
}

// For how long the GPU worked on the flight that it had not worked on the one that landed before;
// negative when that cannot be told. `marker`: what its own marker takes of that. `end`: the marker
// that was reached last.
int64_t GpuTime(const Flight& flight, const Landing& before, int64_t marker, CUevent* end) {
  *end = flight.marker[0];
  for (uint32_t i = 1; i < flight.markers; ++i) {
    int64_t later = 0;
    if (!Between(*end, flight.marker[i], &later)) return -1;
    if (later > 0) *end = flight.marker[i];
  }
  int64_t took = 0, since_last = 0;
  if (flight.batch.start == nullptr || !Between(flight.batch.start, *end, &took)) return -1;
  if (before.end != nullptr && before.context == flight.batch.context) {
    if (!Between(before.end, *end, &since_last)) return -1;
    if (since_last < took) took = since_last;
  }
  return took < marker ? 0 : took - marker;
}

// With others on the GPU the time stamps hold their part as well.
void Learn(const Batch& batch, int64_t took, bool alone) {
  if (alone) {
    if (batch.unmeasured != 0 && batch.parts != 0) Predictions::Sampled(batch.part[0].what, took);
    Predictions::Learn(batch.part, batch.parts, took);
  } else if (batch.unmeasured != 0 && batch.parts != 0) {
    Predictions::GiveUp(batch.part[0].what);
  }
}

// One launch, in flight for so long that nobody could be given a turn: which kernel it is. Asked
// while it runs, when nobody can have unloaded it; a driver before 12.3 does not say.
void TellTooLong(State& state, const Flight& flight) {
  ComputeCounters& counters = *GateOf(state, flight.batch.device).counters();
  __atomic_fetch_add(&counters.unenforceable, 1, __ATOMIC_RELAXED);
  // In the slice's own table, whoever has the GPU's.
  UnenforceableKernel& kernel = ComputeOf(&state.slice->devices[flight.batch.device])->kernel;
  uint32_t nobody = 0;
  if (!__atomic_compare_exchange_n(&kernel.told, &nobody, UnenforceableKernel::kWriting, false,
                                   __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
    return;
  const char* name = flight.batch.last == nullptr ? "a CUDA graph" : "";
  auto* function = static_cast<CUfunction>(const_cast<void*>(flight.batch.last));
  if (function != nullptr && REAL(cuFuncGetName)(&name, function) != CUDA_SUCCESS) name = "";
  for (uint32_t i = 0; i + 1 < sizeof(kernel.name) && name[i] != 0; ++i) kernel.name[i] = name[i];
  __atomic_store_n(&kernel.told, UnenforceableKernel::kWritten, __ATOMIC_RELEASE);
}

// What its kernels take alone, as far as that was measured.
int64_t SoloOf(const Batch& batch) {
  int64_t solo = 0;
  for (uint32_t i = 0; i < batch.parts; ++i) solo += batch.part[i].predicted;
  return batch.unmeasured != 0 ? 0 : solo;
}

// Ends a flight that was seen complete.
void Land(State& state, Flight* flight, Seen seen) {
  Metering& metering = state.metering;
  const int32_t device = flight->batch.device;
  const Admission admission = flight->batch.admission;
  Landing before;
  int64_t marker = 0;
  LearnMarkerTime(metering, flight->batch);
  {
    const Guard guard(metering.flights_lock);
    before = metering.last_landing[device];
    marker = metering.marker_time[device].ns;
  }
  const int64_t now = libc::Now();
  Landing landing = {nullptr, flight->batch.context, now, now};
  const int64_t took = GpuTime(*flight, before, marker, &landing.end);
  if (took >= 0) {
    const int64_t from =
        before.ended_at > flight->batch.begun ? before.ended_at : flight->batch.begun;
    if (from + took < now) landing.ended_at = from + took;
  }
  const int64_t begun = before.seen_at > flight->batch.begun ? before.seen_at : flight->batch.begun;
  Turnstile gate = GateOf(state, device);
  const int64_t solo = SoloOf(flight->batch);
  // One that was known to be so long was not looked at while it ran.
  if (flight->told == 0 && flight->batch.launches == 1 && landing.seen_at - begun >= kOverlapAfter)
    __atomic_fetch_add(&gate.counters()->unenforceable, 1, __ATOMIC_RELAXED);
  const int64_t observed = took >= 0 ? took : landing.seen_at - begun;
  const bool alone = gate.AloneSince(flight->batch.admission);
  Learn(flight->batch, observed, alone);
  {
    const Guard guard(metering.flights_lock);
    for (uint32_t i = 0; i < flight->markers; ++i) {
      if (flight->marker[i] != landing.end) GiveBackEvent(metering, flight->marker[i]);
    }
    GiveBackEvent(metering, flight->batch.start);
    GiveBackEvent(metering, flight->batch.before_start);
    // Another thread may have landed a later one meanwhile; either will do.
    GiveBackEvent(metering, metering.last_landing[device].end);
    metering.last_landing[device] = landing;
    flight->state = kFree;
    --metering.flying;
  }
  const bool measured_now = alone && flight->batch.unmeasured != 0;
  const int64_t used =
      measured_now ? MpsShares::Cost(observed, flight->batch.demand) : flight->batch.used;
  gate.Leave({admission.admitted, took, solo, seen, used});
  __atomic_fetch_add(&metering.done_word, 1, __ATOMIC_RELEASE);
  libc::FutexWake(&metering.done_word);
}

}  // namespace

namespace {

// nullptr when there is none to be had, or the driver refused it.
CUevent PutMarker(Metering& metering, CUcontext context, CUstream stream) {
  CUevent event = TakeEvent(metering, context);
  if (event == nullptr || REAL(cuEventRecord)(event, stream) == CUDA_SUCCESS) return event;
  ReturnEvent(metering, event);
  return nullptr;
}

}  // namespace

void MarkStart(Batch* batch, CUstream stream) {
  Metering& metering = TheState().metering;
  const MarkerTime& known = metering.marker_time[batch->device];
  const bool learns = __atomic_load_n(&known.samples, __ATOMIC_RELAXED) < MarkerTime::kSamples;
  batch->before_start = learns ? PutMarker(metering, batch->context, stream) : nullptr;
  batch->start = PutMarker(metering, batch->context, stream);
}

namespace {

// How long after its begin it is worth to look whether a closed batch is complete: while somebody
// waits for that, as soon as it may be.
int64_t LookAfter(State& state, const Batch& batch) {
  int64_t earliest = batch.leased - batch.left;
  if (!GateOf(state, batch.device).Contended()) return earliest;
  for (uint32_t i = 0; i < batch.parts; ++i) earliest -= Predictions::Doubt(batch.part[i]);
  return earliest < 0 ? 0 : earliest;
}

}  // namespace

void CloseBatch(Batch* batch, bool foreign) {
  State& state = TheState();
  Metering& metering = state.metering;
  const CaptureApart apart(metering);
  if (foreign) REAL(cuCtxPushCurrent_v2)(batch->context);
  Flight* flight = batch->launches == 0 ? nullptr : TakeFlight(metering);
  uint32_t markers = 0;
  for (uint32_t i = 0; flight != nullptr && i < batch->streams; ++i) {
    // Another thread's own default stream cannot be named; the legacy one comes after it.
    CUstream stream = batch->stream[i];
    if (foreign && stream == PerThreadStream()) stream = LegacyStream();
    CUevent event = PutMarker(metering, batch->context, stream);
    if (event != nullptr) flight->marker[markers++] = event;
  }
  if (foreign) {
    CUcontext same = nullptr;
    REAL(cuCtxPopCurrent_v2)(&same);
  }
  const int32_t device = batch->device;
  const Admission admission = batch->admission;
  const int64_t expected = batch->begun + LookAfter(state, *batch), used = batch->used;
  if (flight != nullptr) {
    flight->batch = *batch;
    flight->markers = markers;
    flight->reached = flight->told = 0;
    const Guard guard(metering.flights_lock);
    flight->state = markers != 0 ? kFlying : kFree;
    if (markers != 0) ++metering.flying;
  }
  __atomic_store_n(&batch->open, 0, __ATOMIC_RELEASE);
  if (flight != nullptr && markers != 0) {
    WatchFrom(expected);
    return;
  }
  // Nothing was launched, or nothing will tell when it is done.
  for (uint32_t i = 0; i < batch->parts; ++i) Predictions::GiveUp(batch->part[i].what);
  ReturnEvent(metering, batch->start);
  ReturnEvent(metering, batch->before_start);
  GateOf(state, device).Leave({admission.admitted, -1, 0, Seen::kByMarker, used});
}

namespace {

// Where in the order of beginning a flight is; of those that began at once, by index.
struct Begun {
  int64_t begun;
  uint32_t index;
};

// The next flight after `place` in the order in which they began, which is that in which a stream
// completes them: each is charged from where the one before it ended. False: there is none.
bool NextFlight(Metering& metering, uint32_t flights, Begun* place) {
  const Guard guard(metering.flights_lock);
  const Begun after = *place;
  bool found = false;
  for (uint32_t i = 0; i < flights; ++i) {
    const Flight& flight = metering.flights[i];
    if (flight.state != kFlying) continue;
    const int64_t begun = flight.batch.begun;
    if (begun < after.begun || (begun == after.begun && i <= after.index)) continue;
    if (found && begun >= place->begun) continue;
    *place = {begun, i};
    found = true;
  }
  return found;
}

// When to look again at what is not complete, of which this and that is due at some time. The
// longer it has been due, the less often it is worth to look.
class Looks {
 public:
  explicit Looks(int64_t now) : now_(now) {}

  void Due(int64_t at) {
    if (at > now_ && at < next_) next_ = at;
    if (at <= now_ && at > last_) last_ = at;
  }

  int64_t Next(bool landed) const {
    if (last_ == 0) return next_ != kNever || !landed ? next_ : now_ + kShortestPoll;
    int64_t pause = (now_ - last_) / kPollPart;
    if (pause < kShortestPoll) pause = kShortestPoll;
    if (pause > kLongestPoll) pause = kLongestPoll;
    return now_ + pause < next_ ? now_ + pause : next_;
  }

 private:
  int64_t now_;
  int64_t last_ = 0;
  int64_t next_ = kNever;
};

}  // namespace

int64_t PollFlights(Seen by) {
  State& state = TheState();
  Metering& metering = state.metering;
  const CaptureApart apart(metering);
  Looks looks(libc::Now());
  bool landed = false;
  const uint32_t flights = __atomic_load_n(&metering.flight_count, __ATOMIC_ACQUIRE);
  for (Begun place = {INT64_MIN, 0}; NextFlight(metering, flights, &place);) {
    Flight& flight = metering.flights[place.index];
    Flight seen;
    {
      const Guard guard(metering.flights_lock);
      if (flight.state != kFlying) continue;
      seen = flight;
    }
    for (uint32_t k = 0; k < seen.markers; ++k) {
      if ((seen.reached & (1u << k)) == 0 && Reached(seen.marker[k])) seen.reached |= 1u << k;
    }
    bool lands = false, tells = false;
    {
      const Guard guard(metering.flights_lock);
      // Somebody else may have been quicker.
      if (flight.state != kFlying || flight.generation != seen.generation) continue;
      flight.reached |= seen.reached;
      lands = flight.reached == (1u << flight.markers) - 1;
      if (lands) flight.state = kLanding;
      const int64_t before = metering.last_landing[flight.batch.device].ended_at;
      const int64_t begun = flight.batch.begun > before ? flight.batch.begun : before;
      if (!lands) looks.Due(begun + LookAfter(state, flight.batch));
      tells = !lands && flight.told == 0 && flight.batch.launches == 1 &&
              libc::Now() - begun >= kOverlapAfter;
      if (tells) flight.told = 1;
    }
    if (tells) TellTooLong(state, seen);
    if (lands) Land(state, &flight, by);
    landed = landed || lands;
  }
  return looks.Next(landed);
}

void ForgetContext(CUcontext context) {
  State& state = TheState();
  Metering& metering = state.metering;
  const uint32_t launchers = __atomic_load_n(&metering.launcher_count, __ATOMIC_ACQUIRE);
  for (uint32_t i = 0; i < launchers; ++i) {
    Launcher& launcher = metering.launchers[i];
    if (__atomic_load_n(&launcher.batch.open, __ATOMIC_ACQUIRE) == 0) continue;
    while (!TryTake(&launcher)) libc::Yield();
    Batch& batch = launcher.batch;
    if (batch.open != 0 && batch.context == context) {
      // No marker can be put any more.
      batch.streams = 0;
      CloseBatch(&batch, false);
    }
    FreeLauncher(&launcher);
  }
  for (uint32_t i = 0; i < launchers; ++i) {
    Launcher& launcher = metering.launchers[i];
    while (!TryTake(&launcher)) libc::Yield();
    if (launcher.copy.context == context) launcher.copy = {};
    FreeLauncher(&launcher);
  }
  for (uint32_t i = 0; i < metering.flight_count; ++i) {
    Flight& flight = metering.flights[i];
    {
      const Guard guard(metering.flights_lock);
      if (flight.state != kFlying || flight.batch.context != context) continue;
      flight.state = kLanding;
    }
    Land(state, &flight, Seen::kByMarker);
  }
  // Events die with their context.
  const Guard guard(metering.flights_lock);
  for (uint32_t i = 0; i < metering.event_count; ++i) {
    if (metering.events[i].context == context) metering.events[i] = {};
  }
  for (Landing& landing : metering.last_landing) {
    if (landing.context == context) landing = {};
  }
}

}  // namespace tranche::limiter
