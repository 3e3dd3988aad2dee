#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/json_fwd.h"
#include "model/plan.h"

namespace tranche {

enum class StepOutcome { kDone, kSkipped, kFailed, kUndone, kUndoFailed, kNotRun };

struct StepReceipt {
  Step step;
  StepOutcome outcome = StepOutcome::kNotRun;
  std::string detail;  // what came of it: the MIG UUID, the pid; or the error
  Time started, finished;
};

enum class ApplyOutcome { kDone, kRolledBack, kPartial };

// What applying a plan really did, step by step.
struct Receipt {
  std::string plan_id;
  ApplyOutcome outcome = ApplyOutcome::kDone;
  std::vector<StepReceipt> steps;
  std::optional<Error> error;  // why it did not complete
  Time started, finished;
};

// {"code": "busy", "message": ..., "hint": ...}; the hint is left out when there is none.
Json ToJson(const Error& error);
Result<Error> ErrorFromJson(const Json& json);

Json ToJson(const StepReceipt& receipt);
Result<StepReceipt> StepReceiptFromJson(const Json& json);
Json ToJson(const Receipt& receipt);
Result<Receipt> ReceiptFromJson(const Json& json);
const char* StepOutcomeName(StepOutcome outcome);
const char* ApplyOutcomeName(ApplyOutcome outcome);

}  // namespace tranche
