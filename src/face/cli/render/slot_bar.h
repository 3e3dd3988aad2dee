#pragma once

#include <string>
#include <utility>
#include <vector>

#include "model/machine.h"

namespace tranche {

// What sits in the memory slots of one GPU, drawn: "[22|22|..|1.]". Each slot shows the first
// letter of the profile of the instance that holds it (its compute slices), "." where none is; "|"
// parts neighbours.
std::string SlotBar(int slots, const std::vector<std::pair<MigPlacement, std::string>>& instances);
// Of the instances that are there now; "" when MIG is off or not there.
std::string SlotBar(const Gpu& gpu);

}  // namespace tranche
