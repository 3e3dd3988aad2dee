#pragma once

#include <string>

#include "base/result.h"
#include "catalog/catalog.h"
#include "model/machine.h"

namespace tranche {

// The GPUs of `--gpu MODEL[:COUNT]` or of `--machine FILE`, of which one is given.
Result<Machine> TargetMachine(const std::string& gpu, const std::string& machine_file,
                              const Catalog& catalog);

}  // namespace tranche
