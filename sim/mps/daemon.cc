#include "sim/mps/daemon.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <fstream>
#include <sstream>

#include "sim/cuda/visible_devices.h"
#include "sim/machine/process_table.h"

namespace tranche::sim::mps {
namespace {

// Taken to be what the server holds of each GPU.
constexpr uint64_t kServerBytes = uint64_t{30} << 20;
constexpr int kLookMs = 100;

bool AddressOf(const std::string& pipe_directory, sockaddr_un* address) {
  const std::string path = pipe_directory + "/control";
  *address = {};
  address->sun_family = AF_UNIX;
  if (path.size() >= sizeof(address->sun_path)) return false;
  path.copy(address->sun_path, path.size());
  return true;
}

std::string FolderOfProgram() {
  char path[PATH_MAX];
  const ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
  const std::string self(path, n > 0 ? static_cast<size_t>(n) : 0);
  return self.substr(0, self.rfind('/'));
}

class Log {
 public:
  explicit Log(const std::string& folder) : file_(folder + "/control.log", std::ios::app) {}
  void Say(const std::string& text) {
    timespec now = {};
    clock_gettime(CLOCK_REALTIME, &now);
    tm broken = {};
    localtime_r(&now.tv_sec, &broken);
    char time[64];
    std::strftime(time, sizeof(time), "%Y-%m-%d %H:%M:%S", &broken);
    char row[96];
    std::snprintf(row, sizeof(row), "[%s.%03ld Control %5d] ", time, now.tv_nsec / 1000000,
                  static_cast<int>(getpid()));
    file_ << row << text << std::endl;
  }

 private:
  std::ofstream file_;
};

// A server as a process of its own, which has its contexts when this returns. `daemon`: what it
// reads from until the daemon has ended.
Watched Fork(const std::string& machine_dir, uint64_t serial, int daemon) {
  int ready[2];
  if (pipe2(ready, 0) != 0) return {};
  const std::string program = FolderOfProgram() + "/nvidia-cuda-mps-server";
  const std::string number = std::to_string(serial), fd = std::to_string(ready[1]),
                    alive = std::to_string(daemon);
  const pid_t child = fork();
  if (child == 0) {
    // The daemon reads its signals; the server takes them.
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    close(ready[0]);
    execl(program.c_str(), "nvidia-cuda-mps-server", machine_dir.c_str(), number.c_str(),
          fd.c_str(), alive.c_str(), nullptr);
    _exit(127);
  }
  close(ready[1]);
  char byte = 0;
  const bool runs = child > 0 && read(ready[0], &byte, 1) == 1;
  close(ready[0]);
  Process server;
  if (runs && DescribeProcess(static_cast<uint32_t>(child), &server))
    return {server.pid, server.start_ticks};
  if (child > 0) waitpid(child, nullptr, 0);
  return {};
}

// The lines of one connection; false when its user may not give commands.
std::string Answer(Commands* commands, Log* log, int fd) {
  ucred peer = {};
  socklen_t size = sizeof(peer);
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return "";
  std::string text;
  char some[512];
  for (ssize_t n; text.size() < 65536 && (n = read(fd, some, sizeof(some))) > 0;)
    text.append(some, static_cast<size_t>(n));
  std::istringstream lines(text);
  std::string answer;
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind("client ", 0) == 0) {
      log->Say("NEW CLIENT " + std::to_string(peer.pid) + " from user " + std::to_string(peer.uid));
      answer += commands->Admit(peer.uid);
      log->Say("Server " + std::to_string(commands->server_pid()) + ": " +
               answer.substr(0, answer.find('\n')));
    } else if (peer.uid == geteuid() || peer.uid == 0) {
      log->Say("NEW UI");
      answer += commands->Execute(line);
    } else {
      answer += "Operation not permitted\n";
    }
  }
  return answer;
}

int Refuse(const std::string& why) {
  std::fprintf(stderr, "%s\n", why.c_str());
  return 1;
}

}  // namespace

std::vector<Target> DevicesOf(Machine* machine) {
  const char* list = std::getenv("CUDA_VISIBLE_DEVICES");
  std::vector<Target> devices;
  machine->Read([&](const MachineState& state) {
    devices = cuda::VisibleDevices(
        machine->spec(), state, list == nullptr ? std::nullopt : std::optional<std::string>(list));
    return Rc::kOk;
  });
  return devices;
}

