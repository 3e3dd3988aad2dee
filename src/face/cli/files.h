#pragma once

#include <string>

#include "base/result.h"
#include "catalog/catalog.h"
#include "model/machine.h"
#include "model/plan.h"
#include "model/spec.h"

namespace tranche {

// The whole file, at most `limit` bytes; "-" is standard input.
Result<std::string> ReadWholeFile(const std::string& path, size_t limit);
// By way of a file beside it, so that nobody ever reads half of it.
Status WriteWholeFile(const std::string& path, const std::string& text);

// All mistakes of the file in one error, one per line, with places and hints.
Result<Spec> LoadSpec(const std::string& path, const Catalog& catalog);
Result<Machine> LoadMachine(const std::string& path);
Result<Plan> LoadPlan(const std::string& path);

}  // namespace tranche
