#pragma once

#include <string>
#include <vector>

namespace tranche {

// In double quotes, as JSON has it and YAML reads it, whatever stands in it: quotes, line ends,
// control characters.
std::string Quote(const std::string& text);
// ["a", "b"].
std::string QuoteList(const std::vector<std::string>& words);

}  // namespace tranche
