#pragma once

#include <map>
#include <string>
#include <vector>

#include "model/receipt.h"

namespace tranche {

// So many of the last receipts are looked at.
constexpr int kReceiptsRemembered = 64;

// Which profiles of MIG were asked for lately, by workloads that were new then and by hand, and how
// often; what is longer ago counts less. `receipts`: the newest first, as the store keeps them, so
// that a restart forgets nothing.
std::map<std::string, double> SlicesSeen(const std::vector<Receipt>& receipts);

}  // namespace tranche
