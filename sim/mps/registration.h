#pragma once

#include <functional>

#include "sim/machine/mps.h"
#include "sim/mps/protocol.h"

// A control daemon and its servers in the machine.
namespace tranche::sim::mps {

// This process as the daemon behind its pipe directory. kInvalid: there is one.
Rc RegisterDaemon(Machine* machine, const Settings& settings, uint64_t* daemon);
// Its servers go with it.
void UnregisterDaemon(Machine* machine, uint64_t daemon);

// Changes the entry of a server; kNotFound when it is gone.
Rc ChangeServer(Machine* machine, uint64_t server, const std::function<void(MpsServer&)>& change);
// A copy of it; serial 0 when it is gone.
MpsServer ServerOf(Machine* machine, uint64_t server);

}  // namespace tranche::sim::mps
