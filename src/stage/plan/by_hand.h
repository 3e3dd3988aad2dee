#pragma once

#include <optional>
#include <string>
#include <vector>

#include "model/plan.h"

namespace tranche {

// MIG instances as somebody wants them by hand, of one GPU.
struct HandChange {
  struct Instance {
    std::string profile;
    std::optional<int> start;  // absent: where it leaves most room
  };
  std::string gpu_uuid;
  std::vector<Instance> create;
  std::vector<int> destroy;  // starts of instances
  bool destroy_all = false;
  std::optional<bool> mig;  // the mode; creating switches it on
};

// A plan that changes just that and leaves everything that is deployed as it is. `now` is the plan
// of what is deployed: it has no changes, or this is refused (kStale). kBusy for instances that
// belong to a workload or to a tier, kDoesNotFit for what MIG cannot do, with what would.
Result<Plan> MakeHandPlan(const Machine& machine, const Deployment& deployment, const Plan& now,
                          const HandChange& change);

// Room for one more MIG slice.
struct RoomAsk {
  std::string profile;
  std::string gpu;   // catalog key; "" = any
  std::string tier;  // "" = of no tier
};

// The spec with a workload that would take the room, for planning only.
Spec WithRoomFor(const Spec& spec, const RoomAsk& ask);

// What a plan for WithRoomFor(spec, ask) does without that workload: the moves that make the room,
// and who is restarted by them, in its notes. kDoesNotFit when there is no such plan.
Result<Plan> MakeDefragPlan(Plan with_room, const Spec& spec, const RoomAsk& ask);

}  // namespace tranche
