#pragma once

#include <optional>
#include <string>
#include <vector>

#include "edge/runtime/cdi.h"
#include "edge/runtime/environment.h"
#include "edge/runtime/runtime.h"

// A replica in a container: the command line of podman or docker that runs it in the foreground, so
// that it starts, ends, is stopped and adopted as any other process is. Its output is the
// container's, its exit code is the container's, and a SIGTERM to it is passed on.
namespace tranche {

// podman, or docker where there is no podman. kUnsupported when there is neither.
Result<std::string> FindContainerProgram(const std::string& path);
bool IsDocker(const std::string& program);

// What docker's daemon says of itself.
struct DockerInfo {
  std::string version;
  bool reads_cdi = false;  // in the folder that was asked for: from 25 on, where it is switched on
  bool systemd_cgroups = false;
};
// `text` is what `docker info` prints as JSON. kUnavailable, with why, where no daemon answers it.
Result<DockerInfo> ParseDockerInfo(const std::string& text, const std::string& cdi_folder);
// Asks it. `passed` is Tranche's own environment.
Result<DockerInfo> AskDocker(const std::string& program, const Variables& passed,
                             const std::string& cdi_folder);

// What holds for a process of ours, and so for its containers. podman would raise the limits, which
// not everybody may.
struct OwnRights {
  bool root = true;
  uint64_t files_soft = 0, files_hard = 0, processes_soft = 0, processes_hard = 0;  // 0 = unknown
};
OwnRights ReadOwnRights();

struct ContainerPlan {
  std::string program;  // path of podman or docker
  std::string name;     // of the container and of its CDI device
  Variables variables;  // for the program itself: what it and the container need
  std::vector<std::string> argv;
};

// What a container gets of GPUs, and how it is told: by the name of a device that a file describes,
// or in full, where such files are not read or not ours to write.
struct DeviceUse {
  CdiDevice device;
  bool by_file = true;
};

// `environment` is what the replica would have as a process. Its variables reach the container by
// name, so that no value is seen in a list of processes; those that would change podman itself
// (PATH, HOME, LD_*, XDG_*, CONTAINERS_*, DOCKER_*, TMPDIR) by value, unless they are secrets:
// kInvalid. `passed` is Tranche's own environment. `device`: nullptr when it gets none. Pure.
Result<ContainerPlan> PlanContainer(const ReplicaLaunch& launch, const std::string& program,
                                    const Variables& environment, const Variables& secrets,
                                    const Variables& passed, const OwnRights& rights,
                                    const DeviceUse* device);

// "phi-0.3f2a", for containers and devices: one at a time by each replica of a deployment.
std::string ContainerName(const ReplicaMark& mark);

// Where a container has the driver's libraries.
inline constexpr const char* kDriverFolder = "/usr/local/lib/tranche-driver";

// What a replica gets besides its nodes: the driver's libraries, its limiter, the pipes of its MPS
// server, a simulated machine. Looks at files. `root` as in RuntimeOptions. What only a file can
// say (hooks of the administrator's) is left out unless it is told `by_file`.
CdiDevice DeviceOf(const ReplicaLaunch& launch, const Variables& environment,
                   const std::string& root, bool by_file);

}  // namespace tranche
