#pragma once

#include "base/yaml.h"
#include "catalog/catalog.h"
#include "model/spec.h"

namespace tranche {

// Fills in what depends on other keys of the workload. `node` is its map in the file and says what
// was given; `spec` is the file's top level.
void FillInDefaults(const YamlNode& node, const Spec& spec, const Catalog& catalog,
                    Workload* workload);

}  // namespace tranche
