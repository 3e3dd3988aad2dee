#pragma once

#include <set>
#include <string>

#include "base/clock.h"
#include "catalog/catalog.h"
#include "edge/driver/driver.h"
#include "model/machine.h"
#include "model/spec.h"

namespace tranche {

// Reads the machine through `driver` and adds what the driver does not know: catalog keys, the user
// and container of each process (from `root`/proc), capabilities, the fingerprint.
// `exclusive_for_mps`: GPUs whose compute mode Tranche has set for MPS; what else could be done
// with them is judged as if it had not.
Result<Machine> TakeInventory(Driver& driver, const Catalog& catalog, Clock& clock,
                              const std::string& root = "/",
                              const std::set<std::string>& exclusive_for_mps = {});

// The machine that a spec's `fleet:` describes, made from the catalog, for planning without
// hardware. GPUs are called "fleet-<catalog key>-<n>".
Machine MachineFromFleet(const Spec& spec, const Catalog& catalog);

}  // namespace tranche
