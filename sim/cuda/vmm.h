#pragma once

#include <functional>
#include <memory>

#include "sim/cuda/library.h"

namespace tranche::sim::cuda {

struct Physical {
  uint64_t bytes = 0;
  int device = 0;
  uint64_t serial = 0;  // charged to; 0 = another process holds it, or it is the host's
  int handles = 0;      // references: created, retained, imported
  int mappings = 0;
  CUmemAllocationProp properties = {};
  std::shared_ptr<Contents> contents = std::make_shared<Contents>();
  std::function<void()> on_end;  // of what is no memory of its own
};

// Under the library's lock.
Physical* FindPhysical(uint64_t handle);
uint64_t AddPhysical(Library& library, Physical physical);
// Gives it back when nothing holds it any more.
void DropUnused(Library& library, uint64_t handle);
// The handle of what is mapped to all of a range; 0: nothing.
uint64_t PhysicalAt(CUdeviceptr address, uint64_t bytes);

}  // namespace tranche::sim::cuda
