#pragma once

#include <condition_variable>
#include <mutex>
#include <thread>

#include "base/units.h"
#include "engine/engine.h"

namespace tranche {

// The daemon's timer: gives the engine its turns of supervision, one after the other, in a thread
// of its own, from construction to destruction.
class Ticker {
 public:
  // `engine` must outlive this.
  Ticker(Engine& engine, Duration interval);
  ~Ticker();
  Ticker(const Ticker&) = delete;
  Ticker& operator=(const Ticker&) = delete;

 private:
  void Run();

  Engine& engine_;
  const Duration interval_;
  std::mutex mutex_;
  std::condition_variable wake_;
  bool stop_ = false;  // guarded by mutex_
  std::thread thread_;
};

}  // namespace tranche
