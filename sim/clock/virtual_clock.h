#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <string>

// The clock of a simulated machine that has a time of its own. Threads of all processes that use
// the machine's GPUs take part: of them one runs at a time, as if computing took no time, and when
// each waits, the clock moves on to the first instant at which one shall go on. So whatever a test
// does in seconds of that time takes as long as its computing takes, and the same each time, as far
// as the processes themselves do the same.
//
// A thread that sleeps where the clock does not see it (in a read, on a mutex) is found out after a
// few milliseconds, and counts as away until it asks the clock for anything; so does one that is
// killed. Time never moves while a thread that takes part runs.
//
// In a file of the machine's folder (`clock`), under a lock that is handed on when its holder dies.
// libc only: the file is part of what is loaded into every process of the machine.
namespace tranche::sim {

class VirtualClock {
 public:
  static constexpr int64_t kNever = INT64_MAX;

  // False with errno set. `processes`: time stands still until so many have loaded code for a GPU.
  static bool Create(const char* folder, uint32_t processes);
  // nullptr when the machine runs on the host's time. Stays for the life of the process.
  static VirtualClock* Open(const char* folder);

  virtual ~VirtualClock() = default;
  VirtualClock(const VirtualClock&) = delete;
  VirtualClock& operator=(const VirtualClock&) = delete;

  // Nanoseconds; begins at the host's own when the machine was made.
  int64_t Now() const;
  // What to add for nanoseconds since the epoch.
  int64_t RealTime() const;
  void WaitForProcesses(uint32_t processes);
  uint32_t processes() const;

  // All below are virtual: the one object of a process is used, whichever library made it.

  // This process takes part from now on, with the calling thread; others of its threads as soon as
  // they ask the clock for anything.
  virtual void Join();
  virtual bool joined() const;
  // It will give a GPU work: it has loaded code, perhaps for the first time. (Its first kernel
  // would be too late: what lets programs launch in turns would wait for one that stands still.)
  virtual void Begin();
  // In a child after fork: only the parent takes part.
  virtual void Forget();
  // The process ends.
  virtual void Leave();

  // For threads of a process that takes part.

  // Computes, or so it is taken to.
  virtual void Spend(int64_t ns);
  // The clock was read: whoever does only that will see it move.
  virtual void NoteRead();
  virtual void SleepUntil(int64_t at);
  // As futex(2) has it, with a time of this clock: 0, EAGAIN or ETIMEDOUT.
  virtual int Wait(const uint32_t* word, uint32_t expected, int64_t until, bool shared);
  // Around a wait that the clock cannot see the end of.
  virtual void Away();
  virtual void Back();
  // Puts the caller to wait for Wake(key, ...) before it gives up what protects the condition: the
  // wait itself is FinishWait(), with Wait's answers.
  virtual void BeginWait(const void* key, int64_t until);
  virtual int FinishWait();
  // A place for a thread that is about to be made, which takes it as the first thing it does.
  virtual uint32_t Reserve();
  virtual void Take(uint32_t place);
  virtual void Return(uint32_t place);

  // Of any process: how many were woken.
  virtual int Wake(const uint32_t* word, int most, bool shared);

 private:
  struct Thread;
  struct File;
  struct Key {
    uint64_t space, place;
  };
  class Lock;

  explicit VirtualClock(File* file) : file_(file) {}
  Thread* Self();
  Thread* Free();
  Thread* SelfHere();
  Key KeyOf(const void* word, bool shared) const;
  void Schedule();
  void Register(Thread* self, int64_t until, Key key);
  int SleepOn(Thread* self);
  void Rescue();
  void LeaveThread();
  static void AtThreadEnd(void* clock);

  File* const file_;
  std::atomic<bool> joined_{false}, begun_{false};
};

// The process's own: that of the library loaded into every process of the machine where that is
// there, else one for `folder`. nullptr as Open().
VirtualClock* ClockOfProcess(const char* folder);

}  // namespace tranche::sim
