#pragma once

#include <functional>
#include <vector>

#include "base/clock.h"
#include "edge/store/store.h"
#include "model/plan.h"
#include "model/receipt.h"
#include "stage/apply/executor.h"
#include "stage/apply/journal.h"

namespace tranche {

// Called before a step (outcome kNotRun) and after it, and again when it was undone.
using ApplyProgress = std::function<void(const StepReceipt&)>;

struct ApplyTools {
  Executor& executor;
  Journal& journal;
  Clock& clock;
  ApplyProgress progress = {};  // may be empty
};

// Runs the steps in order. Each is journalled before it runs and read back after; when one fails,
// it and those before it are undone in reverse order. The receipt's outcome is kDone, kRolledBack
// (the machine is as before), or kPartial when something could not be undone.
Receipt RunPlan(const Plan& plan, const ApplyTools& tools);

// What to do with an apply that a crash interrupted.
enum class Recovery { kFinish, kUndo };

// Undone, so that nothing changes which nobody is there to see, with two exceptions: a step that
// cannot be undone was begun; or what is left are only keep steps and routes, which interrupt
// nobody. An apply that was already being undone goes on being undone.
Recovery DecideRecovery(const Plan& plan, const std::vector<StepRecord>& steps);

// Carries that out. Finishing that fails turns into undoing.
Receipt Recover(const ApplyRecord& apply, const ApplyTools& tools);

}  // namespace tranche
