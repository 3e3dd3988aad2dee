#include "stage/apply/apply.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>

namespace tranche {
namespace {

bool IsKeep(const Step& step) {
  return step.kind == StepKind::kKeepInstance || step.kind == StepKind::kKeepReplica;
}

bool IsRoute(const Step& step) {
  return step.kind == StepKind::kRoute || step.kind == StepKind::kUnroute;
}

bool IsUndoPhase(StepPhase phase) {
  return phase == StepPhase::kUndoIntended || phase == StepPhase::kUndone ||
         phase == StepPhase::kUndoFailed;
}

// One run over the steps of a plan, forwards and, when it must be, backwards. Remembers for each
// step what the journal says of it.
class Run {
 public:
  Run(const Plan& plan, const ApplyTools& tools, const std::vector<StepRecord>& records)
      : tools_(tools) {
    receipt_.plan_id = plan.id;
    receipt_.started = tools.clock.Now();
    for (const Step& step : plan.steps) receipt_.steps.emplace_back().step = step;
    records_.resize(plan.steps.size());
    for (const StepRecord& record : records) {
      for (size_t i = 0; i < plan.steps.size(); ++i) {
        if (plan.steps[i].id == record.step_id) records_[i] = record;
      }
    }
  }

  // Does what is not done yet, in order, up to the first failure.
  Status Forward();
  // Undoes what was begun, last first; true when all of it was. Goes on after a failure: each step
  // that can be undone leaves less behind.
  bool Backward();
  Receipt Finish(bool undone, std::optional<Error> error);

 private:
  Status DoStep(size_t i);
  Status UndoStep(size_t i);
  Status Write(size_t i, StepPhase phase, const std::string& detail);
  void Report(size_t i, StepOutcome outcome, const std::string& detail);

