#include "sim/mps/daemon.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <memory>

#include "sim/cuda/visible_devices.h"
#include "sim/mps/log.h"
#include "sim/mps/named_protocol.h"
#include "sim/mps/sockets.h"
#include "sim/mps/text_protocol.h"

namespace tranche::sim::mps {
namespace {

constexpr int kLookMs = 100;
constexpr size_t kLongestRequest = 65536;
// How a request of the control program begins, and that of a program's libcuda: "client UID".
constexpr char kClient[] = "client ";
constexpr char kLines[] = "lines\n", kCommand[] = "command\n", kQuit[] = "quit\n";

int Refuse(const std::string& why) {
  std::fprintf(stderr, "%s\n", why.c_str());
  return 1;
}

// By CUDA_VISIBLE_DEVICES, as for any program.
std::vector<Target> VisibleToDaemon(Machine* machine) {
  std::vector<Target> devices;
  const char* list = std::getenv("CUDA_VISIBLE_DEVICES");
  machine->Read([&](const MachineState& state) {
    devices = cuda::VisibleDevices(
        machine->spec(), state, list == nullptr ? std::nullopt : std::optional<std::string>(list));
    return Rc::kOk;
  });
  return devices;
}

std::string ReadAll(int fd) {
  std::string text;
  char some[512];
  for (ssize_t n; text.size() < kLongestRequest && (n = read(fd, some, sizeof(some))) > 0;)
    text.append(some, static_cast<size_t>(n));
  return text;
}

std::string Between(const std::string& text, size_t first, char end) {
  return text.substr(first, text.find(end, first) - first);
}

bool Begins(const std::string& text, const std::string& with) { return text.rfind(with, 0) == 0; }

bool MayCommand(const ucred& peer) { return peer.uid == geteuid() || peer.uid == 0; }

// From the control program: what it is told begins with its exit code.
std::string AnswerToUser(Protocol* protocol, const std::string& request, const ucred& peer) {
  Answer answer;
  if (!MayCommand(peer)) {
    answer = No("Operation not permitted");
  } else if (Begins(request, kCommand)) {
    answer = protocol->Command(Split(request.substr(sizeof(kCommand) - 1), '\0'), peer.uid);
  } else if (Begins(request, kQuit)) {
    answer = protocol->Quit();
  } else if (Begins(request, kLines)) {
    answer = protocol->Lines(request.substr(sizeof(kLines) - 1));
  } else {
    return "";
  }
  return (answer.ok ? "0" : "1") + answer.text;
}

// One connection, to the socket in a directory.
void Serve(Protocol* protocol, Log* log, const std::string& directory, int fd) {
  const timeval patience = {2, 0};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
  ucred peer = {};
  socklen_t size = sizeof(peer);
  if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return;
  const std::string request = ReadAll(fd);
  std::string answer;
  if (Begins(request, kClient)) {
    // Whoever may do everything here may also be somebody else (TRANCHE_SIM_UID).
    const auto claimed = Number(Between(request, sizeof(kClient) - 1, '\n'));
    const bool believed = claimed && *claimed < kNoId && MayCommand(peer);
    const uint32_t uid = believed ? static_cast<uint32_t>(*claimed) : peer.uid;
    answer = protocol->Admit(directory, uid);
    log->Say("NEW CLIENT " + std::to_string(peer.pid) + " from user " + std::to_string(uid) + ": " +
             answer.substr(0, answer.find('\n')));
  } else if (!request.empty()) {
    log->Say("NEW UI");
    answer = AnswerToUser(protocol, request, peer);
  }
  [[maybe_unused]] const ssize_t sent = send(fd, answer.data(), answer.size(), MSG_NOSIGNAL);
}

int TakeSignals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (const int signal : {SIGCHLD, SIGTERM, SIGINT}) sigaddset(&signals, signal);
  sigprocmask(SIG_BLOCK, &signals, nullptr);
  return signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
}

void Loop(Protocol* protocol, Sockets* sockets, Log* log, int signals) {
  bool ends = false;
  while (!ends && !protocol->MayEnd()) {
    std::vector<pollfd> fds = {{signals, POLLIN, 0}};
    for (const auto& [fd, directory] : sockets->listening()) fds.push_back({fd, POLLIN, 0});
    poll(fds.data(), fds.size(), kLookMs);
    signalfd_siginfo got;
    while (read(signals, &got, sizeof(got)) == sizeof(got)) ends = ends || got.ssi_signo != SIGCHLD;
    for (pid_t child; (child = waitpid(-1, nullptr, WNOHANG)) > 0;) {
      log->Say("Server " + std::to_string(child) + " exited");
      protocol->ServerEnded(static_cast<uint32_t>(child));
      sockets->Keep(protocol->Directories());
    }
    for (size_t i = 1; i < fds.size(); ++i) {
      const auto listener = sockets->listening().find(fds[i].fd);
      if ((fds[i].revents & POLLIN) == 0 || listener == sockets->listening().end()) continue;
      const int client = accept4(listener->first, nullptr, nullptr, SOCK_CLOEXEC);
      if (client < 0) continue;
      const std::string directory = listener->second;
      Serve(protocol, log, directory, client);
      // Its sockets are there before whoever asked goes on.
      sockets->Keep(protocol->Directories());
      close(client);
    }
  }
}

// Whoever started it in the background may go on, and may read until the last one has closed.
void TellReady(int ready) {
  if (ready < 0) return;
  [[maybe_unused]] const ssize_t told = write(ready, "1", 1);
  close(ready);
  const int null = open("/dev/null", O_WRONLY | O_CLOEXEC);
  dup2(null, 2);
  close(null);
}

std::optional<Answer> Tell(const std::string& pipe_directory, const std::string& request) {
  const auto said = Ask(pipe_directory, request);
  if (!said || said->empty()) return std::nullopt;
  return Answer{said->front() == '0', said->substr(1)};
}

}  // namespace

