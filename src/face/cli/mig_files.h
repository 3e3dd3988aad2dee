#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/json_fwd.h"
#include "model/machine.h"
#include "stage/import/mig_parted.h"

namespace tranche {

// The MIG devices of a GPU as mig-parted counts them: by name, where an instance that is divided
// further counts as its parts ("1c.3g.40gb"). Where they sit does not matter to it.
std::map<std::string, int> MigDevicesOf(const Gpu& gpu);

// In which way the machine is not as it is wanted, a sentence each; with `mode_only` only MIG modes
// are looked at. A GPU without MIG is as it is wanted where MIG is not.
std::vector<std::string> MigDifferences(const Machine& machine,
                                        const std::vector<MigPartedWant>& wants, bool mode_only);

// A configuration of mig-parted, under that name, by which the machine would be as it is.
Json MigPartedConfig(const Machine& machine, const std::string& name);

}  // namespace tranche
