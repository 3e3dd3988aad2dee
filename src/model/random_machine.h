#pragma once

#include <random>

#include "model/machine.h"

namespace tranche {

// A machine with every kind of value and of absence, for property tests. The same seed gives the
// same machine.
Machine RandomMachine(uint32_t seed);

}  // namespace tranche
