#pragma once

#include <memory>
#include <string>
#include <vector>

#include "edge/driver/time_slices.h"

namespace tranche {

// Time slices by `nvidia-smi compute-policy`, the only documented way to them. The program is
// looked for in `path` (a list as in PATH) at every call: it may be installed later. `environment`:
// "NAME=value", what it is started with.
std::unique_ptr<TimeSlices> MakeSmiTimeSlices(std::string path,
                                              std::vector<std::string> environment);

// What `nvidia-smi compute-policy -l` says of the one GPU that it was asked about. Its table is
// documented nowhere, so only the line with "timeslice" and a known word, or the number that stands
// for it, is relied on.
Result<TimeSlice> ReadComputePolicy(const std::string& output);

}  // namespace tranche
