#pragma once

#include <memory>
#include <string>

#include "edge/driver/driver.h"

namespace tranche {

// The driver over NVIDIA's management library, opened at run time by its soname. kUnavailable when
// there is no library, no driver behind it, or the two do not match. Once opened it survives driver
// reloads and resets: what was lost is opened again by the next call that needs it.
//
// WaitForEvents returns within a quarter of a second when another call has to open the library
// again. While there is no driver it waits out its timeout and answers kUnavailable, so a loop
// around it does not spin.
Result<std::unique_ptr<Driver>> OpenNvmlDriver(const std::string& library = "libnvidia-ml.so.1");

}  // namespace tranche
