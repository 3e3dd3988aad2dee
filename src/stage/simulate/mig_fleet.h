#pragma once

#include "catalog/catalog.h"
#include "stage/simulate/trace.h"

namespace tranche::simulate {

// Tells the fleet how GPUs whose model the catalog knows can be divided by MIG, and which profiles
// there are. Profiles that differ in engines only (+me, +gfx) are left out: engines are not
// counted.
void AddMig(const Catalog& catalog, Fleet* fleet);

}  // namespace tranche::simulate
