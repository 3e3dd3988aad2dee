#include "face/cli/carry_out.h"

#include "face/cli/progress.h"
#include "face/cli/views.h"

namespace tranche {

Result<Receipt> ShowAndCarryOut(Context& context, Operations& operations, const Plan& plan,
                                const ApplyOptions& options, bool yes, const std::string& question,
                                Interrupts& interrupts) {
  if (!context.structured() || context.interactive()) {
    context.Show(ViewPlan(plan, false, context.out_terminal()));
  }
  if (!yes && plan.HasChanges()) {
    if (!context.interactive()) {
      return Fail(ErrorCode::kInvalid, "nobody is here to be asked, so nothing is changed",
                  "add --yes");
    }
    if (!context.Confirm(question, interrupts)) {
      return Fail(interrupts.Arrived() ? ErrorCode::kInterrupted : ErrorCode::kFailed,
                  "nothing was changed");
    }
  }
  return operations.Apply(plan, options, StepReporter(context),
                          [&] { return interrupts.Arrived(); });
}

int ExitCodeFor(Context& context, const Receipt& receipt) {
  if (receipt.outcome == ApplyOutcome::kDone) return 0;
  if (receipt.error) context.SayError(*receipt.error);
  if (receipt.outcome == ApplyOutcome::kPartial) return ExitCodeOf(ErrorCode::kPartial);
  return ExitCodeOf(receipt.error ? receipt.error->code : ErrorCode::kFailed);
}

Status WaitUntil(Context& context, Operations& operations, Interrupts& interrupts,
                 std::optional<Duration> timeout, const std::function<Result<bool>()>& done,
                 const std::function<std::string()>& waiting_for) {
  constexpr Duration kInterval = std::chrono::milliseconds(500);
  const Duration start = context.world().clock->Monotonic();
  std::string said;
  for (;;) {
    const Result<bool> is_done = done();
    if (!is_done) return tl::unexpected(is_done.error());
    if (*is_done) return {};
    const std::string now = waiting_for();
    if (now != said) context.Say("Waiting: " + now);
    said = now;
    if (timeout && context.world().clock->Monotonic() - start >= *timeout) {
      return Fail(ErrorCode::kBusy, now, "wait longer with --timeout, or end what is in the way");
    }
    operations.Tick();
    if (interrupts.Wait(kInterval)) return Fail(ErrorCode::kInterrupted, "interrupted: " + now);
  }
}

}  // namespace tranche
