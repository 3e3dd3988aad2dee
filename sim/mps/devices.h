#pragma once

#include <optional>
#include <string>
#include <vector>

#include "sim/machine/machine.h"

namespace tranche::sim::mps {

// What a control daemon serves, in the order of its ordinals.
class Devices {
 public:
  Devices(Machine* machine, std::vector<Target> targets);

  size_t size() const { return targets_.size(); }
  const Target& operator[](size_t ordinal) const { return targets_[ordinal]; }
  const GpuSpec& Gpu(size_t ordinal) const;
  const std::string& Uuid(size_t ordinal) const { return uuids_[ordinal]; }
  // Its beginning, as long as it takes to tell it from the others: "GPU-74d43ed3".
  std::string ShortUuid(size_t ordinal) const;
  std::string PciId(size_t ordinal) const;
  // Where a GPU is among them; absent when it is not.
  std::optional<size_t> OrdinalOf(uint32_t gpu) const;

  // By ordinal, or by UUID.
  std::optional<size_t> Named(const std::string& name) const;
  // ... in full, or by a beginning that no other one has.
  std::optional<size_t> NamedByUuid(const std::string& name) const;

 private:
  const Machine* machine_;
  std::vector<Target> targets_;
  std::vector<std::string> uuids_;
};

}  // namespace tranche::sim::mps
