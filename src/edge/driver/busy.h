#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "model/machine.h"

namespace tranche {

// "pid 4242 (python3 train.py, user alice, container 3f2a)": who is in the way, with what is known
// of them.
std::string DescribeProcess(const GpuProcess& process);

// kBusy: "`doing`: in use by pid 4242 (...), pid 4243 (...)". With no process known it says that
// somebody holds the GPU whom the driver does not list, and where to look.
Error BusyError(const std::string& doing, const std::vector<GpuProcess>& processes);

}  // namespace tranche
