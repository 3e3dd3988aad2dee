#pragma once

#include <memory>
#include <string>
#include <vector>

#include "catalog/performance.h"

namespace tranche {

// What speeds are predicted with, and where it is from.
struct UsedCoefficients {
  std::shared_ptr<const PerformanceCoefficients> values;
  std::string from;  // the file; "" = built in
};

// Those that whoever runs this machine fitted to it (`tranche calibrate`): `coefficients.yaml` in
// the first of these directories that has one; the built-in ones when none has. A file that cannot
// be read is an error, as predictions would silently be others than were asked for.
Result<UsedCoefficients> ConfiguredCoefficients(const std::vector<std::string>& directories);

}  // namespace tranche
