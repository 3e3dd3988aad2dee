#pragma once

#include "catalog/catalog.h"
#include "face/cli/render/answer.h"

namespace tranche {

// The types of virtual GPUs that the catalog knows, with what must be bought for them: of one GPU,
// or of all when `only` is nullptr.
Answer ViewCatalogVgpus(const Catalog& catalog, const CatalogGpu* only);

}  // namespace tranche
