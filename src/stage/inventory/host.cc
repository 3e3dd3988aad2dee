#include "stage/inventory/host.h"

#include <unistd.h>

#include "stage/inventory/proc.h"
#include "stage/inventory/text.h"

namespace tranche {

HostAbilities ReadHostAbilities(const std::string& root) {
  constexpr uint64_t kSysAdmin = uint64_t{1} << 21;
  HostAbilities abilities;
  const std::string status = ReadSmallFile(root + "/proc/self/status", size_t{1} << 14);
  abilities.administrator = (EffectiveCapabilities(status) & kSysAdmin) != 0;
  const std::string config = root + "/proc/driver/nvidia/capabilities/mig/config";
  if (access(config.c_str(), F_OK) == 0) {
    abilities.mig_config = access(config.c_str(), R_OK) == 0;
  }
  abilities.device_nodes = access((root + "/dev/nvidiactl").c_str(), F_OK) == 0;
  return abilities;
}

std::string ReadHostname(const std::string& root) {
  std::string name = ReadSmallFile(root + "/proc/sys/kernel/hostname", 256);
  while (!name.empty() && (name.back() == '\n' || name.back() == ' ')) name.pop_back();
  return Printable(name);
}

}  // namespace tranche
