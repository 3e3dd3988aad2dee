#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace tranche {

// What a client asked for, taken apart and decoded.
struct Target {
  std::vector<std::string> segments;  // "/v1/status" -> {"v1", "status"}
  std::map<std::string, std::string> query;
};

// kInvalid for anything that is no absolute path, for broken percent escapes and for control
// characters.
Result<Target> ParseTarget(std::string_view target);

// The values of the {name} parts of `pattern`, or nullopt when the segments do not match it.
std::optional<std::map<std::string, std::string>> MatchPath(
    std::string_view pattern, const std::vector<std::string>& segments);

}  // namespace tranche
