#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "catalog/catalog.h"
#include "edge/runtime/runtime.h"
#include "edge/store/installation.h"

namespace tranche {

// The program and arguments that a replica is started with; "${PORT}" stands for its port.
// `program_directory` is where Tranche's own programs are ("" = look for them in PATH). kInvalid
// when there is nothing to run. Without a program, only arguments, where the image has its own.
Result<std::vector<std::string>> CommandOf(const Launch& launch, const Catalog& catalog,
                                           const std::string& program_directory);

// The container that a workload with an image runs in. What CommandOf() said is then run in it: the
// program becomes its entrypoint and is taken off `argv`.
std::optional<ContainerUse> ContainerOf(const Workload& workload, std::vector<std::string>* argv);

// Whether the replica is given a port: an engine always is; a `command` when it has a route, asks
// for one, or is of a kind that serves.
bool NeedsPort(const Workload& workload);

// The directory of the running executable, or "" when tranche-model-server is not beside it.
std::string OwnProgramDirectory();

}  // namespace tranche
