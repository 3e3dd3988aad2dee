#include <fcntl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iostream>
#include <iterator>
#include <string>
#include <vector>

#include "sim/mps/daemon.h"

// nvidia-cuda-mps-control and, by its other name, nvidia-cuda-mps-server, of a simulated machine.

using namespace tranche::sim;

namespace {

constexpr const char* kUsage =
    "usage: nvidia-cuda-mps-control [-d|-f] [-S|--static-partitioning] [-multiuser-server]\n"
    "       nvidia-cuda-mps-control [-v] [-h]\n"
    "Without an option commands are read from standard input.\n";

std::string Variable(const char* name, const char* otherwise) {
  const char* value = std::getenv(name);
  return value == nullptr || *value == 0 ? otherwise : value;
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
  const int code = mps::Serve(machine, settings, ready[1]);
  return code;
}

int Talk(const std::string& pipe_directory) {
  // At a terminal each line is answered at once.
  const auto ask = [&](const std::string& lines) {
    const auto answer = mps::Ask(pipe_directory, lines);
    if (!answer) std::fprintf(stderr, "Cannot find MPS control daemon process\n");
    if (answer) std::fputs(answer->c_str(), stdout);
    return answer.has_value();
  };
  if (isatty(0) == 0) return ask(std::string(std::istreambuf_iterator<char>(std::cin), {})) ? 0 : 1;
  for (std::string line; std::cout << "> " << std::flush, std::getline(std::cin, line);) {
    if (!ask(line + "\n")) return 1;
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  const char* slash = std::strrchr(argv[0], '/');
  const std::string name = slash == nullptr ? argv[0] : slash + 1;
  if (name == "nvidia-cuda-mps-server" && argc == 5)
    return mps::BeServer(argv[1], std::strtoull(argv[2], nullptr, 10), std::atoi(argv[3]),
                         std::atoi(argv[4]));

  const std::string machine = Variable("TRANCHE_SIM_DIR", "");
  mps::Settings settings;
  settings.pipe_directory = Variable("CUDA_MPS_PIPE_DIRECTORY", "/tmp/nvidia-mps");
  settings.log_directory = Variable("CUDA_MPS_LOG_DIRECTORY", "/var/log/nvidia-mps");
  while (settings.pipe_directory.size() > 1 && settings.pipe_directory.back() == '/')
    settings.pipe_directory.pop_back();
  bool background = false, foreground = false;
  for (int i = 1; i < argc; ++i) {
    const std::string option = argv[i];
    if (option == "-d") {
      background = true;
    } else if (option == "-f") {
      foreground = true;
    } else if (option == "-S" || option == "--static-partitioning") {
      settings.static_partitions = true;
    } else if (option == "-multiuser-server" || option == "--multiuser-server") {
      settings.any_user = true;
    } else if (option == "-v") {
      auto opened = Machine::Open(machine);
      const int version = opened ? (*opened)->spec().driver.cuda_version : 0;
      std::printf("CUDA MPS Version %d\n", version);
      return 0;
    } else {
      std::fputs(kUsage, option == "-h" ? stdout : stderr);
      return option == "-h" ? 0 : 1;
    }
  }
  if (!background && !foreground) return Talk(settings.pipe_directory);
  auto opened = Machine::Open(machine);
  // Static partitions came with CUDA 13.1.
  if (opened && settings.static_partitions && (*opened)->spec().driver.cuda_version < 13010) {
    std::fputs(kUsage, stderr);
    return 1;
  }
  return background ? InBackground(machine, settings) : mps::Serve(machine, settings, -1);
}
