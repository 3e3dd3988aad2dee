#pragma once

#include <condition_variable>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <thread>

namespace tranche::sim::cuda {

// What has to happen at a time without anybody waiting for it: host functions, values written to
// memory. One thread, started with the first task and never joined: it lives as long as the
// process.
class Worker {
 public:
  static Worker& Get();
  // Runs `task` once `time_ns` (timeline.h) is over; tasks of one time in the order given.
  void At(uint64_t time_ns, std::function<void()> task);
  // Waits until all tasks that were due by `time_ns` have run. Not from a task.
  void Drain(uint64_t time_ns);

 private:
  void Run();

  std::mutex mutex_;
  std::condition_variable changed_, done_;
  std::multimap<uint64_t, std::function<void()>> tasks_;  // guarded by mutex_, as all below
  uint64_t running_ = 0;  // due time of the task that runs; 0 = none
  std::thread::id thread_;
  bool started_ = false;
};

}  // namespace tranche::sim::cuda
