#include "edge/runtime/container.h"

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <sstream>

#include "base/json.h"
#include "base/subprocess.h"

namespace tranche {
namespace {

namespace fs = std::filesystem;

// podman holds itself to so many, and nobody gives more than he has. Its containers may have 2048
// in any case, unless it is configured otherwise.
constexpr uint64_t kProcesses = 32768;
// Where groups are, in which a limiter holds what is in them.
constexpr const char* kGroups = "/sys/fs/cgroup/";
// docker's daemon looks at its storage for that.
constexpr Duration kDockerAnswers = std::chrono::seconds(30);
// What programs load of the driver.
constexpr std::array kLibraries = {"libcuda.so.1", "libnvidia-ml.so.1",
                                   "libnvidia-ptxjitcompiler.so.1", "libnvidia-nvvm.so.4",
                                   "libcudadebugger.so.1"};
constexpr const char* kUsualFolders =
    "/usr/lib/x86_64-linux-gnu:/usr/lib/aarch64-linux-gnu:/usr/lib64:/usr/local/nvidia/lib64:"
    "/usr/lib/wsl/lib:/usr/lib";
// Where an administrator's file for the driver is: made by `nvidia-ctk cdi generate`, or by
// nvidia-cdi-refresh; the later folder counts more.
constexpr std::array kDriverFiles = {"var/run/cdi/nvidia.yaml", "var/run/cdi/nvidia.json",
                                     "etc/cdi/nvidia.yaml", "etc/cdi/nvidia.json"};

// Tranche's own variables that podman and docker need to find their storage and settings.
constexpr std::array kForProgram = {"PATH",
                                    "HOME",
                                    "XDG_RUNTIME_DIR",
                                    "XDG_CONFIG_HOME",
                                    "XDG_DATA_HOME",
                                    "CONTAINERS_CONF",
                                    "CONTAINERS_STORAGE_CONF",
                                    "CONTAINERS_REGISTRIES_CONF",
                                    "DOCKER_HOST",
                                    "DOCKER_CONFIG",
                                    "TMPDIR"};

Variables OwnVariables(const Variables& passed) {
  Variables own;
  for (const char* name : kForProgram) {
    if (const auto found = passed.find(name); found != passed.end()) own[name] = found->second;
  }
  return own;
}

// Of the replica's environment, what is the host's and not the container's.
bool IsOfHost(const std::string& name) {
  return name == "PATH" || name == "HOME" || name == "USER" || name == "LOGNAME" ||
         name == "LD_LIBRARY_PATH";
}

bool WouldChangeProgram(const std::string& name) {
  return name == "PATH" || name == "HOME" || name == "TMPDIR" || name.starts_with("LD_") ||
         name.starts_with("XDG_") || name.starts_with("CONTAINERS_") ||
         name.starts_with("DOCKER_") || name.starts_with("GO") || name == "SSL_CERT_FILE" ||
         name == "SSL_CERT_DIR" || name.starts_with("HTTP") || name.starts_with("http");
}

std::string ValueOf(const Variables& variables, const std::string& name) {
  const auto found = variables.find(name);
  return found == variables.end() ? "" : found->second;
}

std::string Under(const std::string& root, const std::string& path) {
  return root.ends_with('/') ? root + path : root + "/" + path;
}

// The file behind a library's name in one of the folders; "" when none has it.
std::string FindLibrary(const std::string& name, const std::string& folders) {
  std::istringstream list(folders);
  for (std::string folder; std::getline(list, folder, ':');) {
    std::error_code error;
    if (folder.empty() || folder[0] != '/') continue;
    const fs::path real = fs::canonical(folder + "/" + name, error);
    if (!error) return real;
  }
  return "";
}

std::string DriverEdits(const std::string& root) {
  for (const char* name : kDriverFiles) {
    const std::string file = Under(root, name);
    std::ifstream in(file);
    if (!in) continue;
    const std::string text(std::istreambuf_iterator<char>(in), {});
    // One that cannot be read is for the administrator to find; the libraries are looked for.
    const auto edits = DriverEditsOf(text, file);
    if (edits && !edits->empty()) return *edits;
  }
  return "";
}

// What a device's file would say, as podman and docker take it from a command line.
Result<std::vector<std::string>> DeviceFlags(const CdiDevice& device) {
  std::vector<std::string> flags;
  for (const std::string& node : device.nodes) flags.push_back("--device=" + node);
  for (const CdiMount& mount : device.mounts) {
    const std::string paths = mount.host_path + mount.container_path;
    if (paths.find_first_of(",\"\n") != std::string::npos) {
      return Fail(ErrorCode::kInvalid,
                  fmt::format("{} cannot be mounted into a container", mount.host_path),
                  "its name has a comma, a quote or a line's end in it");
    }
    flags.push_back(fmt::format("--mount=type=bind,source={},target={}{}", mount.host_path,
                                mount.container_path, mount.writable ? "" : ",readonly"));
  }
  // Or NVIDIA's own runtime, where that is the default, would add devices by what the image says.
  flags.push_back("--env=NVIDIA_VISIBLE_DEVICES=void");
  for (const std::string& variable : device.environment) flags.push_back("--env=" + variable);
  return flags;
}

void AddMount(const std::string& path, bool writable, CdiDevice* device) {
  const bool known = std::any_of(device->mounts.begin(), device->mounts.end(),
                                 [&](const CdiMount& m) { return m.container_path == path; });
  if (!path.empty() && path[0] == '/' && !known) device->mounts.push_back({path, path, writable});
}

}  // namespace

Result<std::string> FindContainerProgram(const std::string& path) {
  for (const char* name : {"podman", "docker"}) {
    std::istringstream list(path);
    for (std::string folder; std::getline(list, folder, ':');) {
      const std::string program = folder + "/" + name;
      if (!folder.empty() && access(program.c_str(), X_OK) == 0) return program;
    }
  }
  return Fail(ErrorCode::kUnsupported,
              "it is to run in a container, and there is neither podman nor docker",
              "install podman, or give the workload a `command` without an `image`");
}

bool IsDocker(const std::string& program) { return fs::path(program).filename() == "docker"; }

Result<DockerInfo> ParseDockerInfo(const std::string& text, const std::string& cdi_folder) {
  // Warnings and what went wrong go the same way, each on a line of its own.
  std::string document, wrong;
  std::istringstream lines(text);
  for (std::string line; std::getline(lines, line);) {
    if (line.starts_with('{'))
      document = line;
    else if (wrong.empty() && !line.starts_with("WARNING"))
      wrong = line;
  }
  const auto json = ParseJson(document);
  const auto silent = [](const std::string& why) {
    return Fail(ErrorCode::kUnavailable,
                "it is to run in a container, and docker's daemon does not answer: " + why,
                "start it, or install podman, which needs none");
  };
  if (!json || !json->is_object()) return silent(wrong.empty() ? "it prints nothing" : wrong);
  const auto text_of = [&](const char* key) {
    const auto found = json->find(key);
    return found != json->end() && found->is_string() ? found->get<std::string>() : "";
  };
  const auto errors = json->find("ServerErrors");
  if (errors != json->end() && errors->is_array() && !errors->empty())
    return silent(errors->front().is_string() ? errors->front().get<std::string>() : "");
  DockerInfo info;
  info.version = text_of("ServerVersion");
  if (info.version.empty()) return silent(wrong.empty() ? "it says no version" : wrong);
  info.systemd_cgroups = text_of("CgroupDriver") == "systemd";
  const auto folders = json->find("CDISpecDirs");
  if (folders == json->end() || !folders->is_array()) return info;
  const auto plain = [](std::string folder) {
    while (folder.size() > 1 && folder.ends_with('/')) folder.pop_back();
    // The one is a link to the other, everywhere.
    return folder.starts_with("/var/run/") ? folder.substr(4) : folder;
  };
  info.reads_cdi = std::any_of(folders->begin(), folders->end(), [&](const Json& folder) {
    return folder.is_string() && plain(folder.get<std::string>()) == plain(cdi_folder);
  });
  return info;
}

Result<DockerInfo> AskDocker(const std::string& program, const Variables& passed,
                             const std::string& cdi_folder) {
  SpawnOptions options;
  options.argv = {program, "info", "--format", "{{json .}}"};
  for (const auto& [name, value] : OwnVariables(passed))
    options.environment.push_back(name + "=" + value);
  const auto said = RunProgram(options, kDockerAnswers);
  if (!said) return tl::unexpected(said.error());
  return ParseDockerInfo(said->output, cdi_folder);
}

OwnRights ReadOwnRights() {
  rlimit files{}, processes{};
  OwnRights rights;
  rights.root = geteuid() == 0;
  if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
    rights.files_soft = files.rlim_cur;
    rights.files_hard = files.rlim_max;
  }
  if (getrlimit(RLIMIT_NPROC, &processes) == 0) {
    rights.processes_soft = processes.rlim_cur;
    rights.processes_hard = processes.rlim_max;
  }
  return rights;
}

