#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <iterator>
#include <string>

#include "sim/mps/daemon.h"
#include "sim/mps/options.h"
#include "sim/mps/processes.h"
#include "sim/mps/sockets.h"
#include "sim/mps/verbs.h"

// nvidia-cuda-mps-control and, by its other name, nvidia-cuda-mps-server, of a simulated machine.

using namespace tranche::sim;

namespace {

std::string Variable(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

// The named directory, or the one that a daemon has by itself: root's of protocol 3 is another.
std::string DirectoryOf(const char* variable, const char* otherwise, const char* of_root) {
  std::string path = Variable(variable);
  if (path.empty()) path = of_root == nullptr || geteuid() != 0 ? otherwise : of_root;
  while (path.size() > 1 && path.back() == '/') path.pop_back();
  return path;
}

// In the background, once programs can connect to it.
int InBackground(const std::string& machine, const mps::Settings& settings) {
  int ready[2];
  if (pipe2(ready, O_CLOEXEC) != 0) return 1;
  const pid_t child = fork();
  if (child < 0) return 1;
  if (child > 0) {
    close(ready[1]);
    char byte = 0;
    if (read(ready[0], &byte, 1) == 1) return 0;
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
  }
  close(ready[0]);
  setsid();
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  dup2(null, 0);
  dup2(null, 1);
  return mps::Serve(machine, settings, ready[1]);
}

int Start(const std::string& machine, const mps::Options& options) {
  const bool named = options.protocol == 3;
  mps::Settings settings;
  settings.pipe_directory = DirectoryOf("CUDA_MPS_PIPE_DIRECTORY", "/tmp/nvidia-mps",
                                        named ? "/run/nvidia-mps" : nullptr);
  settings.log_directory = DirectoryOf("CUDA_MPS_LOG_DIRECTORY", "/var/log/nvidia-mps", nullptr);
  settings.protocol = options.protocol;
  settings.static_partitions = options.static_partitions;
  settings.any_user = options.any_user;
  settings.configuration = options.configuration;
  const bool background = options.act == mps::Options::Act::kBackground;
  return background ? InBackground(machine, settings) : mps::Serve(machine, settings, -1);
}

int Say(const std::optional<mps::Answer>& answer) {
  if (!answer) {
    std::fprintf(stderr, "Cannot find MPS control daemon process\n");
    return 1;
  }
  std::fputs(answer->text.c_str(), answer->ok ? stdout : stderr);
  return answer->ok ? 0 : 1;
}

int TalkByLines(const std::string& pipe_directory) {
  if (isatty(0) == 0) {
    return Say(
        mps::TellLines(pipe_directory, std::string(std::istreambuf_iterator<char>(std::cin), {})));
  }
  // At a terminal each line is answered at once.
  for (std::string line; std::cout << "> " << std::flush, std::getline(std::cin, line);) {
    if (Say(mps::TellLines(pipe_directory, line + "\n")) != 0) return 1;
  }
  return 0;
}

// To the daemon that runs, whichever protocol was asked for: it follows its own.
int Talk(const mps::Options& options) {
  std::string pipe = DirectoryOf("CUDA_MPS_PIPE_DIRECTORY", "/tmp/nvidia-mps", nullptr);
  if (Variable("CUDA_MPS_PIPE_DIRECTORY").empty()) {
    const int other = mps::ConnectTo(pipe);
    if (other < 0) pipe = "/run/nvidia-mps";
    if (other >= 0) close(other);
  }
  if (options.act == mps::Options::Act::kQuit) return Say(mps::TellToQuit(pipe));
  if (options.act == mps::Options::Act::kCommand)
    return Say(mps::TellCommand(pipe, options.command));
  return TalkByLines(pipe);
}

}  // namespace

int main(int argc, char** argv) {
  const char* slash = std::strrchr(argv[0], '/');
  const std::string name = slash == nullptr ? argv[0] : slash + 1;
  if (name == "nvidia-cuda-mps-server" && argc == 6)
    return mps::BeServer(argv[1], std::strtoull(argv[2], nullptr, 10), std::atoi(argv[3]),
                         std::atoi(argv[4]), argv[5]);

  const std::string dir = Variable("TRANCHE_SIM_DIR");
  auto machine = Machine::Open(dir);
  const int version = machine ? (*machine)->spec().driver.cuda_version : 0;
  const std::string protocol = Variable("CUDA_MPS_PROTOCOL_VERSION");
  const auto options = mps::ReadOptions(mps::Words(argv + 1, argv + argc), version,
                                        protocol.empty() ? std::nullopt : std::optional(protocol));
  if (!options) {
    std::fprintf(stderr, "%s\n%s", options.error().message.c_str(),
                 mps::UsageOfOptions(version).c_str());
    return 1;
  }
  switch (options->act) {
    case mps::Options::Act::kHelp:
      std::fputs(mps::UsageOfOptions(version).c_str(), stdout);
      if (version >= 13040) std::fputs(mps::UsageOfVerbs().c_str(), stdout);
      return 0;
    case mps::Options::Act::kVersion:
      std::printf("CUDA MPS Version %d\n", version);
      return 0;
    case mps::Options::Act::kBackground:
    case mps::Options::Act::kForeground:
      return Start(dir, *options);
    default:
      return Talk(*options);
  }
}
