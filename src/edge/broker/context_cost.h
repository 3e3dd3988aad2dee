#pragma once

#include <string>

#include "base/result.h"
#include "base/units.h"
#include "edge/broker/limiter_files.h"
#include "edge/driver/driver.h"

namespace tranche {

// What a context costs on a GPU with this driver before the program has any memory: has a process
// of its own make one, and asks the driver what that process holds. Takes as long as a context
// takes.
Result<Bytes> MeasureContext(Driver& driver, const LimiterFiles& files, const std::string& libcuda,
                             const std::string& gpu_uuid);

}  // namespace tranche