std::string ContainerName(const ReplicaMark& mark) {
  return fmt::format("{}-{}.{}", mark.workload, mark.replica, mark.deployment);
}

Result<ContainerPlan> PlanContainer(const ReplicaLaunch& launch, const std::string& program,
                                    const Variables& environment, const Variables& secrets,
                                    const Variables& passed, const OwnRights& rights,
                                    const DeviceUse* device) {
  ContainerPlan plan;
  plan.program = program;
  plan.name = ContainerName(launch.mark);
  const bool docker = IsDocker(program);
  std::vector<std::string>& argv = plan.argv;
  const auto add = [&argv](std::initializer_list<std::string> words) {
    argv.insert(argv.end(), words);
  };
  // A container of the same name may still be on its way out; each start has its own.
  add({program});
  // systemd has names of its own for groups, and none of them is one that is there already.
  const bool in_group = launch.limiter && launch.limiter->cgroup.starts_with(kGroups);
  if (in_group && !docker) add({"--cgroup-manager=cgroupfs"});
  add({"run", "--rm", "--name", fmt::format("tranche-{}.{}", plan.name, launch.mark.generation)});
  // The router, health checks and other replicas reach it at 127.0.0.1, as they do processes.
  add({"--network=host", "--security-opt=no-new-privileges"});
  // What it prints is in one log only.
  add({docker ? "--log-driver=none" : "--log-driver=passthrough"});
  if (device != nullptr && device->by_file) {
    add({fmt::format("--device={}={}", kCdiKind, plan.name)});
  } else if (device != nullptr) {
    const auto flags = DeviceFlags(device->device);
    if (!flags) return tl::unexpected(flags.error());
    argv.insert(argv.end(), flags->begin(), flags->end());
  }
  // Within its own users, those of root are none of the machine's.
  if (!rights.root && !docker) add({"--userns=keep-id"});
  if (launch.uid != 0) add({fmt::format("--user={}:{}", launch.uid, launch.gid)});
  // The limiter's table and a simulated driver know processes by their pids on the host.
  if (launch.limiter || environment.contains("TRANCHE_SIM_DIR")) add({"--pid=host"});
  // MPS clients share memory with their server.
  if (environment.contains("CUDA_MPS_PIPE_DIRECTORY")) add({"--ipc=host"});
  if (rights.files_hard != 0)
    add({fmt::format("--ulimit=nofile={}:{}", rights.files_soft, rights.files_hard)});
  if (rights.processes_hard != 0) {
    const auto kept = [](uint64_t value) { return std::min(value, kProcesses); };
    add({fmt::format("--ulimit=nproc={}:{}", kept(rights.processes_soft),
                     kept(rights.processes_hard))});
  }
  if (in_group)
    add({"--cgroup-parent=" + launch.limiter->cgroup.substr(std::string_view(kGroups).size() - 1)});
  if (!launch.working_directory.empty()) add({"--workdir=" + launch.working_directory});
  if (launch.container->entrypoint) add({"--entrypoint=" + *launch.container->entrypoint});

  plan.variables = OwnVariables(passed);
  for (const auto& [name, value] : environment) {
    const bool of_workload = launch.env.contains(name) || secrets.contains(name);
    if (IsOfHost(name) && !of_workload) continue;
    // Of these the device's file speaks.
    if (name == "NVIDIA_VISIBLE_DEVICES") continue;
    if (name == "LD_LIBRARY_PATH" && device != nullptr) continue;
    if (!WouldChangeProgram(name)) {
      plan.variables[name] = value;
      add({"--env=" + name});
    } else if (!secrets.contains(name)) {
      add({fmt::format("--env={}={}", name, value)});
    } else {
      return Fail(ErrorCode::kInvalid,
                  fmt::format("env_from sets {}, which would be read by {} itself", name,
                              fs::path(program).filename().string()),
                  "set it with `env` in the spec, where it is no secret");
    }
  }
  add({launch.container->image});
  auto arguments = ExpandPort(launch.argv, launch.port);
  if (!arguments) return tl::unexpected(arguments.error());
  argv.insert(argv.end(), arguments->begin(), arguments->end());
  // The mark is how it is found again.
  plan.variables["TRANCHE_REPLICA"] = launch.mark.Text();
  return plan;
}

