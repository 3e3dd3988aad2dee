#pragma once

#include <map>
#include <optional>
#include <set>
#include <string>

namespace tranche {

// What the caller may do on this host, as far as it decides which guarantees can be given.
struct HostAbilities {
  // CAP_SYS_ADMIN: switches modes, makes instances, mounts.
  bool administrator = false;
  // The driver's right to make MIG instances without being an administrator; absent where the
  // driver does not say.
  std::optional<bool> mig_config;
  // NVIDIA device nodes are there, so that a workload can be shown its own and no others.
  bool device_nodes = false;
  // Why no MPS daemon can be started; "" where one can.
  std::string no_mps = "nobody has looked";
  // The CUDA version of MPS's control program, as it says; absent where nobody has asked it.
  std::optional<int> mps_version = {};
  // GPUs that Tranche itself keeps for MPS by their compute mode, and gives back: by UUID.
  std::set<std::string> exclusive_for_mps = {};
  // By GPU: why the kernel cannot hold processes to an amount of its memory; "" where it can.
  std::map<std::string, std::string> no_kernel_memory = {};
};

HostAbilities ReadHostAbilities(const std::string& root);

// The name of the host, printable; "" when unknown.
std::string ReadHostname(const std::string& root);

}  // namespace tranche
