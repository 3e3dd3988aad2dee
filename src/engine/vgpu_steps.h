#pragma once

#include <string>

#include "edge/driver/driver.h"
#include "engine/vgpu_book.h"
#include "model/plan.h"

namespace tranche {

// The steps that make and take away virtual GPUs, and set what holds for all of a GPU. Without a
// host they are refused.
class VgpuSteps {
 public:
  // All must outlive this; `host` and `book` are both there, or neither.
  VgpuSteps(Driver& driver, VgpuHost* host, VgpuBook* book)
      : driver_(driver), host_(host), book_(book) {}

  Result<std::string> Do(const Step& step);
  Result<bool> Holds(const Step& step);
  Status Undo(const Step& step);

  // Makes the GPU that of `state`, as far as it says; OK when it is.
  Status SetHost(const std::string& gpu_uuid, const VgpuHostState& state);
  Result<std::string> Create(const std::string& workload, int replica, const Slice& slice);

 private:
  Result<std::string> AddressOf(const std::string& gpu_uuid);
  Result<bool> HostIs(const std::string& gpu_uuid, const VgpuHostState& state);
  // Whether the driver put it where it was to be.
  Result<bool> IsInPlace(const KnownVgpu& vgpu, const Slice& slice);
  // One there; the error says where the driver puts it instead.
  Result<KnownVgpu> MakeInPlace(const std::string& address, const std::string& workload,
                                int replica, const Slice& slice);

  Driver& driver_;
  VgpuHost* const host_;
  VgpuBook* const book_;
};

}  // namespace tranche
