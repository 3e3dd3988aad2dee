#pragma once

#include <string>

#include "base/result.h"
#include "catalog/performance.h"

namespace tranche {

// The coefficients in that file, or the embedded ones for "".
Result<PerformanceCoefficients> LoadCoefficients(const std::string& path);

}  // namespace tranche
