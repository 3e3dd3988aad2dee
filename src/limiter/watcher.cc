#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>

#include "limiter/libc.h"
#include "limiter/old_glibc.h"
#include "limiter/state.h"

// A thread of ours in the program: it sees what is complete when nobody else looks, puts markers
// behind work whose thread has gone on to other things, and keeps the gate's deadlines. It begins
// with the first metered launch, takes no signal, and is not heard of by the program.
extern "C" int __cxa_atexit(void (*)(void*), void*, void*);
extern "C" void* __dso_handle;

namespace tranche::limiter {
namespace {

enum : uint32_t { kNone = 0, kRuns, kCannot };

constexpr size_t kStack = 256 << 10;
// After the last work it goes on looking for so long, so that a thread that launches now and then
// need not wake it each time.
constexpr int64_t kLinger = 5 * kMillisecond;

// Batches that were left open; when to look again.
int64_t CloseTails(Metering& metering, int64_t now) {
  int64_t next = kNever;
  const uint32_t count = __atomic_load_n(&metering.launcher_count, __ATOMIC_ACQUIRE);
  for (uint32_t i = 0; i < count; ++i) {
    Launcher& launcher = metering.launchers[i];
    if (__atomic_load_n(&launcher.batch.open, __ATOMIC_ACQUIRE) == 0) continue;
    const uint32_t launches = __atomic_load_n(&launcher.batch.launches, __ATOMIC_RELAXED);
    if (launches != launcher.seen_launches || launcher.seen_at < launcher.batch.begun) {
      launcher.seen_launches = launches;
      launcher.seen_at = now;
    }
    if (now - launcher.seen_at >= kTailDelay && TryTake(&launcher)) {
      if (launcher.batch.open != 0 && launcher.batch.launches == launches)
        CloseBatch(&launcher.batch, true);
      FreeLauncher(&launcher);
    }
    if (now + kTailDelay < next) next = now + kTailDelay;
  }
  return next;
}

void* Watch(void*) {
  prctl(PR_SET_NAME, "tranche");
  // Nanoseconds: the usual slack of 50 us is ten times what a look may come late.
  prctl(PR_SET_TIMERSLACK, 1000UL);
  State& state = TheState();
  Metering& metering = state.metering;
  int64_t active_until = 0;
  for (;;) {
    const uint32_t seen = __atomic_load_n(&metering.watcher_word, __ATOMIC_ACQUIRE);
    // Whoever comes while this round looks must say so: the round may have looked there already.
    __atomic_store_n(&metering.watcher_wakes, kNever, __ATOMIC_SEQ_CST);
    int64_t next = kNever;
    {
      const Guard guard(metering.round_lock);
      if (__atomic_load_n(&metering.closing, __ATOMIC_ACQUIRE) != 0) return nullptr;
      const int64_t now = libc::Now();
      const int64_t tails = CloseTails(metering, now);
      const int64_t flights = PollFlights(Seen::kByMarker);
      next = tails < flights ? tails : flights;
      if (next != kNever) active_until = now + kLinger;
      for (uint32_t i = 0; i < state.slice->device_count && i < TRANCHE_SLICE_DEVICES; ++i) {
        Turnstile gate = GateOf(state, static_cast<int32_t>(i));
        const int64_t due = gate.metered() && now < active_until ? gate.Tick() : kNever;
        if (due < next) next = due;
      }
      if (now < active_until && now + kTailDelay < next) next = now + kTailDelay;
    }
    __atomic_store_n(&metering.watcher_wakes, next, __ATOMIC_SEQ_CST);
    libc::FutexWaitUntil(&metering.watcher_word, seen, next);
  }
}

// Registered after the driver was opened, so it runs before whatever the driver does at exit.
void AtExit(void*) {
  Metering& metering = TheState().metering;
  __atomic_store_n(&metering.closing, 1, __ATOMIC_SEQ_CST);
  const Guard guard(metering.round_lock);
}

void Start(Metering& metering) {
  const Guard guard(metering.watcher_lock);
  if (metering.watcher != kNone) return;
  const int before = errno;
  sigset_t all, old;
  sigfillset(&all);
  sigprocmask(SIG_BLOCK, &all, &old);
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
  pthread_attr_setstacksize(&attributes, kStack);
  pthread_t thread;
  int failed = pthread_create(&thread, &attributes, Watch, nullptr);
  // A program with much static TLS needs more for it.
  if (failed == EINVAL) {
    pthread_attr_setstacksize(&attributes, 64 * kStack);
    failed = pthread_create(&thread, &attributes, Watch, nullptr);
  }
  pthread_attr_destroy(&attributes);
  sigprocmask(SIG_SETMASK, &old, nullptr);
  errno = before;
  if (failed == 0) __cxa_atexit(AtExit, nullptr, &__dso_handle);
  __atomic_store_n(&metering.watcher, failed == 0 ? kRuns : kCannot, __ATOMIC_RELEASE);
}

}  // namespace

void WatchFrom(int64_t when) {
  Metering& metering = TheState().metering;
  if (__atomic_load_n(&metering.watcher, __ATOMIC_ACQUIRE) == kNone) Start(metering);
  const int64_t wakes = __atomic_load_n(&metering.watcher_wakes, __ATOMIC_SEQ_CST);
  if (wakes != 0 && wakes <= when) return;
  __atomic_fetch_add(&metering.watcher_word, 1, __ATOMIC_SEQ_CST);
  libc::FutexWake(&metering.watcher_word);
}

}  // namespace tranche::limiter
