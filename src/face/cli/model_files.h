#pragma once

#include <string>

#include "base/result.h"
#include "catalog/catalog.h"
#include "decide/sizing/server.h"

namespace tranche {

// The model that a user means: the path of a config.json, a safetensors or GGUF file, an index of
// safetensors files, or the folder of a checkpoint; else a name of the catalog, also with a suffix
// like -FP8 or -AWQ that says its precision; else a bare number of parameters, "7B". Of files with
// weights only the header is read. Unknown names are kNotFound with the nearest.
Result<SizedModel> FindModel(const std::string& name_or_path, const Catalog& catalog);

// "7B", "0.5b", "8030000000": parameters; kInvalid for anything else.
Result<double> ParseParameters(const std::string& text);
// A model of that many parameters whose shape is what is typical of its size.
SizedModel ModelOfSize(double parameters);

}  // namespace tranche
