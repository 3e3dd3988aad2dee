#include "sim/clock/virtual_clock.h"

#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <new>

namespace tranche::sim {
namespace {

constexpr uint64_t kMagic = 0x314b434f4c43534cULL;
constexpr uint32_t kMostThreads = 1024;
// Assumed (see gpu_time): from a wake until the thread runs, ns.
constexpr uint64_t kWakeFrom = 8000, kWakeTo = 30000;
// Reading the clock so often takes so long.
constexpr uint32_t kReads = 20;
constexpr int64_t kReadsTake = 1000;
// Of the host's time: how often those who wait look for threads that are stuck.
constexpr int64_t kLook = 2'000'000;
// In so many looks in a row a thread must sleep before it is taken to be stuck: on a busy host one
// that is about to run may look so for a while.
constexpr uint32_t kLooks = 10;

// So many looks a killed process may take to be gone.
constexpr uint32_t kDying = 500;

enum State : uint32_t { kFree = 0, kRunning, kWaiting, kAway };

// The system's own, past what the preloaded library puts in its place.
using SystemCall = long (*)(long, ...);
SystemCall Host() {
  static const auto call = reinterpret_cast<SystemCall>(dlsym(RTLD_NEXT, "syscall"));
  return call;
}

int64_t HostTime(clockid_t clock) {
  timespec now{};
  Host()(SYS_clock_gettime, clock, &now);
  return static_cast<int64_t>(now.tv_sec) * 1000000000 + now.tv_nsec;
}

void HostWait(std::atomic<uint32_t>* word, uint32_t expected, int64_t ns) {
  const timespec time = {static_cast<time_t>(ns / 1000000000), static_cast<long>(ns % 1000000000)};
  Host()(SYS_futex, word, FUTEX_WAIT, expected, &time, nullptr, 0);
}
void HostWake(std::atomic<uint32_t>* word) {
  Host()(SYS_futex, word, FUTEX_WAKE, INT32_MAX, nullptr, nullptr, 0);
}

class KeepErrno {
 public:
  ~KeepErrno() { errno = before_; }

 private:
  const int before_ = errno;
};

bool ReadFile(const char* path, char* text, size_t size) {
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  const ssize_t n = read(fd, text, size - 1);
  close(fd);
  text[n > 0 ? n : 0] = 0;
  return n > 0;
}

// Its state as /proc has it ('S' sleeps), 0 when it is gone; and how long it ever ran.
char StateOf(uint32_t pid, uint32_t tid, uint64_t* ran) {
  char path[64], text[512];
  snprintf(path, sizeof(path), "/proc/%u/task/%u/stat", pid, tid);
  if (!ReadFile(path, text, sizeof(text))) return 0;
  const char* end = strrchr(text, ')');
  if (end == nullptr || end[1] == 0) return 0;
  snprintf(path, sizeof(path), "/proc/%u/task/%u/schedstat", pid, tid);
  char times[128];
  *ran = ReadFile(path, times, sizeof(times)) ? strtoull(times, nullptr, 10) : 0;
  return end[2] == 'Z' || end[2] == 'X' ? 0 : end[2];
}

// Whether any thread of a process has not ended.
bool HasThreads(uint32_t pid) {
  char path[64];
  snprintf(path, sizeof(path), "/proc/%u/task", pid);
  DIR* threads = opendir(path);
  if (threads == nullptr) return false;
  bool any = false;
  while (const dirent* entry = any ? nullptr : readdir(threads)) {
    const auto tid = static_cast<uint32_t>(strtoul(entry->d_name, nullptr, 10));
    uint64_t ran = 0;
    any = tid != 0 && StateOf(pid, tid, &ran) != 0;
  }
  closedir(threads);
  return any;
}

pthread_key_t end_key;
pthread_once_t end_key_once = PTHREAD_ONCE_INIT;

}  // namespace

struct VirtualClock::Thread {
  std::atomic<uint32_t> word;  // changes when it may go on
  std::atomic<uint32_t> state;
  uint32_t pid, tid;  // tid 0: about to be made
  int64_t deadline;   // when it goes on; kNever: when it is woken
  uint64_t order;
  Key key;
  uint32_t woken;
  // By whoever looks for stuck ones.
  uint64_t ran;
  uint32_t slept;  // in so many looks in a row, or was dead
};

struct VirtualClock::File {
  uint64_t magic, size;
  pthread_mutex_t lock;
  std::atomic<int64_t> now;
  int64_t real_time;
  uint64_t order;
  uint64_t random;
  uint32_t used;  // threads below this number
  std::atomic<uint32_t> processes_wanted, processes_seen;
  int64_t looked_at;
  Thread threads[kMostThreads];
};

class VirtualClock::Lock {
 public:
  explicit Lock(File* file) : file_(file) {
    // What its holder had half done is at worst that nobody runs, which Rescue() sees.
    if (pthread_mutex_lock(&file_->lock) == EOWNERDEAD) pthread_mutex_consistent(&file_->lock);
  }
  ~Lock() { pthread_mutex_unlock(&file_->lock); }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

