// libtranche-sim-clock.so: what `tranche-sim exec` loads into every process of a machine with a
// clock of its own. Where a process takes part in that clock (it has called cuInit), its threads
// read it, sleep and wait by it; all others go on as they are, but wake those who wait by it.
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "sim/clock/virtual_clock.h"

#define PRELOADED extern "C" __attribute__((visibility("default")))

namespace {

using tranche::sim::VirtualClock;

// One object, made by the first call or by the loader, whichever comes first; never destroyed.
VirtualClock* Clock() {
  static VirtualClock* const clock = [] {
    const char* folder = getenv("TRANCHE_SIM_DIR");
    VirtualClock* opened = folder == nullptr ? nullptr : VirtualClock::Open(folder);
    if (opened != nullptr) {
      static VirtualClock* own = opened;
      pthread_atfork(nullptr, nullptr, [] { own->Forget(); });
    }
    return opened;
  }();
  return clock;
}

// A test may have a process killed as it comes to the clock for the N-th time, in the middle of
// whatever it was doing: TRANCHE_SIM_CLOCK_DIE_AT.
uint64_t die_at = 0, came = 0;
__attribute__((constructor)) void ReadDieAt() {
  const char* number = getenv("TRANCHE_SIM_CLOCK_DIE_AT");
  if (number != nullptr) die_at = strtoull(number, nullptr, 10);
}

// That of a process that takes part; nullptr for all others.
VirtualClock* Joined() {
  VirtualClock* clock = Clock();
  if (clock == nullptr || !clock->joined()) return nullptr;
  if (__builtin_expect(die_at != 0, 0) && __atomic_add_fetch(&came, 1, __ATOMIC_RELAXED) == die_at)
    kill(getpid(), SIGKILL);
  return clock;
}

template <typename Function>
Function Next(const char* name, const char* version = nullptr) {
  void* next = version == nullptr ? dlsym(RTLD_NEXT, name) : dlvsym(RTLD_NEXT, name, version);
  return reinterpret_cast<Function>(next != nullptr ? next : dlsym(RTLD_NEXT, name));
}
#define NEXT(name) static const auto next = Next<decltype(&name)>(#name)
// Where glibc has an older one of the name.
#define NEXT_VERSION(name, version) static const auto next = Next<decltype(&name)>(#name, version)

int64_t Nanoseconds(const timespec& time) {
  return static_cast<int64_t>(time.tv_sec) * 1000000000 + time.tv_nsec;
}
timespec Time(int64_t ns) {
  return {static_cast<time_t>(ns / 1000000000), static_cast<long>(ns % 1000000000)};
}
bool IsValid(const timespec* time) {
  return time != nullptr && time->tv_sec >= 0 && time->tv_nsec >= 0 && time->tv_nsec < 1000000000;
}
bool IsMonotonic(clockid_t clock) {
  return clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_RAW ||
         clock == CLOCK_MONOTONIC_COARSE || clock == CLOCK_BOOTTIME;
}
bool IsReal(clockid_t clock) { return clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE; }

// An instant of a clock as one of ours.
int64_t Instant(const VirtualClock& clock, clockid_t id, const timespec& time) {
  return Nanoseconds(time) - (IsReal(id) ? clock.RealTime() : 0);
}

int Sleep(VirtualClock* clock, int64_t until, timespec* left) {
  clock->SleepUntil(until);
  if (left != nullptr) *left = {};
  return 0;
}

// As the kernel has it; sets errno.
long Futex(VirtualClock* clock, uint32_t* word, int operation, uint32_t value,
           const timespec* timeout) {
  const bool shared = (operation & FUTEX_PRIVATE_FLAG) == 0;
  const bool real = (operation & FUTEX_CLOCK_REALTIME) != 0;
  int64_t until = VirtualClock::kNever;
  if (timeout != nullptr) {
    if (!IsValid(timeout)) {
      errno = EINVAL;
      return -1;
    }
    until = (operation & FUTEX_CMD_MASK) == FUTEX_WAIT
                ? clock->Now() + Nanoseconds(*timeout)
                : Instant(*clock, real ? CLOCK_REALTIME : CLOCK_MONOTONIC, *timeout);
  }
  const int answer = clock->Wait(word, value, until, shared);
  if (answer == 0) return 0;
  errno = answer;
  return -1;
}

int WaitForCondition(VirtualClock* clock, pthread_cond_t* condition, pthread_mutex_t* mutex,
                     int64_t until) {
  clock->BeginWait(condition, until);
  pthread_mutex_unlock(mutex);
  const int answer = clock->FinishWait();
  pthread_mutex_lock(mutex);
  return answer;
}

struct Begin {
  void* (*function)(void*);
  void* argument;
  uint32_t place;
};

void* BeginThread(void* argument) {
  auto* given = static_cast<Begin*>(argument);
  const Begin begin = *given;
  free(given);
  if (VirtualClock* clock = Joined()) clock->Take(begin.place);
  return begin.function(begin.argument);
}

// Before any thread is there.
__attribute__((constructor)) void AtBegin() { Clock(); }

__attribute__((destructor)) void AtEnd() {
  if (VirtualClock* clock = Joined()) clock->Leave();
}

}  // namespace

