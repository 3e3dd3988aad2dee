#pragma once

#include <memory>
#include <string>
#include <vector>

#include "face/cli/arguments.h"
#include "face/cli/verb.h"

namespace tranche {

std::string ProgramHelp(const std::vector<std::unique_ptr<Verb>>& verbs, const Arguments& globals);
std::string VerbHelp(Verb& verb, const Arguments& globals);
// "  -f, --file FILE   what it is for", one line per parameter, aligned.
std::string ParameterHelp(const Arguments& arguments);

}  // namespace tranche
