#pragma once

#include <optional>
#include <string>
#include <vector>

#include "stage/import/reading.h"

namespace tranche::importing {

// What a MIG slice is, in the words of a spec.
struct MigSlice {
  Bytes memory;
  std::optional<double> compute;  // absent when no GPU is known that has such a slice
  bool known = false;
};

// The least that a slice of that name has, on `gpu` or, with "", on any GPU that has one; of a
// name that nobody knows, what the name says. So a plan that gives as much gives that slice.
MigSlice MigSliceOf(const std::string& profile, const std::string& gpu, const Reading& reading);

// A GPU that the file is meant for.
struct TargetGpu {
  int index = 0;
  std::string uuid;
  std::string model;          // catalog key; "" when not known
  std::string pci_device_id;  // "0x233010DE"; "" when not known
  Bytes memory;               // that tenants can have; 0 when not known
};

// Of the machine or the GPUs that were named; empty when nobody said.
std::vector<TargetGpu> TargetsOf(const Reading& reading);

// What a part of a GPU of which nothing is known may have at least: of the smallest GPU in the
// catalog.
struct SmallestGpu {
  std::string model;
  Bytes memory;
};
SmallestGpu SmallestOf(const Catalog& catalog);

// What tenants of a GPU can have together; a driver keeps some of the total.
Bytes Usable(Bytes total);

// A workload that holds a MIG slice of that profile.
DraftWorkload MigWorkload(const std::string& profile, const std::string& gpu, int replicas,
                          const YamlNode& at, Reading& reading);

// `[<C>c.]<G>g.<N>gb[+attr[,attr]][-attr]`. With the dots of Kubernetes for `+` as well:
// "1g.10gb.me".
struct ProfileName {
  int compute_slices = 0;  // C
  int gpu_slices = 0;      // G
  int gigabytes = 0;
  std::vector<std::string> attributes;
  std::vector<std::string> without;
  // As drivers write it: "1g.10gb+me".
  std::string plain() const;
};
std::optional<ProfileName> ParseProfileName(std::string_view text);

}  // namespace tranche::importing