PRELOADED VirtualClock* tranche_sim_clock_of_process(void) { return Clock(); }

PRELOADED int clock_gettime(clockid_t id, timespec* time) noexcept {
  VirtualClock* clock = IsMonotonic(id) || IsReal(id) ? Joined() : nullptr;
  if (clock == nullptr) {
    NEXT(clock_gettime);
    return next(id, time);
  }
  clock->NoteRead();
  *time = Time(clock->Now() + (IsReal(id) ? clock->RealTime() : 0));
  return 0;
}

PRELOADED int gettimeofday(timeval* __restrict time, void* __restrict zone) noexcept {
  VirtualClock* clock = Joined();
  if (clock == nullptr) {
    static const auto next = Next<int (*)(timeval*, void*)>("gettimeofday");
    return next(time, zone);
  }
  clock->NoteRead();
  const int64_t now = clock->Now() + clock->RealTime();
  *time = {static_cast<time_t>(now / 1000000000), static_cast<suseconds_t>(now / 1000 % 1000000)};
  return 0;
}

PRELOADED int nanosleep(const timespec* time, timespec* left) {
  VirtualClock* clock = Joined();
  if (clock != nullptr && IsValid(time))
    return Sleep(clock, clock->Now() + Nanoseconds(*time), left);
  NEXT(nanosleep);
  return next(time, left);
}

PRELOADED int clock_nanosleep(clockid_t id, int flags, const timespec* time, timespec* left) {
  VirtualClock* clock = IsMonotonic(id) || IsReal(id) ? Joined() : nullptr;
  if (clock == nullptr || !IsValid(time)) {
    NEXT(clock_nanosleep);
    return next(id, flags, time, left);
  }
  const bool absolute = (flags & TIMER_ABSTIME) != 0;
  return Sleep(clock, absolute ? Instant(*clock, id, *time) : clock->Now() + Nanoseconds(*time),
               absolute ? nullptr : left);
}

PRELOADED int usleep(useconds_t time) {
  VirtualClock* clock = Joined();
  if (clock != nullptr) return Sleep(clock, clock->Now() + int64_t{time} * 1000, nullptr);
  NEXT(usleep);
  return next(time);
}

PRELOADED unsigned int sleep(unsigned int time) {
  VirtualClock* clock = Joined();
  if (clock != nullptr) {
    clock->SleepUntil(clock->Now() + int64_t{time} * 1000000000);
    return 0;
  }
  NEXT(sleep);
  return next(time);
}

PRELOADED int sched_yield(void) noexcept {
  if (VirtualClock* clock = Joined()) {
    clock->Spend(1000);
    return 0;
  }
  NEXT(sched_yield);
  return next();
}

PRELOADED long syscall(long number, ...) noexcept {
  va_list list;
  va_start(list, number);
  long a[6];
  for (long& argument : a) argument = va_arg(list, long);
  va_end(list);
  using Call = long (*)(long, long, long, long, long, long, long);
  static const auto next = Next<Call>("syscall");
  if (number == SYS_futex) {
    auto* word = reinterpret_cast<uint32_t*>(a[0]);
    const int operation = static_cast<int>(a[1]), command = operation & FUTEX_CMD_MASK;
    const auto value = static_cast<uint32_t>(a[2]);
    if (command == FUTEX_WAIT || command == FUTEX_WAIT_BITSET) {
      if (VirtualClock* clock = Joined())
        return Futex(clock, word, operation, value, reinterpret_cast<const timespec*>(a[3]));
    } else if (command == FUTEX_WAKE || command == FUTEX_WAKE_BITSET) {
      VirtualClock* clock = Clock();
      const bool shared = (operation & FUTEX_PRIVATE_FLAG) == 0;
      // Private words of a process that takes no part are its own business.
      if (clock != nullptr && (shared || clock->joined())) {
        const int woken = clock->Wake(word, static_cast<int>(value), shared);
        if (woken >= static_cast<int>(value)) return woken;
        const long others = next(number, a[0], a[1], a[2] - woken, a[3], a[4], a[5]);
        return others < 0 ? others : others + woken;
      }
    }
  }
  return next(number, a[0], a[1], a[2], a[3], a[4], a[5]);
}