 private:
  File* file_;
};

bool VirtualClock::Create(const char* folder, uint32_t processes) {
  char path[512], draft[544];
  snprintf(path, sizeof(path), "%s/clock", folder);
  snprintf(draft, sizeof(draft), "%s.%d", path, static_cast<int>(getpid()));
  const int fd = open(draft, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd < 0) return false;
  void* memory = MAP_FAILED;
  if (fchmod(fd, 0666) == 0 && ftruncate(fd, sizeof(File)) == 0)
    memory = mmap(nullptr, sizeof(File), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  if (memory == MAP_FAILED) return false;
  auto* file = static_cast<File*>(memory);
  file->magic = kMagic;
  file->size = sizeof(File);
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  pthread_mutex_init(&file->lock, &attributes);
  pthread_mutexattr_destroy(&attributes);
  file->now = HostTime(CLOCK_MONOTONIC);
  file->real_time = HostTime(CLOCK_REALTIME) - file->now;
  file->random = 88172645463325252ULL;
  file->processes_wanted = processes;
  munmap(memory, sizeof(File));
  return rename(draft, path) == 0;
}

VirtualClock* VirtualClock::Open(const char* folder) {
  const KeepErrno keep;
  char path[512];
  if (snprintf(path, sizeof(path), "%s/clock", folder) >= static_cast<int>(sizeof(path)))
    return nullptr;
  const int fd = open(path, O_RDWR | O_CLOEXEC);
  if (fd < 0) return nullptr;
  struct stat info {};
  void* memory = MAP_FAILED;
  if (fstat(fd, &info) == 0 && static_cast<size_t>(info.st_size) == sizeof(File))
    memory = mmap(nullptr, sizeof(File), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  if (memory == MAP_FAILED) return nullptr;
  auto* file = static_cast<File*>(memory);
  if (file->magic != kMagic || file->size != sizeof(File)) return nullptr;
  pthread_once(&end_key_once, [] { pthread_key_create(&end_key, AtThreadEnd); });
  return new (std::nothrow) VirtualClock(file);
}

int64_t VirtualClock::Now() const { return file_->now.load(std::memory_order_acquire); }
int64_t VirtualClock::RealTime() const { return file_->real_time; }
uint32_t VirtualClock::processes() const { return file_->processes_seen.load(); }
void VirtualClock::WaitForProcesses(uint32_t processes) {
  const Lock lock(file_);
  file_->processes_wanted = processes;
  Schedule();
}

namespace {
thread_local void* own_place = nullptr;
thread_local uint32_t own_tid = 0;
thread_local uint32_t reads = 0;
}  // namespace

VirtualClock::Thread* VirtualClock::Free() {
  for (uint32_t i = 0; i < kMostThreads; ++i) {
    Thread& thread = file_->threads[i];
    if (thread.state.load(std::memory_order_relaxed) != kFree) continue;
    if (i >= file_->used) file_->used = i + 1;
    thread.pid = static_cast<uint32_t>(getpid());
    thread.tid = 0;
    thread.deadline = kNever;
    thread.key = {};
    thread.woken = thread.slept = 0;
    thread.ran = 0;
    return &thread;
  }
  return nullptr;
}

// The calling thread's place, made when it has none; with the lock held. nullptr: there are too
// many, and this one is not waited for.
VirtualClock::Thread* VirtualClock::SelfHere() {
  if (own_tid == 0) own_tid = static_cast<uint32_t>(Host()(SYS_gettid));
  auto* self = static_cast<Thread*>(own_place);
  if (self != nullptr && self->tid == own_tid && self->state != kFree) return self;
  // Another library of this process may have made it.
  for (uint32_t i = 0; i < file_->used; ++i) {
    Thread& thread = file_->threads[i];
    if (thread.state != kFree && thread.tid == own_tid) self = &thread;
  }
  if (self == nullptr || self->tid != own_tid || self->state == kFree) {
    self = Free();
    if (self == nullptr) return nullptr;
    self->tid = own_tid;
    self->state = kAway;
  }
  own_place = self;
  pthread_setspecific(end_key, this);
  return self;
}

// The calling thread, which runs from now on if it does not yet.
VirtualClock::Thread* VirtualClock::Self() {
  auto* self = static_cast<Thread*>(own_place);
  if (self != nullptr && self->tid == own_tid &&
      self->state.load(std::memory_order_relaxed) == kRunning) {
    return self;
  }
  {
    const Lock lock(file_);
    self = SelfHere();
    if (self == nullptr || self->state == kRunning) return self;
    Register(self, Now(), {});
    Schedule();
  }
  SleepOn(self);
  return self;
}

// With the lock held, as all that says nothing else.
void VirtualClock::Register(Thread* self, int64_t until, Key key) {
  self->deadline = until;
  self->order = ++file_->order;
  self->key = key;
  self->woken = 0;
  self->state = kWaiting;
}

void VirtualClock::Schedule() {
  // Before all are there everybody gets as far as it does without time.
  const bool stands_still = file_->processes_seen < file_->processes_wanted;
  Thread* first = nullptr;
  for (uint32_t i = 0; i < file_->used; ++i) {
    Thread& thread = file_->threads[i];
    const uint32_t state = thread.state.load(std::memory_order_relaxed);
    if (state == kRunning) return;
    if (state != kWaiting || thread.deadline == kNever) continue;
    if (first == nullptr || thread.deadline < first->deadline ||
        (thread.deadline == first->deadline && thread.order < first->order)) {
      first = &thread;
    }
  }
  if (first == nullptr || (stands_still && first->deadline > Now())) return;
  if (first->deadline > Now()) file_->now.store(first->deadline, std::memory_order_release);
  first->key = {};
  first->slept = 0;
  first->state = kRunning;
  first->word.fetch_add(1, std::memory_order_release);
  auto* self = static_cast<Thread*>(own_place);
  if (first != self || self->tid != own_tid) HostWake(&first->word);
}

// Without the lock. 0 when it was woken, else ETIMEDOUT.
int VirtualClock::SleepOn(Thread* self) {
  const KeepErrno keep;
  for (;;) {
    const uint32_t seen = self->word.load(std::memory_order_acquire);
    if (self->state.load(std::memory_order_acquire) == kRunning) break;
    HostWait(&self->word, seen, kLook);
    if (self->state.load(std::memory_order_acquire) == kRunning) break;
    if (self->word.load(std::memory_order_acquire) == seen) Rescue();
  }
  return self->woken != 0 ? 0 : ETIMEDOUT;
}

// Those that run as far as the clock knows, but sleep somewhere else, or are dead, hold nobody up.
void VirtualClock::Rescue() {
  const Lock lock(file_);
  const int64_t host = HostTime(CLOCK_MONOTONIC);
  if (host - file_->looked_at < kLook * 3 / 4 && host >= file_->looked_at) return;
  file_->looked_at = host;
  for (uint32_t i = 0; i < file_->used; ++i) {
    Thread& thread = file_->threads[i];
    const uint32_t state = thread.state.load(std::memory_order_relaxed);
    if (state == kFree || (state == kWaiting && thread.tid != 0 && thread.deadline != kNever))
      continue;
    uint64_t ran = 0;
    const char now = StateOf(thread.pid, thread.tid == 0 ? thread.pid : thread.tid, &ran);
    if (now == 0) {
      // One that was killed has its files, and the locks on them, until the last of its threads is
      // gone; time that went on before would be time in which it is neither alive nor dead.
      if (state == kRunning && ++thread.slept < kDying && HasThreads(thread.pid)) continue;
      thread.state = kFree;
      continue;
    }
    if (state != kRunning) continue;
    const bool sleeps = now == 'S' || now == 'T' || now == 't';
    thread.slept = sleeps && ran == thread.ran ? thread.slept + 1 : 0;
    thread.ran = ran;
    if (thread.slept >= kLooks) thread.state = kAway;
  }
  Schedule();
}

VirtualClock::Key VirtualClock::KeyOf(const void* word, bool shared) const {
  const auto at = reinterpret_cast<uint64_t>(word);
  const Key own = {uint64_t{1} << 63 | static_cast<uint64_t>(getpid()), at};
  if (!shared) return own;
  // The same memory may lie elsewhere in another process: known by its file. Mappings of words that
  // somebody waits for stay.
  struct Seen {
    uint64_t from, to;
    Key key;
  };
  thread_local Seen seen[8] = {};
  thread_local uint32_t next = 0;
  for (const Seen& s : seen) {
    if (at >= s.from && at < s.to) return {s.key.space, s.key.place + (at - s.from)};
  }
  FILE* maps = fopen("/proc/self/maps", "re");
  if (maps == nullptr) return own;
  char line[1024];
  Seen found = {};
  while (found.to == 0 && fgets(line, sizeof(line), maps) != nullptr) {
    unsigned long long from = 0, to = 0, offset = 0, inode = 0;
    unsigned int major = 0, minor = 0;
    if (sscanf(line, "%llx-%llx %*4s %llx %x:%x %llu", &from, &to, &offset, &major, &minor,
               &inode) != 6 ||
        at < from || at >= to) {
      continue;
    }
    found = {from, to, {inode << 16 ^ (uint64_t{major} << 8 | minor), offset}};
    if (inode == 0) found.key = {own.space, from};
  }
  fclose(maps);
  if (found.to == 0) return own;
  seen[next++ % 8] = found;
  return {found.key.space, found.key.place + (at - found.from)};
}

bool VirtualClock::joined() const { return joined_.load(std::memory_order_acquire); }
void VirtualClock::Forget() {
  joined_ = begun_ = false;
  own_place = nullptr;
  own_tid = 0;
}

void VirtualClock::Join() {
  if (joined_.exchange(true)) return;
  // What else the process does at its end, after its own handlers, is nobody's time.
  static VirtualClock* leaves = nullptr;
  if (leaves == nullptr) {
    leaves = this;
    atexit([] { leaves->Leave(); });
  }
  Thread* self = nullptr;
  {
    const Lock lock(file_);
    // When nobody else is there, the host's time may have overtaken.
    bool alone = true;
    for (uint32_t i = 0; i < file_->used; ++i) alone = alone && file_->threads[i].state == kFree;
    const int64_t host = HostTime(CLOCK_MONOTONIC);
    if (alone && host > Now()) file_->now = host;
    self = SelfHere();
    if (self == nullptr) return;
    Register(self, Now(), {});
    Schedule();
  }
  SleepOn(self);
}

void VirtualClock::Begin() {
  if (begun_.load(std::memory_order_acquire) || !joined_ || begun_.exchange(true)) return;
  const Lock lock(file_);
  ++file_->processes_seen;
}

void VirtualClock::Leave() {
  if (!joined_.exchange(false)) return;
  const Lock lock(file_);
  const auto pid = static_cast<uint32_t>(getpid());
  for (uint32_t i = 0; i < file_->used; ++i) {
    if (file_->threads[i].pid == pid) file_->threads[i].state = kFree;
  }
  Schedule();
}

void VirtualClock::LeaveThread() {
  const Lock lock(file_);
  auto* self = static_cast<Thread*>(own_place);
  own_place = nullptr;
  if (self == nullptr || self->tid != own_tid || self->state == kFree) return;
  self->state = kFree;
  Schedule();
}

void VirtualClock::AtThreadEnd(void* clock) { static_cast<VirtualClock*>(clock)->LeaveThread(); }

void VirtualClock::Spend(int64_t ns) { SleepUntil(Now() + ns); }

void VirtualClock::NoteRead() {
  if (++reads < kReads || file_->processes_seen < file_->processes_wanted) return;
  reads = 0;
  Spend(kReadsTake);
}

void VirtualClock::SleepUntil(int64_t at) {
  Thread* self = Self();
  if (self == nullptr) return;
  reads = 0;
  {
    const Lock lock(file_);
    Register(self, at < Now() ? Now() : at, {});
    Schedule();
  }
  SleepOn(self);
}

int VirtualClock::Wait(const uint32_t* word, uint32_t expected, int64_t until, bool shared) {
  Thread* self = Self();
  if (self == nullptr) return EAGAIN;
  reads = 0;
  const Key key = KeyOf(word, shared);
  {
    const Lock lock(file_);
    // Whoever wakes has changed the word before, and takes the lock after.
    if (__atomic_load_n(word, __ATOMIC_ACQUIRE) != expected) return EAGAIN;
    Register(self, until < Now() ? Now() : until, key);
    Schedule();
  }
  return SleepOn(self);
}

void VirtualClock::BeginWait(const void* key, int64_t until) {
  Thread* self = Self();
  if (self == nullptr) return;
  reads = 0;
  const Lock lock(file_);
  Register(self, until < Now() ? Now() : until, KeyOf(key, false));
}

int VirtualClock::FinishWait() {
  auto* self = static_cast<Thread*>(own_place);
  if (self == nullptr) return 0;
  {
    const Lock lock(file_);
    Schedule();
  }
  return SleepOn(self);
}

void VirtualClock::Away() {
  Thread* self = Self();
  if (self == nullptr) return;
  const Lock lock(file_);
  self->state = kAway;
  Schedule();
}

void VirtualClock::Back() { Self(); }

uint32_t VirtualClock::Reserve() {
  const Lock lock(file_);
  Thread* thread = Free();
  if (thread == nullptr) return kMostThreads;
  Register(thread, Now(), {});
  return static_cast<uint32_t>(thread - file_->threads);
}

void VirtualClock::Take(uint32_t place) {
  if (place >= kMostThreads) return;
  own_tid = static_cast<uint32_t>(Host()(SYS_gettid));
  Thread* self = &file_->threads[place];
  {
    const Lock lock(file_);
    self->tid = own_tid;
    own_place = self;
    pthread_setspecific(end_key, this);
    Schedule();
  }
  SleepOn(self);
}

void VirtualClock::Return(uint32_t place) {
  if (place >= kMostThreads) return;
  const Lock lock(file_);
  file_->threads[place].state = kFree;
}

int VirtualClock::Wake(const uint32_t* word, int most, bool shared) {
  const KeepErrno keep;
  const Key key = KeyOf(word, shared);
  const Lock lock(file_);
  int woken = 0;
  while (woken < most) {
    Thread* first = nullptr;
    for (uint32_t i = 0; i < file_->used; ++i) {
      Thread& thread = file_->threads[i];
      if (thread.state != kWaiting || thread.key.place != key.place ||
          thread.key.space != key.space)
        continue;
      if (first == nullptr || thread.order < first->order) first = &thread;
    }
    if (first == nullptr) break;
    file_->random ^= file_->random << 13;
    file_->random ^= file_->random >> 7;
    file_->random ^= file_->random << 17;
    Register(first, Now() + static_cast<int64_t>(kWakeFrom + file_->random % (kWakeTo - kWakeFrom)),
             {});
    first->woken = 1;
    ++woken;
  }
  // One that does not take part wakes: perhaps nobody runs.
  if (woken > 0) Schedule();
  return woken;
}

VirtualClock* ClockOfProcess(const char* folder) {
  using Own = VirtualClock* (*)();
  const auto own = reinterpret_cast<Own>(dlsym(RTLD_DEFAULT, "tranche_sim_clock_of_process"));
  return own != nullptr ? own() : folder == nullptr ? nullptr : VirtualClock::Open(folder);
}

}  // namespace tranche::sim
