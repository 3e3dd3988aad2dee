#pragma once

#include "edge/store/installation.h"
#include "model/machine.h"
#include "model/plan.h"

namespace tranche {

// On whose behalf the plan's workloads run.
struct Owner {
  uint32_t uid = 0;
  uint32_t gid = 0;
  bool allow_root = false;
};

// What is installed when every step of `plan` was done, on a machine and an installation as before
// its first step. A replica that is kept stays its owner's. A GPU that is changed for the first
// time gets its baseline here. Pure.
Installation NextInstallation(const Installation& before, const Plan& plan, const Machine& machine,
                              const Owner& owner);

// Likewise after a `down`: nothing is left, and what was made again for others is theirs.
Installation EmptyInstallation();

// What is installed when applying stopped part-way and could not be undone: what was before, and of
// what the plan was to make that which is there. `machine` is null when it could not be read; then
// all of it counts, because to forget an instance would make it somebody else's.
Installation PartialInstallation(const Installation& before, const Installation& after,
                                 const Machine* machine);

}  // namespace tranche
