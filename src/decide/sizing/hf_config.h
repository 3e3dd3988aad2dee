#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "decide/sizing/server.h"

namespace tranche {

// A model from the text of its config.json, as the Hugging Face hub has it: its shape, what of it
// is quantised, and the parameters that follow. Families that are not known by name are read by the
// fields that nearly all share. `name` is what to call it. Text that is no such file, lacks what
// sizing needs, or has values that no model has is kInvalid, with all that is wrong.
Result<SizedModel> ModelFromHfConfig(std::string_view text, const std::string& name);

}  // namespace tranche
