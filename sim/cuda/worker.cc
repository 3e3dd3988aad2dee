#include "sim/cuda/worker.h"

#include <signal.h>

#include <algorithm>

namespace tranche::sim::cuda {
namespace {

// Not before then can it run; 0 = it can.
uint64_t NotBefore(uint64_t time_ns, const Points& points, uint64_t now) {
  uint64_t latest = time_ns > now ? time_ns : 0;
  for (uint32_t i = 0; i < points.count; ++i)
    latest = std::max(latest, cuda::NotBefore(points.point[i]));
  return latest;
}

}  // namespace

Worker& Worker::Get() {
  static auto* worker = new Worker;
  return *worker;
}

void Worker::When(uint64_t time_ns, const Points& points, std::function<void()> task) {
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    tasks_.push_back({time_ns, points, std::move(task)});
    if (!started_) {
      started_ = true;
      // The signals of the host process are its own threads' business.
      sigset_t all, old;
      sigfillset(&all);
      pthread_sigmask(SIG_BLOCK, &all, &old);
      std::thread thread([this] { Run(); });
      thread_ = thread.get_id();
      thread.detach();
      pthread_sigmask(SIG_SETMASK, &old, nullptr);
    }
  }
  changed_.Ring();
}

void Worker::Drain() {
  for (;;) {
    const uint32_t seen = done_.Seen();
    {
      const std::lock_guard<std::mutex> lock(mutex_);
      if (!started_ || std::this_thread::get_id() == thread_) return;
      const uint64_t now = TimelineNow();
      const bool waiting = std::any_of(tasks_.begin(), tasks_.end(), [&](const Task& task) {
        return NotBefore(task.not_before, task.points, now) == 0;
      });
      if (!waiting && !running_) return;
    }
    // It may sleep towards a time that has come earlier than it thought.
    changed_.Ring();
    done_.WaitUntil(seen, UINT64_MAX);
  }
}

void Worker::Run() {
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    const uint32_t seen = changed_.Seen();
    const uint64_t now = TimelineNow();
    uint64_t earliest = UINT64_MAX;
    auto next = tasks_.begin();
    for (; next != tasks_.end(); ++next) {
      const uint64_t not_before = NotBefore(next->not_before, next->points, now);
      if (not_before == 0) break;
      earliest = std::min(earliest, not_before);
    }
    if (next == tasks_.end()) {
      lock.unlock();
      changed_.WaitUntil(seen, earliest);
      lock.lock();
      continue;
    }
    std::function<void()> task = std::move(next->run);
    tasks_.erase(next);
    running_ = true;
    lock.unlock();
    task();
    task = nullptr;
    lock.lock();
    running_ = false;
    done_.Ring();
  }
}

}  // namespace tranche::sim::cuda
