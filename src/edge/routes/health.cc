#include "edge/routes/health.h"

namespace tranche {

HealthProbe ProbeFor(ServingEngine engine) {
  switch (engine) {
    case ServingEngine::kTriton:
      return {{"/v2/health/ready"}, false};
    case ServingEngine::kModelServer:
    case ServingEngine::kVllm:
    case ServingEngine::kLlamaCpp:
      return {{"/health", "/v1/models"}, false};
    case ServingEngine::kCommand:
      break;
  }
  return {{"/health", "/v1/models"}, true};
}

HealthState NextHealth(const HealthState& state, bool good, const HealthThresholds& thresholds) {
  using Verdict = HealthState::Verdict;
  HealthState next = state;
  next.good = good ? state.good + 1 : 0;
  next.bad = good ? 0 : state.bad + 1;
  const int needed = state.was_up ? thresholds.up : thresholds.up_first;
  if (good && state.verdict != Verdict::kUp && next.good >= needed) {
    next.verdict = Verdict::kUp;
    next.was_up = true;
  }
  if (!good && next.bad >= thresholds.down) next.verdict = Verdict::kDown;
  return next;
}

}  // namespace tranche
