#pragma once

#include <sys/types.h>

#include <optional>
#include <string>

#include "base/result.h"

namespace tranche {

// Listens on a unix socket at `path`, mode 0660, owned by this user and `group` where given. Its
// folder is made when missing. What a daemon that died left there is removed; a socket that answers
// is kBusy. Returns the descriptor (close-on-exec), which the caller owns.
Result<int> ListenOnSocket(const std::string& path, std::optional<gid_t> group);

}  // namespace tranche
