#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <mutex>
#include <set>

#include "base/subprocess.h"
#include "edge/runtime/container.h"
#include "edge/runtime/env_file.h"
#include "edge/runtime/environment.h"
#include "edge/runtime/private_dev.h"
#include "edge/runtime/runtime.h"

extern char** environ;

namespace tranche {
namespace {

namespace fs = std::filesystem;

constexpr const char* kMarkVariable = "TRANCHE_REPLICA";
// How long StopAndWait waits for what SIGKILL was sent to, and Poll for somebody else to reap a
// process.
constexpr Duration kKillPatience = std::chrono::seconds(5);
constexpr Duration kReapPatience = std::chrono::seconds(1);
constexpr Duration kPollInterval = std::chrono::milliseconds(10);

struct Supervised {
  ProcessWatch watch;
  ReplicaMark mark;
  std::optional<Duration> stop_deadline;  // of Clock::Monotonic
  bool killed = false;
  std::optional<Duration> ended_at;  // when the first process was first seen to have ended
};

// A process as a scan of /proc saw it.
struct Seen {
  ProcessStat stat;
  std::optional<std::string> mark;
};

std::vector<Seen> ScanProcesses() {
  std::vector<Seen> all;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator("/proc", error)) {
    const std::string name = entry.path().filename();
    pid_t pid = 0;
    const auto [end, wrong] = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (wrong != std::errc() || end != name.data() + name.size()) continue;
    auto stat = ReadProcessStat(pid);
    if (!stat || stat->state == 'Z' || stat->state == 'X') continue;
    all.push_back({std::move(*stat), ReadProcessVariable(pid, kMarkVariable)});
  }
  return all;
}

// Sends a signal to that process and no other that got its pid meanwhile.
void SignalExactly(ProcessId id, int signal) {
  if (const auto watch = ProcessWatch::Open(id)) watch->Signal(signal);
}

// All that belongs to a replica besides its first process: the rest of its group and session, and
// whoever carries its mark. A process that took the pid of a first process that is gone is not
// among them.
std::vector<ProcessStat> Descendants(const std::vector<Seen>& all, ProcessId first,
                                     const std::string& mark) {
  const bool pid_was_reused = std::any_of(all.begin(), all.end(), [&](const Seen& seen) {
    return seen.stat.id.pid == first.pid && seen.stat.id != first;
  });
  std::vector<ProcessStat> found;
  for (const Seen& seen : all) {
    if (seen.stat.id == first) continue;
    const bool of_group =
        !pid_was_reused && (seen.stat.group == first.pid || seen.stat.session == first.pid);
    if (of_group || seen.mark == mark) found.push_back(seen.stat);
  }
  return found;
}

// Signals a whole replica. While its first process is not reaped nobody else can have its group, so
// the group is signalled at once, and nobody slips away by forking; those who left the group one by
// one.
void SignalReplica(const ProcessWatch& first, const std::vector<ProcessStat>& rest, int signal) {
  const pid_t group = first.id().pid;
  const bool group_is_ours = ReadProcessStat(group).value_or(ProcessStat{}).id == first.id();
  if (group_is_ours) kill(-group, signal);
  for (const ProcessStat& process : rest) {
    if (!group_is_ours || process.group != group) SignalExactly(process.id, signal);
  }
}

UserNames NamesOf(uint32_t uid) {
  std::vector<char> buffer(65536);
  passwd entry = {};
  passwd* found = nullptr;
  if (getpwuid_r(uid, &entry, buffer.data(), buffer.size(), &found) != 0 || !found) return {};
  return {entry.pw_name, entry.pw_dir};
}

Status CheckLaunch(const ReplicaLaunch& launch) {
  const auto parsed = ParseReplicaMark(launch.mark.Text());
  if (!parsed || *parsed != launch.mark) {
    return Fail(ErrorCode::kInvalid, fmt::format("'{}' cannot mark a process", launch.mark.Text()));
  }
  if (launch.argv.empty() && !launch.container) {
    return Fail(ErrorCode::kInvalid,
                fmt::format("workload {} has no command", launch.mark.workload));
  }
  if (launch.uid == 0 && !launch.allow_root) {
    return Fail(ErrorCode::kPermission,
                fmt::format("workload {} would run as root", launch.mark.workload),
                "apply as an ordinary user, or allow it with `allow_root: true` in the spec or "
                "--allow-root");
  }
  if (geteuid() != 0 && launch.uid != geteuid()) {
    return Fail(ErrorCode::kPermission,
                fmt::format("workload {} is to run as uid {}, but Tranche runs as uid {}",
                            launch.mark.workload, launch.uid, geteuid()),
                "only root starts programs for other users: run tranched as root");
  }
  const std::string& directory = launch.working_directory;
  if (!directory.empty() && !directory.starts_with('/')) {
    return Fail(ErrorCode::kInvalid,
                fmt::format("the working directory '{}' is not absolute", directory));
  }
  return {};
}

// Puts the caller into the group whose list of members that is. Returns 0 or an errno;
// async-signal-safe.
int EnterCgroup(const char* members) {
  const int fd = open(members, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return errno;
  const int wrong = write(fd, "0", 1) == 1 ? 0 : errno;
  close(fd);
  return wrong;
}

// The log as the child's output. Closed by the caller.
Result<int> OpenLog(const ReplicaLaunch& launch) {
  const int fd = open(launch.log_path.c_str(),
                      O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0640);
  struct stat info;
  if (fd < 0 || fstat(fd, &info) != 0) {
    const int error = errno;
    if (fd >= 0) close(fd);
    return Fail(error == EACCES ? ErrorCode::kPermission : ErrorCode::kFailed,
                fmt::format("cannot open the log {}: {}", launch.log_path, strerror(error)));
  }
  if (!S_ISREG(info.st_mode) || info.st_nlink != 1) {
    close(fd);
    return Fail(ErrorCode::kFailed,
                fmt::format("the log {} is not a file of its own", launch.log_path),
                "move what is there out of the way");
  }
  const bool mine = info.st_uid == launch.uid && info.st_gid == launch.gid;
  if (fchmod(fd, 0640) != 0 || (!mine && fchown(fd, launch.uid, launch.gid) != 0)) {
    const int error = errno;
    close(fd);
    return Fail(ErrorCode::kPermission, fmt::format("cannot give the log {} to uid {}: {}",
                                                    launch.log_path, launch.uid, strerror(error)));
  }
  return fd;
}

class ProcessRuntime final : public Runtime {
 public:
  ProcessRuntime(RuntimeOptions options, std::shared_ptr<Clock> clock)
      : options_(std::move(options)), clock_(std::move(clock)) {}

  Result<ReplicaStart> Start(const ReplicaLaunch& launch) override;
  Status Adopt(ProcessId process, const ReplicaMark& mark) override;
  Result<ReplicaPoll> Poll(ProcessId process) override;
  Status Stop(ProcessId process, Duration grace) override;
  Result<ReplicaPoll> StopAndWait(ProcessId process, Duration grace) override;
  Result<std::vector<Orphan>> FindOrphans(const std::string& deployment) override;
  Status StopOrphans(const std::vector<Orphan>& orphans, Duration grace) override;

 private:
  // What a replica's device nodes come to.
  struct Access {
    std::optional<PrivateDev> dev;
    Guarantee guarantee = Guarantee::kCooperative;
    std::string reason;
  };

  Access PlanAccess(const ReplicaLaunch& launch) const;
  Result<SpawnOptions> Prepare(const ReplicaLaunch& launch, Access* access) const;
  // The same for a container: its device's file is written, and podman is what is spawned.
  Result<SpawnOptions> PrepareContainer(const ReplicaLaunch& launch, const Variables& environment,
                                        const Variables& secrets, Access* access) const;
  std::vector<Supervised>::iterator Find(ProcessId process);
  tl::unexpected<Error> Unknown(ProcessId process) const;
  ReplicaPoll PollFound(std::vector<Supervised>::iterator it);

  const RuntimeOptions options_;
  const std::shared_ptr<Clock> clock_;
  std::mutex mutex_;
  std::vector<Supervised> supervised_;  // guarded by mutex_
};

ProcessRuntime::Access ProcessRuntime::PlanAccess(const ReplicaLaunch& launch) const {
  const auto cooperative = [](std::string reason) {
    return Access{{},
                  Guarantee::kCooperative,
                  "only CUDA_VISIBLE_DEVICES says which device it uses: " + std::move(reason)};
  };
  if (!HasDeviceNodes(options_.root)) return cooperative("this machine has no NVIDIA device nodes");
  if (launch.devices.empty()) return cooperative("the nodes of its devices are not known");
  if (geteuid() != 0) return cooperative("a private /dev needs Tranche to run as root");
  if (launch.uid == 0) return cooperative("it runs as root, which can make any device node");
  auto nodes = GrantedNodes(options_.root, launch.devices);
  if (!nodes) return cooperative(nodes.error().message);
  return {PrivateDev(options_.root, *nodes), Guarantee::kKernel,
          fmt::format("its private /dev has only {}", fmt::join(*nodes, ", "))};
}

Result<SpawnOptions> ProcessRuntime::PrepareContainer(const ReplicaLaunch& launch,
                                                      const Variables& environment,
                                                      const Variables& secrets,
                                                      Access* access) const {
  const auto path = options_.environment.find("PATH");
  const auto program =
      FindContainerProgram(path != options_.environment.end() ? path->second : "/usr/bin:/bin");
  if (!program) return tl::unexpected(program.error());
  *access = {{}, Guarantee::kCooperative, "this machine has no NVIDIA device nodes"};
  DeviceUse use;
  if (IsDocker(*program)) {
    const auto docker = AskDocker(*program, options_.environment, options_.cdi_folder);
    if (!docker) return tl::unexpected(docker.error());
    use.by_file = docker->reads_cdi;
    if (docker->systemd_cgroups && launch.limiter && !launch.limiter->cgroup.empty()) {
      return Fail(ErrorCode::kUnsupported,
                  fmt::format("docker {} leaves groups to systemd, and the kernel is to hold this "
                              "workload's GPU memory in a group of Tranche's",
                              docker->version),
                  "set \"exec-opts\": [\"native.cgroupdriver=cgroupfs\"] in docker's daemon.json, "
                  "or install podman");
    }
  }
  const bool has_device = !launch.device_uuid.empty();
  if (has_device) {
    auto nodes = GrantedNodes(options_.root, launch.devices);
    if (!nodes) return tl::unexpected(nodes.error());
    std::vector<std::string> granted;
    if (!launch.devices.empty() && !nodes->empty() && HasDeviceNodes(options_.root)) {
      for (const std::string& node : *nodes) granted.push_back("/dev/" + node);
      *access = {{},
                 Guarantee::kKernel,
                 fmt::format("its container has only {}", fmt::join(*nodes, ", "))};
    }
    const auto describe = [&] {
      use.device = DeviceOf(launch, environment, options_.root, use.by_file);
      use.device.nodes = granted;
    };
    describe();
    if (use.by_file) {
      const Status written = WriteCdi(options_.cdi_folder, use.device);
      if (!written && written.error().code != ErrorCode::kPermission)
        return tl::unexpected(written.error());
      // Who may not write there says it in the command line, which has no room for hooks.
      if (!written) {
        use.by_file = false;
        describe();
      }
    }
  }
  auto plan = PlanContainer(launch, *program, environment, secrets, options_.environment,
                            ReadOwnRights(), has_device ? &use : nullptr);
  if (!plan) return tl::unexpected(plan.error());
  SpawnOptions spawn;
  spawn.argv = std::move(plan->argv);
  for (const auto& [name, value] : plan->variables) spawn.environment.push_back(name + "=" + value);
  spawn.working_directory = "/";
  // podman itself is ours: it makes the container, in which --user is the workload's.
  return spawn;
}

Result<SpawnOptions> ProcessRuntime::Prepare(const ReplicaLaunch& launch, Access* access) const {
  SpawnOptions spawn;
  auto argv = ExpandPort(launch.argv, launch.port);
  if (!argv) return tl::unexpected(argv.error());
  spawn.argv = std::move(*argv);
  auto credentials = Credentials::Of(launch.uid, launch.gid);
  if (!credentials) return tl::unexpected(credentials.error());

  Variables secrets;
  if (!launch.env_from.empty()) {
    const auto text = ReadFileAs(*credentials, launch.env_from);
    if (!text) return FailedWhile("env_from", text.error());
    auto parsed = ParseEnvFile(*text, launch.env_from);
    if (!parsed) return FailedWhile("env_from", parsed.error());
    secrets = std::move(*parsed);
  }
  UserNames user = NamesOf(launch.uid);
  const auto home = options_.environment.find("HOME");
  if (launch.uid == geteuid() && home != options_.environment.end()) user.home = home->second;
  auto environment = ComposeEnvironment(launch, options_.environment, user, secrets);
  if (!environment) return tl::unexpected(environment.error());

  if (launch.container) return PrepareContainer(launch, *environment, secrets, access);

  *access = PlanAccess(launch);
  for (const auto& [name, value] : *environment) spawn.environment.push_back(name + "=" + value);
  spawn.path = environment->at("PATH");
  spawn.working_directory = launch.working_directory.empty() ? "/" : launch.working_directory;
  spawn.credentials = std::move(*credentials);
  return spawn;
}

Result<ReplicaStart> ProcessRuntime::Start(const ReplicaLaunch& launch) {
  if (auto checked = CheckLaunch(launch); !checked) return tl::unexpected(checked.error());
  Access access;
  auto spawn = Prepare(launch, &access);
  if (!spawn) return tl::unexpected(spawn.error());
  // A container is put into its group by podman.
  const std::string group = launch.limiter && !launch.limiter->cgroup.empty() && !launch.container
                                ? launch.limiter->cgroup + "/cgroup.procs"
                                : "";
  // A daemon's own score (systemd protects it) is not the workload's.
  spawn->prepare = [&access, &group]() -> int {
    // Held from its first instruction on, or not started.
    if (const int wrong = group.empty() ? 0 : EnterCgroup(group.c_str()); wrong != 0) return wrong;
    const int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
    if (fd >= 0) {
      [[maybe_unused]] const ssize_t wrote = write(fd, "0", 1);
      close(fd);
    }
    return access.dev ? access.dev->Enter() : 0;
  };
  const auto log = OpenLog(launch);
  if (!log) return tl::unexpected(log.error());
  spawn->standard_output = spawn->standard_error = *log;

  // Held while the process is born, so that FindOrphans does not take it for one.
  const std::lock_guard lock(mutex_);
  const auto process = Spawn(*spawn);
  close(*log);
  if (!process)
    return FailedWhile(fmt::format("starting {}/{}", launch.mark.workload, launch.mark.replica),
                       process.error());
  auto watch = ProcessWatch::Open(*process);
  if (!watch) {
    kill(-process->pid, SIGKILL);
    return tl::unexpected(watch.error());
  }
  supervised_.push_back({std::move(*watch), launch.mark, {}, false, {}});
  return ReplicaStart{*process, access.guarantee, std::move(access.reason)};
}

Status ProcessRuntime::Adopt(ProcessId process, const ReplicaMark& mark) {
  const std::lock_guard lock(mutex_);
  if (Find(process) != supervised_.end()) return {};
  auto watch = ProcessWatch::Open(process);
  if (!watch) return tl::unexpected(watch.error());
  if (watch->Ended()) {
    return Fail(ErrorCode::kNotFound, fmt::format("process {} has ended", process.pid));
  }
  // A process may have overwritten its environment; a mark that is there and differs is another
  // matter.
  const auto found = ReadProcessVariable(process.pid, kMarkVariable);
  if (found && *found != mark.Text()) {
    return Fail(ErrorCode::kNotFound,
                fmt::format("process {} is {}, not {}", process.pid, *found, mark.Text()));
  }
  supervised_.push_back({std::move(*watch), mark, {}, false, {}});
  return {};
}

std::vector<Supervised>::iterator ProcessRuntime::Find(ProcessId process) {
  return std::find_if(supervised_.begin(), supervised_.end(),
                      [&](const Supervised& one) { return one.watch.id() == process; });
}

tl::unexpected<Error> ProcessRuntime::Unknown(ProcessId process) const {
  return Fail(ErrorCode::kNotFound, fmt::format("process {} is not supervised", process.pid));
}

Result<ReplicaPoll> ProcessRuntime::Poll(ProcessId process) {
  const std::lock_guard lock(mutex_);
  const auto it = Find(process);
  if (it == supervised_.end()) return Unknown(process);
  return PollFound(it);
}

ReplicaPoll ProcessRuntime::PollFound(std::vector<Supervised>::iterator it) {
  Supervised& one = *it;
  const Duration now = clock_->Monotonic();
  const ReplicaPoll pending = {
      one.stop_deadline ? ReplicaPoll::State::kStopping : ReplicaPoll::State::kRunning,
      {},
      one.killed};
  const bool in_grace = one.stop_deadline && now < *one.stop_deadline;
  const bool ended = one.watch.Ended();
  if (!ended && (!one.stop_deadline || in_grace)) return pending;

  // Past the grace, or the first process is gone. Until it is reaped nobody else can get its group.
  const std::vector<ProcessStat> rest =
      Descendants(ScanProcesses(), one.watch.id(), one.mark.Text());
  if (!ended || !rest.empty()) {
    // What the first process started gets the same grace when it was asked to stop, none when it
    // just died.
    if (in_grace) return pending;
    one.killed = one.killed || one.stop_deadline;
    SignalReplica(one.watch, rest, SIGKILL);
    return {pending.state, {}, one.killed};
  }
  if (!one.ended_at) one.ended_at = now;
  auto end = one.watch.Reap();
  if (!end && now < *one.ended_at + kReapPatience) return pending;
  // Only containers have one.
  RemoveCdi(options_.cdi_folder, ContainerName(one.mark));
  const ReplicaPoll result = {ReplicaPoll::State::kEnded, end.value_or(ProcessEnd{}), one.killed};
  supervised_.erase(it);
  return result;
}

Status ProcessRuntime::Stop(ProcessId process, Duration grace) {
  const std::lock_guard lock(mutex_);
  const auto it = Find(process);
  if (it == supervised_.end()) return Unknown(process);
  const Duration deadline = clock_->Monotonic() + grace;
  const bool first = !it->stop_deadline;
  it->stop_deadline = first ? deadline : std::min(*it->stop_deadline, deadline);
  if (!first) return {};
  SignalReplica(it->watch, Descendants(ScanProcesses(), process, it->mark.Text()), SIGTERM);
  return {};
}

Result<ReplicaPoll> ProcessRuntime::StopAndWait(ProcessId process, Duration grace) {
  if (auto begun = Stop(process, grace); !begun) return tl::unexpected(begun.error());
  const Duration give_up = clock_->Monotonic() + grace + kKillPatience;
  while (true) {
    const auto polled = Poll(process);
    if (!polled || polled->state == ReplicaPoll::State::kEnded) return polled;
    if (clock_->Monotonic() > give_up) {
      return Fail(ErrorCode::kFailed, fmt::format("process {} survives SIGKILL", process.pid),
                  "it is stuck in the kernel, often in a driver; a GPU reset or a reboot frees it");
    }
    clock_->Sleep(kPollInterval);
  }
}

Result<std::vector<Orphan>> ProcessRuntime::FindOrphans(const std::string& deployment) {
  const std::lock_guard lock(mutex_);
  std::set<std::string> known;
  for (const Supervised& one : supervised_) known.insert(one.mark.Text());
  std::vector<Orphan> orphans;
  for (const Seen& seen : ScanProcesses()) {
    if (!seen.mark || known.contains(*seen.mark)) continue;
    const auto mark = ParseReplicaMark(*seen.mark);
    if (!mark || mark->deployment != deployment) continue;
    orphans.push_back({seen.stat.id, *mark, seen.stat.session == seen.stat.id.pid});
  }
  std::stable_partition(orphans.begin(), orphans.end(),
                        [](const Orphan& orphan) { return orphan.leader; });
  return orphans;
}

Status ProcessRuntime::StopOrphans(const std::vector<Orphan>& orphans, Duration grace) {
  std::vector<ProcessWatch> watches;
  for (const Orphan& orphan : orphans) {
    if (auto watch = ProcessWatch::Open(orphan.process)) watches.push_back(std::move(*watch));
  }
  for (const ProcessWatch& watch : watches) watch.Signal(SIGTERM);
  const Duration kill_at = clock_->Monotonic() + grace;
  const Duration give_up = kill_at + kKillPatience;
  while (true) {
    std::erase_if(watches,
                  [](ProcessWatch& watch) { return watch.Ended() && (watch.Reap(), true); });
    if (watches.empty()) return {};
    const Duration now = clock_->Monotonic();
    if (now > give_up) break;
    if (now > kill_at) {
      for (const ProcessWatch& watch : watches) watch.Signal(SIGKILL);
    }
    clock_->Sleep(kPollInterval);
  }
  std::vector<pid_t> pids;
  for (const ProcessWatch& watch : watches) pids.push_back(watch.id().pid);
  return Fail(
      ErrorCode::kFailed, fmt::format("processes survive SIGKILL: {}", fmt::join(pids, ", ")),
      "they are stuck in the kernel, often in a driver; a GPU reset or a reboot frees them");
}

}  // namespace

std::map<std::string, std::string> CurrentEnvironment() {
  std::map<std::string, std::string> variables;
  for (char** entry = environ; *entry; ++entry) {
    const std::string_view text = *entry;
    const size_t equals = text.find('=');
    if (equals != std::string_view::npos)
      variables.emplace(text.substr(0, equals), text.substr(equals + 1));
  }
  return variables;
}

std::unique_ptr<Runtime> MakeProcessRuntime(RuntimeOptions options, std::shared_ptr<Clock> clock) {
  return std::make_unique<ProcessRuntime>(std::move(options), std::move(clock));
}

}  // namespace tranche
