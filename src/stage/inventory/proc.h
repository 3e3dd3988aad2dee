#pragma once

#include <string>
#include <string_view>

#include "model/machine.h"

namespace tranche {

// The short id (12 digits) of the container that a /proc/PID/cgroup names, or the name of an LXC
// container; "" outside containers. Knows the paths of docker, podman, containerd, CRI-O and the
// kubelet, in cgroup v1 and v2.
std::string ContainerFromCgroup(std::string_view cgroup);

// The command line in a /proc/PID/cmdline, made printable, at most a few KiB of it.
std::string CommandFromCmdline(std::string_view cmdline);

// The real user id in a /proc/PID/status.
Reading<uint32_t> UidFromStatus(std::string_view status);

// The name of `uid` in an /etc/passwd; "" when it is not there.
std::string UserFromPasswd(std::string_view passwd, uint32_t uid);

// The capabilities in the CapEff line of a /proc/PID/status; 0 when there is none.
uint64_t EffectiveCapabilities(std::string_view status);

// Fills in who a process is from `root`/proc and `root`/etc/passwd. What cannot be learnt stays
// absent; the command stays what the driver called it.
void Identify(const std::string& root, GpuProcess* process);

// Up to `limit` bytes of a file; "" when it cannot be read.
std::string ReadSmallFile(const std::string& path, size_t limit);

}  // namespace tranche
