#pragma once

#include <functional>
#include <string>
#include <vector>

#include "base/process.h"
#include "base/result.h"
#include "base/units.h"

namespace tranche {

// Runs a program where the caller is: its terminal, descriptors, working directory, umask and
// process group. Signals that come to the caller go on to it, except those that the terminal sent
// to both. It is in the cgroup of that folder, unless "". `tick` is called at least every
// `interval` until the program has ended.
Result<ProcessEnd> RunInForeground(const std::string& file, const std::vector<std::string>& argv,
                                   const std::vector<std::string>& environment,
                                   const std::string& cgroup, Duration interval,
                                   const std::function<void()>& tick);

}  // namespace tranche