CdiDevice DeviceOf(const ReplicaLaunch& launch, const Variables& environment,
                   const std::string& root, bool by_file) {
  CdiDevice device;
  device.name = ContainerName(launch.mark);
  if (by_file) device.driver_edits = DriverEdits(root);
  std::string folders = ValueOf(environment, "LD_LIBRARY_PATH");
  std::string own;
  if (launch.limiter) {
    // It comes first, and is not what is looked for.
    own = launch.limiter->folder;
    if (folders.starts_with(own)) folders.erase(0, std::min(own.size() + 1, folders.size()));
    AddMount(own, false, &device);
    for (const std::string& table : launch.limiter->tables) AddMount(table, true, &device);
    std::error_code error;
    AddMount(fs::canonical(launch.limiter->libcuda, error), false, &device);
    AddMount(launch.limiter->libcuda, false, &device);
  }
  if (device.driver_edits.empty()) {
    for (const char* name : kLibraries) {
      const std::string file = FindLibrary(name, folders + ":" + kUsualFolders);
      if (file.empty()) continue;
      device.mounts.push_back({file, fmt::format("{}/{}", kDriverFolder, name), false});
    }
    own += (own.empty() ? "" : ":") + std::string(kDriverFolder);
  }
  if (!own.empty()) device.environment.push_back("LD_LIBRARY_PATH=" + own);
  AddMount(ValueOf(environment, "CUDA_MPS_PIPE_DIRECTORY"), true, &device);
  AddMount(ValueOf(environment, "TRANCHE_SIM_DIR"), true, &device);
  return device;
}

}  // namespace tranche
