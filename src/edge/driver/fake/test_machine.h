#pragma once

#include <string>
#include <vector>

#include "model/machine.h"

namespace tranche {

// Machines for tests, as a driver would read them. UUIDs are
// "GPU-00000000-0000-0000-0000-00000000000<index>".

std::string TestGpuUuid(int index);

// H100 SXM5 80 GB with its seven profiles, MIG on or off, no instances, nobody on it.
Gpu TestH100(int index = 0, bool mig_on = true);
// T4: no MIG.
Gpu TestT4(int index = 0);

Machine TestMachine(std::vector<Gpu> gpus);
// One H100 with MIG on.
Machine TestMachine();

}  // namespace tranche
