#pragma once

#include <string>
#include <vector>

#include "base/result.h"

// A shared library without some of its symbols. A driver that is too old for a function has a
// library that lacks it, and dlsym must say so; a stub that answers FUNCTION_NOT_FOUND would be
// another thing.
namespace tranche::sim {

// Copies the ELF file `from` to `to` (whole or not at all) with those dynamic symbols undefined, so
// that the dynamic linker does not find them. A name that is not there is none of its business: the
// result says how many were struck.
Result<int> CopyWithoutSymbols(const std::string& from, const std::string& to,
                               const std::vector<std::string>& symbols);

}  // namespace tranche::sim
