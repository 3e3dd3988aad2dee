#pragma once

#include "stage/request/values.h"

namespace tranche {

// The rules between keys, of a spec whose values are read and whose defaults are filled in. `root`
// is the file; values that could not be read are marked in `context.mistakes` and left out of
// account.
void CheckSpec(ReadContext& context, const YamlNode& root, const Spec& spec);

}  // namespace tranche
