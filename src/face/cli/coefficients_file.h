#pragma once

#include <string>

#include "base/result.h"
#include "catalog/performance.h"
#include "engine/coefficients.h"
#include "face/cli/context.h"

namespace tranche {

// The coefficients in that file; for "" those of this user's configuration, else the built-in ones.
Result<UsedCoefficients> LoadCoefficients(const std::string& path, Context& context);

// "mine.yaml", "the built-in coefficients".
std::string NameOf(const UsedCoefficients& coefficients);

}  // namespace tranche
