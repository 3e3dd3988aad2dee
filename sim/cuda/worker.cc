#include "sim/cuda/worker.h"

#include <signal.h>

#include <chrono>

#include "sim/cuda/timeline.h"

namespace tranche::sim::cuda {

Worker& Worker::Get() {
  static auto* worker = new Worker;
  return *worker;
}

void Worker::At(uint64_t time_ns, std::function<void()> task) {
  const std::lock_guard<std::mutex> lock(mutex_);
  tasks_.emplace(time_ns, std::move(task));
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
  changed_.notify_all();
}

void Worker::Drain(uint64_t time_ns) {
  std::unique_lock<std::mutex> lock(mutex_);
  if (!started_ || std::this_thread::get_id() == thread_) return;
  done_.wait(lock, [&] {
    const bool waiting = !tasks_.empty() && tasks_.begin()->first <= time_ns;
    return !waiting && (running_ == 0 || running_ > time_ns);
  });
}

void Worker::Run() {
  std::unique_lock<std::mutex> lock(mutex_);
  for (;;) {
    if (tasks_.empty()) {
      changed_.wait(lock);
      continue;
    }
    const uint64_t now = TimelineNow(), due = tasks_.begin()->first;
    if (due > now) {
      changed_.wait_for(lock, std::chrono::nanoseconds(due - now));
      continue;
    }
    auto task = std::move(tasks_.begin()->second);
    tasks_.erase(tasks_.begin());
    running_ = due == 0 ? 1 : due;
    lock.unlock();
    task();
    task = nullptr;
    lock.lock();
    running_ = 0;
    done_.notify_all();
  }
}

}  // namespace tranche::sim::cuda
