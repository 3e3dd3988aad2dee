#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "catalog/catalog.h"
#include "edge/store/installation.h"

namespace tranche {

// The program and arguments that a replica is started with; "${PORT}" stands for its port.
// `program_directory` is where Tranche's own programs are ("" = look for them in PATH). kInvalid
// when there is nothing to run.
Result<std::vector<std::string>> CommandOf(const Launch& launch, const Catalog& catalog,
                                           const std::string& program_directory);

// Whether the replica is given a port: an engine always is; a `command` when it has a route, asks
// for one, or is of a kind that serves.
bool NeedsPort(const Workload& workload);

// The directory of the running executable, or "" when tranche-model-server is not beside it.
std::string OwnProgramDirectory();

}  // namespace tranche
