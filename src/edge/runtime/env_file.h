#pragma once

#include <string>

#include "base/subprocess.h"

namespace tranche {

// Reads a regular file of at most 1 MiB with somebody's rights, not our own: a child takes them on
// and reads, so that nobody learns through Tranche what he may not read himself. kNotFound,
// kPermission, kInvalid.
Result<std::string> ReadFileAs(const Credentials& credentials, const std::string& path);

}  // namespace tranche