  const ApplyTools& tools_;
  Receipt receipt_;
  std::vector<std::optional<StepRecord>> records_;  // beside receipt_.steps; absent: never begun
};

Status Run::Write(size_t i, StepPhase phase, const std::string& detail) {
  const Time now = tools_.clock.Now();
  StepRecord record = records_[i].value_or(StepRecord{.started = now});
  record.step_id = receipt_.steps[i].step.id;
  record.phase = phase;
  // While a step is being undone its detail still is what Do made: Undo needs it after the next
  // crash.
  if (!IsUndoPhase(phase)) record.detail = detail;
  record.finished = now;
  records_[i] = record;
  return tools_.journal.Put(record);
}

void Run::Report(size_t i, StepOutcome outcome, const std::string& detail) {
  StepReceipt& step = receipt_.steps[i];
  step.outcome = outcome;
  if (!detail.empty()) step.detail = detail;
  step.finished = tools_.clock.Now();
  if (tools_.progress) tools_.progress(step);
}

Status Run::DoStep(size_t i) {
  const Step& step = receipt_.steps[i].step;
  const bool perhaps_done =
      records_[i].has_value();  // a crash came between the intent and the outcome
  if (const Status written = Write(i, StepPhase::kIntended, ""); !written) return written;
  if (perhaps_done) {
    const Result<bool> holds = tools_.executor.Holds(step);
    if (!holds) return tl::unexpected(holds.error());
    if (*holds) {
      Report(i, StepOutcome::kDone, "was done before the interruption");
      return Write(i, StepPhase::kDone, "");
    }
  }
  const Result<std::string> made = tools_.executor.Do(step);
  if (!made) return tl::unexpected(made.error());
  // Written now, so that undoing knows what was made even when reading back fails.
  records_[i]->detail = *made;
  const Result<bool> holds = tools_.executor.Holds(step);
  if (!holds) return FailedWhile("reading back", holds.error());
  if (!*holds) {
    return Fail(ErrorCode::kFailed,
                fmt::format("{}: the call succeeded, but the machine shows no effect", step.target),
                "look for another program that changes the GPUs, and at `tranche inventory`");
  }
  if (const Status written = Write(i, StepPhase::kDone, *made); !written) return written;
  Report(i, StepOutcome::kDone, *made);
  return {};
}

Status Run::Forward() {
  for (size_t i = 0; i < receipt_.steps.size(); ++i) {
    StepReceipt& step = receipt_.steps[i];
    step.started = tools_.clock.Now();
    if (IsKeep(step.step)) {
      Report(i, StepOutcome::kSkipped, "");
      continue;
    }
    if (records_[i] && records_[i]->phase == StepPhase::kDone) {
      step.started = records_[i]->started;
      Report(i, StepOutcome::kDone, records_[i]->detail);
      continue;
    }
    if (tools_.progress) tools_.progress(step);
    if (const Status done = DoStep(i); !done) {
      const std::string made = records_[i] ? records_[i]->detail : "";
      Report(i, StepOutcome::kFailed, done.error().message);
      // Best effort: the step is undone next whether this can be written or not. The detail stays
      // `made`.
      (void)Write(i, StepPhase::kFailed, made);
      return done;
    }
  }
  return {};
}

Status Run::UndoStep(size_t i) {
  const Step& step = receipt_.steps[i].step;
  if (!step.reversible) return Fail(ErrorCode::kPartial, "this step cannot be undone");
  // Undoing goes on without a journal that can be written: it looks at what is there, so a later
  // recovery that undoes again does no harm.
  const std::string made = records_[i]->detail;
  (void)Write(i, StepPhase::kUndoIntended, "");
  return tools_.executor.Undo(step, made);
}

bool Run::Backward() {
  bool all = true;
  for (size_t i = receipt_.steps.size(); i-- > 0;) {
    if (!records_[i]) continue;
    const bool failed_before = receipt_.steps[i].outcome == StepOutcome::kFailed;
    if (records_[i]->phase == StepPhase::kUndone) {
      Report(i, StepOutcome::kUndone, "");
      continue;
    }
    if (const Status undone = UndoStep(i); !undone) {
      all = false;
      (void)Write(i, StepPhase::kUndoFailed, "");
      Report(i, StepOutcome::kUndoFailed, undone.error().message);
      // What came before a step that stays would not fit it any more once it were undone.
      if (!receipt_.steps[i].step.reversible) break;
      continue;
    }
    (void)Write(i, StepPhase::kUndone, "");
    // A step that failed and left nothing behind stays `failed`: that is what the reader looks for.
    if (!failed_before) Report(i, StepOutcome::kUndone, "");
  }
  return all;
}

Receipt Run::Finish(bool undone, std::optional<Error> error) {
  receipt_.finished = tools_.clock.Now();
  receipt_.error = std::move(error);
  if (!receipt_.error) {
    receipt_.outcome = ApplyOutcome::kDone;
  } else if (undone) {
    receipt_.outcome = ApplyOutcome::kRolledBack;
  } else {
    receipt_.outcome = ApplyOutcome::kPartial;
    receipt_.error->code = ErrorCode::kPartial;
    for (const StepReceipt& step : receipt_.steps) {
      if (step.outcome != StepOutcome::kUndoFailed) continue;
      receipt_.error->message +=
          fmt::format("; undoing '{}' failed as well: {}", step.step.target, step.detail);
    }
    receipt_.error->hint =
        "what is left is recorded; remove what is in the way, then apply again or run "
        "`tranche down`";
  }
  return std::move(receipt_);
}

}  // namespace

Receipt RunPlan(const Plan& plan, const ApplyTools& tools) {
  Run run(plan, tools, {});
  const Status done = run.Forward();
  if (done) return run.Finish(false, std::nullopt);
  const bool undone = run.Backward();
  return run.Finish(undone, done.error());
}

Recovery DecideRecovery(const Plan& plan, const std::vector<StepRecord>& steps) {
  std::map<int, StepPhase> phases;
  for (const StepRecord& record : steps) phases[record.step_id] = record.phase;
  bool only_harmless_left = true;
  bool irreversible_begun = false;
  for (const Step& step : plan.steps) {
    const auto phase = phases.find(step.id);
    const bool begun = phase != phases.end();
    if (begun && (IsUndoPhase(phase->second) || phase->second == StepPhase::kFailed)) {
      return Recovery::kUndo;
    }
    if (begun && !step.reversible) irreversible_begun = true;
    const bool done = begun && phase->second == StepPhase::kDone;
    if (!done && !IsKeep(step) && !IsRoute(step)) only_harmless_left = false;
  }
  return irreversible_begun || only_harmless_left ? Recovery::kFinish : Recovery::kUndo;
}

Receipt Recover(const ApplyRecord& apply, const ApplyTools& tools) {
  Run run(apply.plan, tools, apply.steps);
  Error interrupted{ErrorCode::kInterrupted,
                    "Tranche ended in the middle of this apply; it was undone", "apply again"};
  if (DecideRecovery(apply.plan, apply.steps) == Recovery::kFinish) {
    const Status done = run.Forward();
    if (done) return run.Finish(false, std::nullopt);
    interrupted = done.error();
  }
  const bool undone = run.Backward();
  return run.Finish(undone, interrupted);
}

}  // namespace tranche
