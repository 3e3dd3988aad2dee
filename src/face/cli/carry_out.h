#pragma once

#include <functional>
#include <string>

#include "face/cli/context.h"
#include "face/cli/operations.h"

namespace tranche {

// Shows a plan, asks `question` unless `yes`, and carries it out. An error when nothing was tried.
Result<Receipt> ShowAndCarryOut(Context& context, Operations& operations, const Plan& plan,
                                const ApplyOptions& options, bool yes, const std::string& question,
                                Interrupts& interrupts);

// What a receipt is as an exit code; what went wrong is told on stderr.
int ExitCodeFor(Context& context, const Receipt& receipt);

// Asks `done` about twice a second until it says yes, a signal comes (kInterrupted), or `timeout`
// passes (what `waiting_for` says, as kBusy).
Status WaitUntil(Context& context, Operations& operations, Interrupts& interrupts,
                 std::optional<Duration> timeout, const std::function<Result<bool>()>& done,
                 const std::function<std::string()>& waiting_for);

}  // namespace tranche
