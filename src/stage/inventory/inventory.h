#pragma once

#include "base/clock.h"
#include "catalog/catalog.h"
#include "edge/driver/driver.h"
#include "model/machine.h"
#include "model/spec.h"

namespace tranche {

// Reads the machine through `driver` and adds what the driver does not know: catalog keys, the user
// and container of each process (from `root`/proc), capabilities, the fingerprint.
Result<Machine> TakeInventory(Driver& driver, const Catalog& catalog, Clock& clock,
                              const std::string& root = "/");

// The machine that a spec's `fleet:` describes, made from the catalog, for planning without
// hardware. GPUs are called "fleet-<catalog key>-<n>".
Machine MachineFromFleet(const Spec& spec, const Catalog& catalog);

}  // namespace tranche