PRELOADED int pthread_create(pthread_t* thread, const pthread_attr_t* attributes,
                             void* (*function)(void*), void* argument) noexcept {
  NEXT_VERSION(pthread_create, "GLIBC_2.34");
  VirtualClock* clock = Joined();
  auto* begin = clock == nullptr ? nullptr : static_cast<Begin*>(malloc(sizeof(Begin)));
  if (begin == nullptr) return next(thread, attributes, function, argument);
  *begin = {function, argument, clock->Reserve()};
  const uint32_t place = begin->place;
  const int failed = next(thread, attributes, BeginThread, begin);
  if (failed != 0) {
    clock->Return(place);
    free(begin);
  }
  return failed;
}

PRELOADED int pthread_join(pthread_t thread, void** answer) {
  NEXT_VERSION(pthread_join, "GLIBC_2.34");
  VirtualClock* clock = Joined();
  if (clock == nullptr) return next(thread, answer);
  clock->Away();
  const int failed = next(thread, answer);
  clock->Back();
  return failed;
}

PRELOADED int pthread_cond_wait(pthread_cond_t* condition, pthread_mutex_t* mutex) {
  if (VirtualClock* clock = Joined()) {
    WaitForCondition(clock, condition, mutex, VirtualClock::kNever);
    return 0;
  }
  NEXT_VERSION(pthread_cond_wait, "GLIBC_2.3.2");
  return next(condition, mutex);
}

// A condition of CLOCK_REALTIME, as all are unless they say otherwise.
PRELOADED int pthread_cond_timedwait(pthread_cond_t* condition, pthread_mutex_t* mutex,
                                     const timespec* until) {
  VirtualClock* clock = Joined();
  if (clock != nullptr && IsValid(until))
    return WaitForCondition(clock, condition, mutex, Instant(*clock, CLOCK_REALTIME, *until));
  NEXT_VERSION(pthread_cond_timedwait, "GLIBC_2.3.2");
  return next(condition, mutex, until);
}

PRELOADED int pthread_cond_clockwait(pthread_cond_t* condition, pthread_mutex_t* mutex,
                                     clockid_t id, const timespec* until) {
  VirtualClock* clock = Joined();
  if (clock != nullptr && IsValid(until))
    return WaitForCondition(clock, condition, mutex, Instant(*clock, id, *until));
  NEXT(pthread_cond_clockwait);
  return next(condition, mutex, id, until);
}

PRELOADED int pthread_cond_signal(pthread_cond_t* condition) noexcept {
  if (VirtualClock* clock = Joined()) {
    if (clock->Wake(reinterpret_cast<const uint32_t*>(condition), 1, false) > 0) return 0;
  }
  NEXT_VERSION(pthread_cond_signal, "GLIBC_2.3.2");
  return next(condition);
}

PRELOADED int pthread_cond_broadcast(pthread_cond_t* condition) noexcept {
  if (VirtualClock* clock = Joined())
    clock->Wake(reinterpret_cast<const uint32_t*>(condition), INT_MAX, false);
  NEXT_VERSION(pthread_cond_broadcast, "GLIBC_2.3.2");
  return next(condition);
}

// What comes from outside comes in the host's time; without anything to come it is a sleep.
PRELOADED int poll(pollfd* files, nfds_t count, int milliseconds) {
  NEXT(poll);
  VirtualClock* clock = Joined();
  if (clock == nullptr || milliseconds == 0) return next(files, count, milliseconds);
  if (count == 0 && milliseconds > 0)
    return Sleep(clock, clock->Now() + int64_t{milliseconds} * 1000000, nullptr);
  clock->Away();
  const int ready = next(files, count, milliseconds);
  const int before = errno;
  clock->Back();
  errno = before;
  return ready;
}