int Serve(const std::string& machine_dir, Settings settings, int ready) {
  auto machine = Machine::Open(machine_dir);
  if (!machine) return Refuse(machine.error().message);
  settings.devices = VisibleToDaemon(machine->get());
  const std::string pipe = settings.pipe_directory;
  for (const std::string& folder : {pipe, settings.log_directory}) {
    if (mkdir(folder.c_str(), 0777) != 0 && errno != EEXIST)
      return Refuse("Cannot create " + folder + ": " + std::strerror(errno));
  }
  if (!FitsSocket(pipe)) return Refuse("The pipe directory's name is too long: " + pipe);
  if (const int other = ConnectTo(pipe); other >= 0) {
    close(other);
    return Refuse("An instance of this daemon is already running");
  }
  Log log(settings.log_directory + "/control.log", "Control");
  const int signals = TakeSignals();
  Processes processes(machine_dir);
  std::unique_ptr<Protocol> protocol;
  if (settings.protocol == 3) {
    protocol = std::make_unique<NamedProtocol>(machine->get(), settings, &processes);
  } else {
    protocol = std::make_unique<TextProtocol>(machine->get(), settings, &processes);
  }
  if (const Answer begun = protocol->Begin(); !begun.ok) {
    std::fputs(begun.text.c_str(), stderr);
    return 1;
  }
  Sockets sockets;
  if (!sockets.Keep(protocol->Directories())) {
    const std::string why = std::strerror(errno);
    protocol->End();
    return Refuse("Cannot listen: " + why);
  }
  std::ofstream(pipe + "/nvidia-cuda-mps-control.pid") << getpid() << "\n";
  log.Say("Starting control daemon using socket " + pipe + "/control");
  log.Say("To connect CUDA applications to this daemon, set env CUDA_MPS_PIPE_DIRECTORY=" + pipe);
  TellReady(ready);
  Loop(protocol.get(), &sockets, &log, signals);
  protocol->End();
  sockets.Keep({});
  log.Say("Exit with status 0");
  unlink((pipe + "/nvidia-cuda-mps-control.pid").c_str());
  return 0;
}

std::optional<Answer> TellLines(const std::string& pipe_directory, const std::string& lines) {
  return Tell(pipe_directory, kLines + lines);
}

std::optional<Answer> TellCommand(const std::string& pipe_directory, const Words& words) {
  return Tell(pipe_directory, kCommand + Join(words, std::string(1, '\0')));
}

std::optional<Answer> TellToQuit(const std::string& pipe_directory) {
  return Tell(pipe_directory, kQuit);
}

}  // namespace tranche::sim::mps
