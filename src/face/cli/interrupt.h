#pragma once

#include <memory>

#include "base/units.h"

namespace tranche {

// SIGINT and SIGTERM as something to ask about instead of something that kills: the first one is a
// request to stop cleanly.
class Interrupts {
 public:
  virtual ~Interrupts() = default;
  // Waits at most `timeout`. True, and from then on always, once a signal has come.
  virtual bool Wait(Duration timeout) = 0;
  // Waits until standard input has something. False when a signal came first.
  virtual bool WaitForInput() = 0;
  bool Arrived() { return Wait(Duration(0)); }
};

// Blocks both signals in this thread, and in the threads it starts from now on, until destruction.
// A second signal kills.
std::unique_ptr<Interrupts> CatchInterrupts();

}  // namespace tranche
