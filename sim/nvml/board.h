#pragma once

#include "sim/machine/spec.h"

// What differs from board to board and the catalog does not tell, because the product has no use
// for it: clocks, links, thresholds. Good to look at, not to rely on.
namespace tranche::sim::nvml {

struct Board {
  unsigned idle_mhz, base_mhz, max_mhz, memory_mhz;
  unsigned pcie_generation, pcie_width;
  unsigned bus_bits;  // memory
  unsigned slowdown_celsius, shutdown_celsius, max_celsius;
  bool encoder;    // has NVENC
  bool deep_idle;  // goes down to P8 with nothing to do
};

Board BoardOf(const GpuSpec& gpu);

inline constexpr unsigned kMaxNvlinks = 18;
// Links of the boards that have NVLink: SXM and its successors.
unsigned NvlinkCount(const GpuSpec& gpu);

}  // namespace tranche::sim::nvml
