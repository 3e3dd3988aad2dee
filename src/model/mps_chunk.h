#pragma once

#include <charconv>
#include <string_view>

namespace tranche {

// SMs of the chunks that MPS makes static partitions of, for a compute capability such as "9.0": 8
// from Hopper on, 4 on Ampere and Ada (NVIDIA's documentation of MPS, release 615). 0 = it has no
// partitions, or is not known. A daemon says how many chunks there really are.
inline int MpsChunkSms(std::string_view compute_capability) {
  int major = 0;
  std::from_chars(compute_capability.data(), compute_capability.data() + compute_capability.size(),
                  major);
  return major >= 9 ? 8 : major == 8 ? 4 : 0;
}

}  // namespace tranche