int Serve(const std::string& machine_dir, Settings settings, int ready) {
  auto machine = Machine::Open(machine_dir);
  if (!machine) return Refuse(machine.error().message);
  settings.devices = DevicesOf(machine->get());
  const std::string pipe = settings.pipe_directory;
  for (const std::string& folder : {pipe, settings.log_directory}) {
    if (mkdir(folder.c_str(), 0777) != 0 && errno != EEXIST)
      return Refuse("Cannot create " + folder + ": " + std::strerror(errno));
  }
  sockaddr_un address;
  if (!AddressOf(pipe, &address)) return Refuse("The pipe directory's name is too long");
  if (Ask(pipe, "")) return Refuse("An instance of this daemon is already running");
  Log log(settings.log_directory);

  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGCHLD, SIGTERM, SIGINT}) sigaddset(&signals, signal);
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  const int signal_fd = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
  const int listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  unlink(address.sun_path);
  if (bind(listener, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) != 0 ||
      listen(listener, 64) != 0)
    return Refuse(std::string("Cannot listen: ") + std::strerror(errno));
  // Programs of other users connect as well, and are told what they may.
  chmod(address.sun_path, 0777);
  // However the daemon ends, that closes the one end that nobody else has.
  int alive[2];
  if (pipe2(alive, 0) != 0) return Refuse("Out of descriptors");
  fcntl(alive[1], F_SETFD, FD_CLOEXEC);
  uint64_t serial = 0;
  Commands commands(machine->get(), settings,
                    [&](uint32_t) { return Fork(machine_dir, serial, alive[0]); });
  if (commands.Begin(geteuid()) != Rc::kOk) {
    unlink(address.sun_path);
    return Refuse("The daemon cannot serve these devices");
  }
  serial = commands.serial();
  std::ofstream(pipe + "/nvidia-cuda-mps-control.pid") << getpid() << "\n";
  log.Say("Starting control daemon using socket " + pipe + "/control");
  log.Say("To connect CUDA applications to this daemon, set env CUDA_MPS_PIPE_DIRECTORY=" + pipe);
  if (ready >= 0) {
    [[maybe_unused]] const ssize_t told = write(ready, "1", 1);
    close(ready);
    // Whoever started it may read until the last one has closed.
    const int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
    dup2(null, 2);
    close(null);
  }
  bool ends = false;
  while (!ends && !commands.MayEnd()) {
    pollfd fds[] = {{listener, POLLIN, 0}, {signal_fd, POLLIN, 0}};
    poll(fds, 2, kLookMs);
    signalfd_siginfo got;
    while (read(signal_fd, &got, sizeof(got)) == sizeof(got))
      ends = ends || got.ssi_signo != SIGCHLD;
    for (pid_t child; (child = waitpid(-1, nullptr, WNOHANG)) > 0;) {
      if (static_cast<uint32_t>(child) != commands.server_pid()) continue;
      log.Say("Server " + std::to_string(child) + " exited");
      commands.ServerEnded();
    }
    if ((fds[0].revents & POLLIN) == 0) continue;
    const int client = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    if (client < 0) continue;
    const timeval patience = {2, 0};
    setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
    const std::string answer = Answer(&commands, &log, client);
    [[maybe_unused]] const ssize_t sent = send(client, answer.data(), answer.size(), MSG_NOSIGNAL);
    close(client);
  }
  commands.End();
  log.Say("Exit with status 0");
  unlink(address.sun_path);
  unlink((pipe + "/nvidia-cuda-mps-control.pid").c_str());
  return 0;
}

int BeServer(const std::string& machine_dir, uint64_t serial, int ready, int daemon) {
  auto machine = Machine::Open(machine_dir);
  if (!machine) return Refuse(machine.error().message);
  MpsServer entry;
  (*machine)->Read([&](const MachineState& state) {
    const MpsServer* found = FindMpsServer(state, serial);
    if (found != nullptr) entry = *found;
    return Rc::kOk;
  });
  for (uint32_t gpu = 0; gpu < (*machine)->spec().gpu_count; ++gpu) {
    if ((entry.gpus >> gpu & 1) == 0) continue;
    uint64_t context = 0;
    const Rc rc = (*machine)->CreateContext({gpu, entry.ci}, kCompute, kServerBytes,
                                            {serial, kNoLimit}, &context);
    if (rc != Rc::kOk) return Refuse(std::string("The server has no context: ") + RcName(rc));
  }
  [[maybe_unused]] const ssize_t told = write(ready, "1", 1);
  close(ready);
  char byte = 0;
  while (read(daemon, &byte, 1) < 0 && errno == EINTR) {
  }
  // The daemon is gone, and its clients must be told.
  (*machine)->Update([&](MachineState& state) {
    EndMpsClients(&state, serial, 0, kMpsServerDied);
    return Rc::kOk;
  });
  return 0;
}

std::optional<std::string> Ask(const std::string& pipe_directory, const std::string& lines) {
  sockaddr_un address;
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  std::optional<std::string> answer;
  if (AddressOf(pipe_directory, &address) &&
      connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 &&
      send(fd, lines.data(), lines.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(lines.size()) &&
      shutdown(fd, SHUT_WR) == 0) {
    answer.emplace();
    char some[512];
    for (ssize_t n; (n = read(fd, some, sizeof(some))) > 0;)
      answer->append(some, static_cast<size_t>(n));
  }
  close(fd);
  return answer;
}

}  // namespace tranche::sim::mps
