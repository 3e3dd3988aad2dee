#pragma once

#include <string>

#include "abi/nvml.h"
#include "base/result.h"

namespace tranche {

// The one place that says what an NVML return code means.
struct NvmlMeaning {
  ErrorCode code = ErrorCode::kFailed;
  const char* reason = "";  // "not supported on this GPU"; also why a reading is absent
  const char* hint = "";
};
NvmlMeaning MeaningOf(nvmlReturn_t rc);

// "`doing`: not supported on this GPU".
Error NvmlError(nvmlReturn_t rc, const std::string& doing);

// True when the library has lost its driver or a GPU and must be opened again before it can be
// believed.
bool NeedsReopening(nvmlReturn_t rc);

}  // namespace tranche
