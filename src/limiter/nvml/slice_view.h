#pragma once

#include <stdint.h>

#include "abi/nvml.h"
#include "abi/slice_table.h"

// The slice as a program sees it that only asks: mapped for reading, without a slot of its own, so
// that whoever watches takes no place from those who work.
namespace tranche::limiter::nvml {

// A process of the slice that holds memory of one device.
struct Tenant {
  uint32_t pid;
  uint64_t held;
};
constexpr uint32_t kMostTenants = TRANCHE_SLICE_SLOTS;

// A device of the slice, for the length of one call.
class TenantDevice {
 public:
  enum Kind : uint32_t {
    kForeign,  // nobody asked for limits, or the slice has no part of this device: as it is
    kOurs,
    kUnknown,  // limits were asked for, and the slice cannot be read: nothing true can be said
  };

  // Of a GPU or a MIG device, by its UUID. Keeps errno.
  static TenantDevice Of(nvmlDevice_t device);

  Kind kind() const { return kind_; }
  uint64_t limit() const;
  uint64_t used() const;
  // Those who hold memory now and have a pid in the caller's namespace, each once; how many.
  uint32_t Tenants(Tenant (&tenants)[kMostTenants]) const;
  // Whether a process of that pid is in the slice, whatever it holds.
  bool Has(uint32_t pid) const;
  // Whether NVML's pids, which are the host's, are the caller's as well.
  static bool SeesHostPids();

 private:
  TenantDevice(Kind kind, uint32_t index) : kind_(kind), index_(index) {}
  Kind kind_;
  uint32_t index_;
};

}  // namespace tranche::limiter::nvml
