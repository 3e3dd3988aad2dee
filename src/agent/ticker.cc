#include "agent/ticker.h"

namespace tranche {

Ticker::Ticker(Engine& engine, Duration interval)
    : engine_(engine), interval_(interval), thread_([this] { Run(); }) {}

Ticker::~Ticker() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_all();
  thread_.join();
}

void Ticker::Run() {
  std::unique_lock lock(mutex_);
  while (!stop_) {
    lock.unlock();
    engine_.Tick();
    lock.lock();
    wake_.wait_for(lock, interval_, [this] { return stop_; });
  }
}

}  // namespace tranche
