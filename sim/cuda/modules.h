#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "sim/cuda/library.h"

namespace tranche::sim::cuda {

Slots<Kernel>& Kernels();

// A kernel as an image declares it.
struct KernelLine {
  std::string name;
  uint64_t cost_ns = 0;
  bool cost_is_argument = false;
  bool counts = false;
};

struct Image {
  bool ours = false;  // else it may hold any kernel, each for nothing
  uint64_t bytes = 0;
  std::vector<KernelLine> kernels;
  std::map<std::string, uint64_t> globals;  // variables, with their bytes
};

// What is loaded as code. Our own format is text, ended by a zero:
//
//   tranche-kernels 1
//   kernel NAME NANOSECONDS     takes the whole device for that long
//   kernel NAME argument        for as long as its first argument says, 64 bits
//   kernel NAME NANOSECONDS counts    lowers the condition (conditional.h) it is given
//   global NAME BYTES           a variable, of the memory of each context that the code is in
//   code BYTES                  the code is so large
//
// All else is code that is not understood.
Image ReadImage(const void* image);

}  // namespace tranche::sim::cuda
