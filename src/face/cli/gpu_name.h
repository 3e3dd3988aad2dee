#pragma once

#include <string>

#include "base/result.h"
#include "model/machine.h"

namespace tranche {

// The GPU that somebody calls "0", "gpu0", by its UUID or the beginning of one that fits no other.
Result<const Gpu*> FindGpuByName(const Machine& machine, const std::string& name);

}  // namespace tranche
