#pragma once

#include "base/result.h"
#include "catalog/catalog.h"
#include "face/cli/render/answer.h"

namespace tranche {

Answer ViewCatalogGpus(const Catalog& catalog);
// Of one GPU, or of all that have MIG when `gpu` is nullptr.
Answer ViewCatalogMig(const Catalog& catalog, const CatalogGpu* gpu);
// The placement-maximal layouts of one GPU, of plain profiles.
Result<Answer> ViewCatalogLayouts(const CatalogGpu& gpu);
Answer ViewCatalogMechanisms(const Catalog& catalog);
Answer ViewCatalogModels(const Catalog& catalog);

}  // namespace tranche
