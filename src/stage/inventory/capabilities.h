#pragma once

#include <vector>

#include "catalog/catalog.h"
#include "model/machine.h"
#include "stage/inventory/host.h"

namespace tranche {

// What each GPU of `machine` can promise through each mechanism, given what the caller may do.
// Pure. Modes that can be switched count as possible, and the reason says that they would be. A
// mechanism that this build does not drive is not available, whatever the GPU could do.
std::vector<Capability> JudgeCapabilities(const Machine& machine, const Catalog& catalog,
                                          const HostAbilities& host);

// Whether driver version `have` is at least `need`, by numbers: "580.95.05" >= "525.85.12".
bool DriverAtLeast(const std::string& have, const std::string& need);

}  // namespace tranche
