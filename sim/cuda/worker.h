#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <mutex>
#include <thread>

#include "sim/cuda/timeline.h"
#include "sim/cuda/work.h"

namespace tranche::sim::cuda {

// What has to happen at a time, or behind work of a GPU, without anybody waiting for it: host
// functions, values written to memory. One thread, started with the first task and never joined: it
// lives as long as the process.
class Worker {
 public:
  static Worker& Get();
  // Runs `task` once `time_ns` is over and all of the work is done; of those that can run, in the
  // order given.
  void When(uint64_t time_ns, const Points& points, std::function<void()> task);
  // Waits until all tasks that can run have. Not from a task.
  void Drain();

 private:
  struct Task {
    uint64_t not_before;
    Points points;
    std::function<void()> run;
  };

  void Run();

  std::mutex mutex_;
  std::list<Task> tasks_;  // guarded by mutex_, as all below
  bool running_ = false;
  std::thread::id thread_;
  bool started_ = false;
  Bell changed_, done_;
};

}  // namespace tranche::sim::cuda
