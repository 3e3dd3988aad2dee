#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"

namespace tranche {

// The file that a name without a slash means, looked for in `path` (a list as in PATH). kNotFound
// and kPermission as a shell would report them (its 127 and 126).
Result<std::string> FindProgram(const std::string& name, const std::string& path);

// Whether a limiter can be loaded into the program when `uid` runs it: not when it is static, has
// another C library than glibc, or changes rights when it starts. kUnsupported, with what to do.
// For a script, its interpreter is looked at.
Status CheckProgram(const std::string& file, uint32_t uid);

}  // namespace tranche
