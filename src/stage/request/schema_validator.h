#pragma once

#include <string>

#include "base/json_fwd.h"
#include "base/yaml.h"

namespace tranche {

// For tests: the part of JSON Schema that our schema uses, written without a look at how it is
// made. The first violation, "" when there is none. A keyword that it does not know is a violation.
std::string SchemaViolation(const Json& schema, const Json& value, const std::string& where = "$");

// A YAML tree as an editor sees it. NaN and infinities, which JSON has not, become null.
Json JsonOfYaml(const YamlNode& node);

}  // namespace tranche
