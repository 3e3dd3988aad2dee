#pragma once

#include <string>

#include "catalog/catalog.h"
#include "face/cli/context.h"
#include "model/spec.h"

namespace tranche {

// Which price list fills in what a spec leaves out.
struct ListedPrices {
  std::string file;  // or a folder; "" = the one among the configuration, if there is one
  std::string provider, region;  // "" = any
};

// Fills in the prices that the spec does not state, on demand and spot, with the lowest that is
// listed, and says on stderr where they are from. What the list does not know stays unknown. The
// plan is then made of the spec alone, wherever it is made.
Status FillInPrices(const ListedPrices& from, const Catalog& catalog, Context& context, Spec* spec);

}  // namespace tranche
