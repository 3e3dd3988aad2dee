#pragma once

#include <string>
#include <vector>

#include "base/result.h"

// Container Device Interface: files that say what a container gets with a device by that name, so
// that podman, docker and Kubernetes give it its slice and nothing else.
namespace tranche {

struct CdiMount {
  std::string host_path;
  std::string container_path;
  bool writable = false;
};

// What one replica gets.
struct CdiDevice {
  std::string name;                // letters, digits and "_.:-"
  std::vector<std::string> nodes;  // "/dev/nvidia0"
  std::vector<CdiMount> mounts;
  std::vector<std::string> environment;  // "NAME=value"
  // The parts for any of its containers, of a file that the administrator keeps for the driver
  // (nvidia-ctk cdi generate): its libraries and what makes them findable. JSON; "" = none.
  std::string driver_edits;
};

inline constexpr const char* kCdiKind = "tranche.dev/slice";

// The whole file, in the lowest version of the format that has what it says. NVIDIA_VISIBLE_DEVICES
// is always "void", or NVIDIA's own runtime, where that is the default, would add devices by what
// the image says. kInvalid for a name that is none, or driver_edits that are no JSON object.
Result<std::string> PrintCdi(const std::vector<CdiDevice>& devices);

}  // namespace tranche
