#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/units.h"

namespace tranche {

// What a virtual GPU is licensed for, the letter in its type's name: C computing (what inference
// and training ask for), Q workstations, A applications, B desktops.
enum class VgpuSeries { kC, kQ, kA, kB };

// A type of virtual GPU as the driver of this machine names it. Numbers change with the driver.
struct VgpuType {
  uint32_t id = 0;
  std::string name;  // "NVIDIA A40-8C"
  VgpuSeries series = VgpuSeries::kC;
  Bytes framebuffer;
  int mig_slices = 0;  // of the GPU instance that backs it; 0: it shares the GPU by time

  bool operator==(const VgpuType&) const = default;
};

// From the name: "<board>-[<slices>-]<GiB><series>[ME]". kInvalid for any other.
Result<VgpuType> ParseVgpuTypeName(uint32_t id, const std::string& name);
// `creatable_vgpu_types` of a virtual function: lines "<id> : <name>", with a header line or
// without. Lines of types that are no vGPU of ours to make are left out.
std::vector<VgpuType> ParseCreatableTypes(const std::string& text);

char VgpuSeriesLetter(VgpuSeries series);
std::optional<VgpuSeries> ParseVgpuSeries(const std::string& letter);

}  // namespace tranche
