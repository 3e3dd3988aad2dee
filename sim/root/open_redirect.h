#pragma once

#include <string>
#include <utility>
#include <vector>

#include "base/result.h"

namespace tranche::sim {

// For a path at which nothing can be mounted, because nothing is there and nothing can be put there
// (/proc/modules under a kernel that has no modules): from now on this process and all that it
// becomes and starts get the other file when they open that path for reading.
//
// A process in the background, of the caller's own making, answers for it (seccomp's user
// notification), and ends with the last of them. kUnsupported where the kernel cannot do that.
Status RedirectOpens(const std::vector<std::pair<std::string, std::string>>& paths);

}  // namespace tranche::sim
