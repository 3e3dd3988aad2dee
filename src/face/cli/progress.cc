#include "face/cli/progress.h"

#include <fmt/format.h>

#include <algorithm>

#include "face/cli/views.h"

namespace tranche {
namespace {

constexpr Duration kLookAgain = std::chrono::milliseconds(200);

bool IsUp(const ReplicaStatus& replica) {
  return replica.state == ReplicaState::kHealthy || replica.state == ReplicaState::kEnded ||
         replica.state == ReplicaState::kStopped;
}

bool HasGivenUp(const ReplicaStatus& replica) {
  return replica.state == ReplicaState::kFailing || replica.state == ReplicaState::kFaulted;
}

std::string NameOf(const ReplicaStatus& replica) {
  return fmt::format("{}/{}", replica.workload, replica.replica);
}

Error NotHealthy(const ReplicaStatus& replica, const std::string& why) {
  const std::string detail = replica.detail.empty() ? "" : ": " + replica.detail;
  return {ErrorCode::kFailed,
          fmt::format("applied, but {} {} ({}{})", NameOf(replica), why,
                      ReplicaStateName(replica.state), detail),
          fmt::format("tranche logs {}", NameOf(replica))};
}

}  // namespace

void StepReporter::operator()(const StepReceipt& step) {
  if (step.step.change == Change::kKeep) return;
  if (step.outcome == StepOutcome::kNotRun) {
    context_.Redraw(fmt::format("  {} {} ...", ChangeSymbol(step.step.change), step.step.target));
    return;
  }
  context_.Redraw("");
  context_.Say(fmt::format(
      "  {} {}: {}{}", ChangeSymbol(step.step.change), step.step.target,
      StepOutcomeName(step.outcome),
      // What an undone step had made is no more.
      step.detail.empty() || step.outcome == StepOutcome::kUndone ? "" : ", " + step.detail));
}

Result<SystemStatus> WaitUntilHealthy(Context& context, Operations& operations, const Spec& spec,
                                      Duration timeout, Interrupts& interrupts) {
  const auto asked_for = [&](const ReplicaStatus& replica) {
    return std::any_of(spec.workloads.begin(), spec.workloads.end(),
                       [&](const Workload& workload) { return workload.name == replica.workload; });
  };
  Clock& clock = *context.world().clock;
  const Duration end = clock.Monotonic() + timeout;
  while (true) {
    operations.Tick();
    auto status = operations.GetStatus();
    if (!status) return status;
    const ReplicaStatus* waiting = nullptr;
    for (const ReplicaStatus& replica : status->replicas) {
      if (!asked_for(replica) || IsUp(replica)) continue;
      if (HasGivenUp(replica)) {
        context.Redraw("");
        return tl::unexpected<Error>(NotHealthy(replica, "does not come up"));
      }
      if (waiting == nullptr) waiting = &replica;
    }
    if (waiting == nullptr) {
      context.Redraw("");
      return status;
    }
    context.Redraw("  waiting: " + ReplicaCounts(*status));
    if (clock.Monotonic() >= end) {
      context.Redraw("");
      return tl::unexpected<Error>(
          NotHealthy(*waiting, "is not healthy after " + FormatDuration(timeout)));
    }
    if (interrupts.Wait(kLookAgain)) {
      context.Redraw("");
      return Fail(
          ErrorCode::kInterrupted,
          "applied; interrupted while waiting for " + NameOf(*waiting) + " to become healthy",
          "tranche status");
    }
  }
}

}  // namespace tranche
