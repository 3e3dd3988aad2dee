#pragma once

#include <string>
#include <vector>

#include "face/cli/context.h"

namespace tranche {

// What `tranche` does with its arguments (without the program's name): finds the verb, runs it,
// prints what went wrong, and returns the exit code.
int RunCli(const std::vector<std::string>& words, World& world);

}  // namespace tranche
