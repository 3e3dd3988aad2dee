#pragma once

#include <string>

#include "base/result.h"
#include "model/time_slice.h"

namespace tranche {

// How long each process has a GPU at a time. NVML knows nothing of it, hence beside Driver. Any
// thread.
class TimeSlices {
 public:
  virtual ~TimeSlices() = default;

  // kUnsupported where the driver or the GPU has no time slices to be set, or nothing can set them.
  virtual Result<TimeSlice> Get(const std::string& gpu_uuid) = 0;
  // For processes that start from now on. kPermission for who may not.
  virtual Status Set(const std::string& gpu_uuid, TimeSlice time_slice) = 0;
};

}  // namespace tranche
