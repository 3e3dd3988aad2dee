#include "sim/mps/processes.h"

#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdlib>

#include "sim/machine/machine.h"
#include "sim/machine/mps.h"
#include "sim/machine/process_table.h"
#include "sim/mps/log.h"

namespace tranche::sim::mps {
namespace {

// Taken to be what the server holds of each GPU.
constexpr uint64_t kServerBytes = uint64_t{30} << 20;

std::string FolderOfProgram() {
  char path[PATH_MAX];
  const ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
  const std::string self(path, n > 0 ? static_cast<size_t>(n) : 0);
  return self.substr(0, self.rfind('/'));
}

// On each of its GPUs; what came of it.
std::string MakeContexts(Machine* machine, const MpsServer& entry) {
  if (entry.gpus == 0) return std::string("No such device: ") + entry.allowed_devices;
  for (uint32_t gpu = 0; gpu < machine->spec().gpu_count; ++gpu) {
    if ((entry.gpus >> gpu & 1) == 0) continue;
    uint64_t context = 0;
    const Rc rc = machine->CreateContext({gpu, entry.ci}, kCompute, kServerBytes,
                                         {entry.serial, kNoLimit}, &context);
    if (rc != Rc::kOk) return std::string("The server has no context: ") + RcName(rc);
  }
  return "";
}

}  // namespace

Processes::Processes(std::string machine_dir) : machine_dir_(std::move(machine_dir)) {
  if (pipe2(alive_, 0) == 0) fcntl(alive_[1], F_SETFD, FD_CLOEXEC);
}

Processes::~Processes() {
  while (!starting_.empty()) Forget(starting_.begin()->first);
  for (const int fd : alive_) close(fd);
}

Watched Processes::Start(uint64_t server, uint32_t uid, const std::string& log_file) {
  int ready[2];
  if (alive_[0] < 0 || pipe2(ready, 0) != 0) return {};
  fcntl(ready[0], F_SETFD, FD_CLOEXEC);
  const std::string program = FolderOfProgram() + "/nvidia-cuda-mps-server";
  const std::string number = std::to_string(server), fd = std::to_string(ready[1]),
                    alive = std::to_string(alive_[0]), owner = std::to_string(uid);
  const pid_t child = fork();
  if (child == 0) {
    // The daemon reads its signals; the server takes them.
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    if (uid != geteuid()) setenv("TRANCHE_SIM_UID", owner.c_str(), 1);
    execl(program.c_str(), "nvidia-cuda-mps-server", machine_dir_.c_str(), number.c_str(),
          fd.c_str(), alive.c_str(), log_file.c_str(), nullptr);
    _exit(127);
  }
  close(ready[1]);
  Process described;
  const auto pid = static_cast<uint32_t>(child);
  if (child > 0 && DescribeProcess(pid, &described)) {
    starting_[pid] = ready[0];
    return {described.pid, described.start_ticks};
  }
  close(ready[0]);
  return {};
}

bool Processes::Await(uint32_t pid) {
  const auto starting = starting_.find(pid);
  if (starting == starting_.end()) return kill(static_cast<pid_t>(pid), 0) == 0;
  char byte = 0;
  ssize_t n = 0;
  while ((n = read(starting->second, &byte, 1)) < 0 && errno == EINTR) {
  }
  Forget(pid);
  if (n != 1) waitpid(static_cast<pid_t>(pid), nullptr, 0);
  return n == 1;
}

void Processes::End(uint32_t pid) {
  kill(static_cast<pid_t>(pid), SIGKILL);
  waitpid(static_cast<pid_t>(pid), nullptr, 0);
  Forget(pid);
}

void Processes::Forget(uint32_t pid) {
  const auto starting = starting_.find(pid);
  if (starting == starting_.end()) return;
  close(starting->second);
  starting_.erase(starting);
}

int BeServer(const std::string& machine_dir, uint64_t server, int ready, int daemon,
             const std::string& log_file) {
  Log log(log_file, "Server");
  auto machine = Machine::Open(machine_dir);
  MpsServer entry;
  const auto find = [&](const MachineState& state) {
    const MpsServer* found = FindMpsServer(state, server);
    if (found != nullptr) entry = *found;
    return found == nullptr ? Rc::kNotFound : Rc::kOk;
  };
  if (!machine || (*machine)->Read(find) != Rc::kOk) {
    log.Say("Exit: the server is not wanted any more");
    return 1;
  }
  if (const std::string why = MakeContexts(machine->get(), entry); !why.empty()) {
    log.Say("Exit: " + why);
    return 1;
  }
  Process self;
  DescribeProcess(static_cast<uint32_t>(getpid()), &self);
  const Rc told = (*machine)->Update([&](MachineState& state) {
    auto* found = const_cast<MpsServer*>(FindMpsServer(state, server));
    if (found == nullptr) return Rc::kNotFound;
    found->process = {self.pid, self.start_ticks};
    found->ready = 1;
    return Rc::kOk;
  });
  if (told != Rc::kOk) return 1;
  log.Say("Ready for clients");
  [[maybe_unused]] const ssize_t written = write(ready, "1", 1);
  close(ready);
  char byte = 0;
  while (read(daemon, &byte, 1) < 0 && errno == EINTR) {
  }
  // The daemon is gone, and its clients must be told.
  (*machine)->Update([&](MachineState& state) {
    EndMpsClients(&state, server, 0, kMpsServerDied);
    return Rc::kOk;
  });
  log.Say("Exit: the control daemon has ended");
  return 0;
}

}  // namespace tranche::sim::mps
