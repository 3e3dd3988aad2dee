#pragma once

#include <string>

#include "base/result.h"
#include "sim/machine/machine.h"

// Where a program finds the simulated libraries of one machine.
namespace tranche::sim {

// The folder of the libraries that came with this program: ../lib/sim beside its own.
std::string InstalledLibraries();

// Brings DIR/lib in line with the machine: its libnvidia-ml.so.1 is there when the driver is too
// old for some symbols or some were taken away, and gone when the installed library will do.
Status RefreshLibraries(Machine* machine);

}  // namespace tranche::sim
