#pragma once

#include <functional>
#include <string>

namespace tranche {

// One line for whoever keeps the machine. A parameter, so that nothing below main() chooses where
// logs go. Called from any thread.
using Log = std::function<void(const std::string& line)>;

}  // namespace tranche
