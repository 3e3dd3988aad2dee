#include "sim/nvml/board.h"

#include <string_view>

namespace tranche::sim::nvml {

Board BoardOf(const GpuSpec& gpu) {
  switch (gpu.arch) {
    case Arch::kVolta:
      return {135, 1290, 1530, 877, 3, 16, 4096, 87, 90, 83, true, false};
    case Arch::kTuring:
      return {300, 585, 1590, 5001, 3, 16, 256, 93, 96, 85, true, true};
    case Arch::kAmpere:
      // Compute capability 8.0 is the big chip with HBM, 8.6 the one with GDDR.
      if (gpu.cc_minor == 0) return {210, 1095, 1410, 1215, 4, 16, 5120, 89, 92, 85, false, false};
      return {210, 885, 1695, 6251, 4, 16, 384, 95, 98, 88, true, true};
    case Arch::kAda:
      return {210, 1110, 2520, 9001, 4, 16, 384, 89, 92, 87, true, true};
    case Arch::kHopper:
      return {345, 1590, 1980, 2619, 5, 16, 5120, 87, 92, 85, false, false};
    case Arch::kBlackwell:
      if (gpu.cc_major == 10) return {120, 1665, 1965, 3996, 6, 16, 8192, 90, 95, 88, false, false};
      return {180, 1590, 2430, 12481, 5, 16, 512, 90, 95, 88, true, true};
  }
  return {210, 1000, 1500, 1000, 4, 16, 256, 89, 92, 85, true, true};
}

unsigned NvlinkCount(const GpuSpec& gpu) {
  std::string_view key = gpu.key;
  bool has = false;
  for (std::string_view part : {"SXM", "B200", "B300"}) has = has || key.find(part) != key.npos;
  if (!has) return 0;
  if (gpu.arch == Arch::kVolta) return 6;
  return gpu.arch == Arch::kAmpere ? 12 : kMaxNvlinks;
}

}  // namespace tranche::sim::nvml
