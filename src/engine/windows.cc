#include <fmt/format.h>

#include <algorithm>

#include "engine/engine_impl.h"
#include "engine/time_zone.h"

namespace tranche {
namespace {

bool ChangesLayout(const Step& step) {
  return step.kind == StepKind::kEnableMig || step.kind == StepKind::kDisableMig ||
         step.kind == StepKind::kCreateInstance || step.kind == StepKind::kDestroyInstance;
}

}  // namespace

Status EngineImpl::CheckWindow(const Plan& plan) {
  const std::vector<MaintenanceWindow>& windows = plan.spec.maintenance;
  if (windows.empty()) return {};
  const auto changing = std::find_if(plan.steps.begin(), plan.steps.end(), ChangesLayout);
  if (changing == plan.steps.end()) return {};
  const ZoneOffset offset = SystemTimeZones(root_);
  const Result<bool> open = IsOpen(windows, clock_->Now(), offset);
  if (!open) return FailedWhile("maintenance", open.error());
  if (*open) return {};
  std::string all;
  for (const MaintenanceWindow& window : windows) {
    all += (all.empty() ? "" : "; ") + WindowText(window);
  }
  const Result<Time> next = NextOpening(windows, clock_->Now(), offset);
  return Fail(
      ErrorCode::kBusy,
      fmt::format("{} changes the layout of a GPU, and no maintenance window is open ({}){}",
                  changing->target, all,
                  next ? "; the next one opens at " + FormatTime(*next) : ""),
      "apply it then, or with --wait, which waits for it");
}

}  // namespace tranche
