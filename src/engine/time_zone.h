#pragma once

#include <string>
#include <string_view>

#include "model/maintenance.h"

namespace tranche {

// The time zones of this machine, as in `root`/usr/share/zoneinfo. "UTC" needs no file.
ZoneOffset SystemTimeZones(std::string root);

// Seconds ahead of UTC by what a file of tzcode holds (RFC 8536, versions 2 to 4): its transitions,
// and after the last of them the rule in its footer.
Result<int> OffsetInZoneFile(std::string_view file, int64_t unix_seconds);

}  // namespace tranche
