#pragma once

#include "engine/engine.h"
#include "face/cli/context.h"

namespace tranche {

// Steps on stderr while they are done: a line that is redrawn on a tty, one line per finished step
// elsewhere.
class StepReporter {
 public:
  explicit StepReporter(Context& context) : context_(context) {}
  void operator()(const StepReceipt& step);

 private:
  Context& context_;
};

// Gives the supervisor its turns and reads the status until every replica of `spec` is up, or one
// of them gives up, or `timeout` passes, or a signal comes.
Result<SystemStatus> WaitUntilHealthy(Context& context, Operations& operations, const Spec& spec,
                                      Duration timeout, Interrupts& interrupts);

}  // namespace tranche
