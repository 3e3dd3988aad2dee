#pragma once

#include <nlohmann/json_fwd.hpp>

namespace tranche {

// Names the JSON type without its 25,000 lines; base/json.h has the rest. Keys keep the order in
// which a codec wrote them, so that output reads as its author meant.
using Json = nlohmann::ordered_json;

}  // namespace tranche
