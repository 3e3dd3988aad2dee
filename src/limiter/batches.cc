#include "limiter/libc.h"
#include "limiter/policy/memory_ledger.h"
#include "limiter/policy/mps_shares.h"
#include "limiter/state.h"

// Leases, and what is launched within them: the way of every launch.
namespace tranche::limiter {
namespace {

// One word of static TLS: found without a call, also in a library that was loaded late.
__attribute__((tls_model("initial-exec"))) thread_local Launcher* t_launcher;

constexpr int64_t kLookAgain = kMillisecond;

Launcher* OwnLauncher(Metering& metering) {
  Launcher* launcher = t_launcher;
  // A forked child finds it emptied; a thread that comes back after many others finds a stranger's.
  if (__builtin_expect(launcher != nullptr, 1) &&
      __atomic_load_n(&launcher->owner, __ATOMIC_RELAXED) == &t_launcher)
    return launcher;
  for (uint32_t i = 0; i < kMaxLaunchers; ++i) {
    Launcher& free = metering.launchers[i];
    if (!TryTake(&free)) continue;
    // One whose thread has nothing open may be gone; if not, it looks for another next time.
    const bool usable = free.owner == nullptr || (i + 1 == kMaxLaunchers && free.batch.open == 0);
    if (usable) {
      __atomic_store_n(&free.owner, &t_launcher, __ATOMIC_RELAXED);
      uint32_t count = __atomic_load_n(&metering.launcher_count, __ATOMIC_RELAXED);
      while (count <= i &&
             !__atomic_compare_exchange_n(&metering.launcher_count, &count, i + 1, false,
                                          __ATOMIC_RELEASE, __ATOMIC_RELAXED)) {
      }
      t_launcher = &free;
    }
    FreeLauncher(&free);
    if (usable) return &free;
  }
  return nullptr;
}

// What is recorded into a graph does not run.
bool IsCapturing(CUstream stream) {
  CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
  return REAL(cuStreamIsCapturing)(stream, &status) == CUDA_SUCCESS &&
         status != CU_STREAM_CAPTURE_STATUS_NONE;
}

// Until that kernel was measured, by whoever launched it first: of a kernel that nothing is known
// of, only one may be in flight.
void WaitUntilMeasured(Metering& metering, Prediction* cost) {
  for (;;) {
    const uint32_t seen = __atomic_load_n(&metering.done_word, __ATOMIC_ACQUIRE);
    if (Predictions::Measured(cost) || Predictions::Try(cost)) return;
    // With nothing in flight it was lost: a launch that failed, an entry that became another's.
    if (PollFlights(Seen::kByMarker) == kNever) {
      Predictions::GiveUp(cost);
      continue;
    }
    libc::FutexWaitUntil(&metering.done_word, seen, libc::Now() + kLookAgain);
  }
}

// So uncertain, and so long, that each launch deserves a marker of its own.
bool IsErratic(const Prediction* cost) {
  return Predictions::Erratic(cost) &&
         __atomic_load_n(&cost->deviation, __ATOMIC_RELAXED) > kMarkerEvery / 5;
}

// Above 0, also of an entry that is just becoming another kernel's.
int64_t MeanOf(const Prediction* cost) {
  const int64_t mean = Predictions::Expected(cost);
  return mean > 0 ? mean : kUnmeasuredUnit;
}

// What follows a copy waits for it anyway. Were its turn to begin before, others would wait too.
void WaitForCopy(Metering& metering, Launcher* own, CUstream stream) {
  if (own->copy.stream != stream) return;
  const Copy copy = own->copy;
  own->copy = {};
  if (__atomic_load_n(&metering.captures, __ATOMIC_RELAXED) == 0)
    REAL(cuEventSynchronize)(copy.done);
  ReturnEvent(metering, copy.done);
}

// The part of the GPU that one kernel fills, ppm: so many of its SMs get a block, of those that the
// server gives this client. Of a graph's kernels nothing is known; they count as filling all these.
uint32_t DemandOf(const KernelKey& key, uint32_t sms, uint32_t usable) {
  if (sms == 0) return static_cast<uint32_t>(kWhole);
  uint64_t filled = usable != 0 && usable < sms ? usable : sms;
  if (key.threads != 0 && key.blocks < filled) filled = key.blocks == 0 ? 1 : key.blocks;
  return static_cast<uint32_t>(static_cast<uint64_t>(kWhole) * filled / sms);
}

uint32_t FindStream(const Batch& batch, CUstream stream) {
  for (uint32_t i = 0; i < batch.streams; ++i) {
    if (batch.stream[i] == stream) return i;
  }
  return batch.streams;
}

uint32_t FindPart(const Batch& batch, const Prediction* cost) {
  for (uint32_t i = 0; i < batch.parts; ++i) {
    if (batch.part[i].what == cost) return i;
  }
  return batch.parts;
}

}  // namespace

bool TryTake(Launcher* launcher) {
  return __atomic_exchange_n(&launcher->busy, 1, __ATOMIC_ACQUIRE) == 0;
}

void FreeLauncher(Launcher* launcher) { __atomic_store_n(&launcher->busy, 0, __ATOMIC_RELEASE); }

LaunchTicket BeforeMetered(const KernelKey& key, CUstream stream) {
  State& state = TheState();
  Metering& metering = state.metering;
  const int32_t device = CurrentDevice(state);
  if (device < 0 || __atomic_load_n(&metering.closing, __ATOMIC_RELAXED) != 0) return {};
  Turnstile gate = GateOf(state, device);
  if (!gate.metered() || MemoryLedger::Load(&state.slice->devices[device].turns_off) != 0)
    return {};
  if (__atomic_load_n(&metering.captures, __ATOMIC_RELAXED) != 0 && IsCapturing(stream)) return {};
  Launcher* own = OwnLauncher(metering);
  // A launch within a launch is part of it.
  if (own == nullptr || own->launching != 0) return {};
  while (!TryTake(own)) __builtin_ia32_pause();
  own->launching = 1;
  Batch& batch = own->batch;
  Prediction* cost = metering.predictions.Find(key.Hash());
  bool unmeasured = !Predictions::Measured(cost);
  int64_t predicted = MeanOf(cost);
  if (__builtin_expect(unmeasured, 0)) {
    if (batch.open != 0) CloseBatch(&batch, false);
    WaitUntilMeasured(metering, cost);
    unmeasured = !Predictions::Measured(cost);
    predicted = MeanOf(cost);
  }
  uint32_t demand = static_cast<uint32_t>(kWhole);
  // Beside others nothing can be measured, so some launches have the GPU to themselves for it.
  if (__builtin_expect(gate.mps(), 0)) {
    demand = DemandOf(key, state.sms[device], state.usable_sms[device]);
    unmeasured = unmeasured ||
                 Predictions::DeservesSample(cost, own->launches++, batch.begun - own->sampled_at);
    if (unmeasured && batch.open != 0) CloseBatch(&batch, false);
  }
  const bool fits = batch.open != 0 && batch.device == device && batch.left >= predicted &&
                    batch.demand >= demand && FindStream(batch, stream) < kBatchStreams &&
                    FindPart(batch, cost) < kBatchKernels;
  if (!fits) {
    if (batch.open != 0) CloseBatch(&batch, false);
    int64_t lease = own->next_lease > kMarkerEvery ? kMarkerEvery : own->next_lease;
    // Whole launches: what is left over would be held in vain.
    lease = unmeasured || lease < predicted ? predicted : lease / predicted * predicted;
    if (__builtin_expect(own->copy.done != nullptr, 0)) WaitForCopy(metering, own, stream);
    batch.admission = gate.Enter(Unit{lease, own->went_on == 0, demand, !unmeasured});
    batch.demand = demand;
    batch.used = 0;
    batch.device = device;
    batch.context = nullptr;
    REAL(cuCtxGetCurrent)(&batch.context);
    batch.leased = batch.left = lease;
    batch.begun = libc::Now();
    if (unmeasured) own->sampled_at = batch.begun;
    batch.launches = batch.streams = batch.parts = batch.unmeasured = 0;
    __atomic_store_n(&batch.open, 1, __ATOMIC_RELEASE);
    MarkStart(&batch, stream);
    WatchFrom(batch.begun + kTailDelay);
  }
  return {own, key.threads == 0 ? nullptr : key.what, cost, stream, predicted, unmeasured, demand};
}

void AfterMetered(const LaunchTicket& ticket, CUresult answer) {
  Batch& batch = ticket.launcher->batch;
  if (__builtin_expect(answer == CUDA_SUCCESS, 1)) {
    const uint32_t stream = FindStream(batch, ticket.stream);
    const uint32_t part = FindPart(batch, ticket.cost);
    batch.stream[stream] = ticket.stream;
    if (stream == batch.streams) ++batch.streams;
    if (part == batch.parts) {
      batch.part[part] = {ticket.cost, 0, 0};
      ++batch.parts;
    }
    batch.used += MpsShares::Cost(ticket.predicted, ticket.demand);
    batch.part[part].predicted += ticket.predicted;
    ++batch.part[part].launches;
    batch.left -= ticket.predicted;
    batch.last = ticket.what;
    ticket.launcher->went_on = 1;
    __atomic_store_n(&batch.launches, batch.launches + 1, __ATOMIC_RELAXED);
    if (ticket.unmeasured || batch.left <= 0 || IsErratic(ticket.cost)) {
      batch.unmeasured = ticket.unmeasured;
      // Used up: the next may be larger.
      ticket.launcher->next_lease = 2 * batch.leased;
      CloseBatch(&batch, false);
    }
  } else {
    if (ticket.unmeasured) Predictions::GiveUp(ticket.cost);
    if (batch.launches == 0) CloseBatch(&batch, false);
  }
  ticket.launcher->launching = 0;
  FreeLauncher(ticket.launcher);
}

void BeforeWaiting() {
  Launcher* own = t_launcher;
  if (own == nullptr || own->owner != &t_launcher || own->batch.open == 0 || own->launching != 0)
    return;
  while (!TryTake(own)) __builtin_ia32_pause();
  if (own->batch.open != 0) {
    own->next_lease = own->batch.leased - own->batch.left;
    CloseBatch(&own->batch, false);
  }
  FreeLauncher(own);
}

void AfterWaiting() {
  if (t_launcher != nullptr && t_launcher->owner == &t_launcher) t_launcher->went_on = 0;
  if (__atomic_load_n(&TheState().metering.flying, __ATOMIC_RELAXED) != 0)
    PollFlights(Seen::kByWaiting);
}

void AfterCopy(CUstream stream) {
  State& state = TheState();
  Metering& metering = state.metering;
  const int32_t device = CurrentDevice(state);
  if (device < 0 || !GateOf(state, device).Contended()) return;
  // While something is captured, calls of ours would disturb it.
  if (__atomic_load_n(&metering.captures, __ATOMIC_RELAXED) != 0) return;
  BeforeWaiting();
  Launcher* own = OwnLauncher(metering);
  if (own == nullptr || own->launching != 0) return;
  CUcontext context = nullptr;
  REAL(cuCtxGetCurrent)(&context);
  CUevent done = TakeEvent(metering, context);
  if (done == nullptr) return;
  while (!TryTake(own)) __builtin_ia32_pause();
  if (REAL(cuEventRecord)(done, stream) == CUDA_SUCCESS) {
    const CUevent before = own->copy.done;
    own->copy = {done, stream, context};
    done = before;
  }
  FreeLauncher(own);
  ReturnEvent(metering, done);
}

void CloseStream(CUstream stream) {
  Metering& metering = TheState().metering;
  const uint32_t count = __atomic_load_n(&metering.launcher_count, __ATOMIC_ACQUIRE);
  for (uint32_t i = 0; i < count; ++i) {
    Launcher& launcher = metering.launchers[i];
    // Neither does one wait for its turn with a batch open.
    if (__atomic_load_n(&launcher.batch.open, __ATOMIC_ACQUIRE) == 0) continue;
    while (!TryTake(&launcher)) libc::Yield();
    Batch& batch = launcher.batch;
    if (batch.open != 0 && FindStream(batch, stream) < batch.streams)
      CloseBatch(&batch, launcher.owner != &t_launcher);
    FreeLauncher(&launcher);
  }
}

void CaptureBegan() { __atomic_fetch_add(&TheState().metering.captures, 1, __ATOMIC_SEQ_CST); }

void CaptureEnded() {
  uint32_t* captures = &TheState().metering.captures;
  uint32_t now = __atomic_load_n(captures, __ATOMIC_RELAXED);
  while (now != 0 && !__atomic_compare_exchange_n(captures, &now, now - 1, false, __ATOMIC_SEQ_CST,
                                                  __ATOMIC_RELAXED)) {
  }
}

}  // namespace tranche::limiter
