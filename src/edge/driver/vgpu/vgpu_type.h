#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/units.h"
#include "model/vgpu.h"

namespace tranche {

// A type of virtual GPU as the driver of this machine names it. Numbers change with the driver.
struct VgpuType {
  uint32_t id = 0;
  std::string name;  // "NVIDIA A40-8C"
  VgpuSeries series = VgpuSeries::kC;
  Bytes framebuffer;
  int mig_slices = 0;         // of the GPU instance that backs it; 0: it shares the GPU by time
  int most = 0;               // of it on one GPU; 0: the kernel does not say
  int most_per_instance = 0;  // likewise, of it in one GPU instance of MIG
  std::optional<int> instance_profile = {};  // likewise, what `nvidia-smi mig -cgi` takes for those

  bool operator==(const VgpuType&) const = default;
};

// From the name: "<board>-[<slices>-]<GiB><series>[ME]". kInvalid for any other.
Result<VgpuType> ParseVgpuTypeName(uint32_t id, const std::string& name);
// `creatable_vgpu_types` of a virtual function: lines "<id> : <name>", with a header line or
// without. Lines of types that are no vGPU of ours to make are left out; kInvalid when a line is
// none of all this.
Result<std::vector<VgpuType>> ParseCreatableTypes(const std::string& text);
// `nvidia-smi vgpu -s -v`: blocks of "Name : NVIDIA A40-8C", "Max Instances : 6", "FB Memory :
// 8192 MiB", or without -v the names alone; of those that MIG backs also "GPU Instance Profile ID :
// 47" and "Max Instances Per GI : 2". Their numbers are left at 0.
std::vector<VgpuType> ParseSupportedTypes(const std::string& text);

// What a mediated device's type says of itself beside its name: "..., framebuffer=8192M,
// max_resolution=4096x2160, max_instance=6". What is not in it stays as it is.
void ReadVgpuDescription(const std::string& text, VgpuType* type);

}  // namespace tranche
