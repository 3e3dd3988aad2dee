#pragma once

#include <string>

#include "base/result.h"
#include "base/units.h"
#include "edge/driver/driver.h"

namespace tranche {

// The driver's libcuda that a program would load, ours aside: an absolute path. kUnavailable when
// there is none. `folders`: as in LD_LIBRARY_PATH.
Result<std::string> FindLibcuda(const std::string& folders);

// What a context costs on a GPU with this driver before the program has any memory: makes one in a
// child process and asks the driver what that process holds. Takes as long as a context takes.
Result<Bytes> MeasureContext(Driver& driver, const std::string& libcuda,
                             const std::string& gpu_uuid);

}  // namespace tranche
