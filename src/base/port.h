#pragma once

#include <set>

#include "base/result.h"

namespace tranche {

// The first TCP port from `first` up on which 127.0.0.1 and the wildcard address can be listened
// on, leaving out `taken`. Somebody else may still take it before its user does.
Result<int> FindFreePort(int first, const std::set<int>& taken = {});

// Whether 127.0.0.1:`port` can be listened on now.
bool IsPortFree(int port);

}  // namespace tranche
