#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "catalog/catalog.h"

namespace tranche::catalog {

using MigSources = std::vector<std::pair<std::string, std::vector<MigProfileSource>>>;

// Each reads one file of data/ and checks that it does not contradict itself.
Result<std::vector<CatalogGpu>> LoadGpus(std::string_view text);
Result<std::vector<CatalogMechanism>> LoadMechanisms(std::string_view text);
Result<std::vector<CatalogModel>> LoadModels(std::string_view text);
// Gives every MIG GPU of `gpus` its profiles. Returns the sources, in the order of `gpus`.
Result<MigSources> LoadMig(std::string_view text, std::vector<CatalogGpu>* gpus);

}  // namespace tranche::catalog
