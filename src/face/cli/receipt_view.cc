#include <fmt/format.h>

#include "base/json.h"
#include "face/cli/views.h"

namespace tranche {
namespace {

Table StepTable(const Receipt& receipt) {
  Table table;
  table.columns = {{"id", "STEP", Align::kRight},
                   {"target", "TARGET"},
                   {"outcome", "OUTCOME"},
                   {"milliseconds", "MS", Align::kRight},
                   {"detail", "DETAIL", Align::kLeft, false, true}};
  for (const StepReceipt& step : receipt.steps) {
    const auto took =
        std::chrono::duration_cast<std::chrono::milliseconds>(step.finished - step.started).count();
    table.rows.push_back({std::to_string(step.step.id), step.step.target,
                          StepOutcomeName(step.outcome), std::to_string(took), step.detail});
  }
  return table;
}

std::string Ending(const Receipt& receipt) {
  int done = 0;
  int undone = 0;
  for (const StepReceipt& step : receipt.steps) {
    const bool keeps = step.step.change == Change::kKeep;
    if (step.outcome == StepOutcome::kDone && !keeps) ++done;
    if (step.outcome == StepOutcome::kUndone) ++undone;
  }
  const std::string took = FormatDuration(
      std::chrono::duration_cast<std::chrono::milliseconds>(receipt.finished - receipt.started));
  switch (receipt.outcome) {
    case ApplyOutcome::kDone:
      return done == 0 ? "Nothing had to be done."
                       : fmt::format("Done: {} steps in {}.", done, took);
    case ApplyOutcome::kRolledBack:
      return fmt::format("Failed, and {} steps were undone: the machine is as it was.", undone);
    case ApplyOutcome::kPartial:
      return "Stopped part-way: undoing failed as well. What is there now is recorded; see "
             "'tranche status'.";
  }
  return "";
}

}  // namespace

Answer ViewReceipt(const Receipt& receipt, const SystemStatus* status, const Terminal& terminal) {
  Answer answer;
  answer.json = ToJson(receipt);
  if (status != nullptr) answer.json["status"] = ToJson(*status);
  answer.csv = StepTable(receipt);
  if (receipt.outcome != ApplyOutcome::kDone) answer.blocks.emplace_back(StepTable(receipt));
  std::string text =
      terminal.Paint(receipt.outcome == ApplyOutcome::kDone ? Style::kGreen : Style::kRed,
                     Ending(receipt)) +
      "\n";
  if (status != nullptr && receipt.outcome == ApplyOutcome::kDone) {
    std::string last;
    for (const ReplicaStatus& replica : status->replicas) {
      if (replica.route.empty() || !status->router.running || replica.route == last) continue;
      text += fmt::format("  {} at {}{}\n", replica.workload, status->router.url, replica.route);
      last = replica.route;
    }
  }
  answer.blocks.emplace_back(std::move(text));
  return answer;
}

}  // namespace tranche
