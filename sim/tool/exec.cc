#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <sstream>
#include <utility>

#include "sim/machine/kernel_files.h"
#include "sim/root/namespace.h"
#include "sim/root/open_redirect.h"
#include "sim/tool/commands.h"
#include "sim/tool/library_folder.h"

namespace tranche::sim {
namespace {

int Say(const Error& error) {
  std::fprintf(stderr, "tranche-sim: %s\n", error.message.c_str());
  if (!error.hint.empty()) std::fprintf(stderr, "  %s\n", error.hint.c_str());
  return ExitCodeOf(error.code);
}

void Prepend(const char* variable, const std::string& value) {
  const char* old = std::getenv(variable);
  std::string all = old == nullptr || *old == 0 ? value : value + ":" + old;
  setenv(variable, all.c_str(), 1);
}

bool IsInPath(const std::string& program) {
  const char* path = std::getenv("PATH");
  std::istringstream folders(path == nullptr ? "" : path);
  for (std::string folder; std::getline(folders, folder, ':');) {
    if (access((folder + "/" + program).c_str(), F_OK) == 0) return true;
  }
  return false;
}

// The machine's /proc, /sys and /dev in place of the host's, for this process and what it becomes.
Status ShowMachine(Machine* machine) {
  const std::string& dir = machine->dir();
  mkdir((dir + "/root").c_str(), 0755);
  machine->Update([&](MachineState& state) {
    WriteKernelFiles(dir, machine->spec(), state);
    return Rc::kOk;
  });
  std::vector<std::string> absent;
  if (Status entered = EnterMachine(dir, &absent); !entered) return entered;
  std::vector<std::pair<std::string, std::string>> redirected;
  for (const std::string& file : absent) redirected.emplace_back(file, dir + "/root" + file);
  return redirected.empty() ? Status{} : RedirectOpens(redirected);
}

}  // namespace

int Exec(const std::vector<std::string>& arguments) {
  size_t program = 1;
  const bool root = arguments.size() > 1 && arguments[1] == "--root";
  if (root) ++program;
  if (arguments.size() > program && arguments[program] == "--") ++program;
  if (arguments.empty() || arguments[0].empty() || arguments[0][0] == '-' ||
      arguments.size() <= program) {
    return Say({ErrorCode::kInvalid, "exec wants a machine's directory and a program",
                "tranche-sim exec DIR [--root] -- PROGRAM ARGUMENTS..."});
  }
  char* resolved = realpath(arguments[0].c_str(), nullptr);
  std::string dir = resolved == nullptr ? arguments[0] : resolved;
  std::free(resolved);
  Result<std::unique_ptr<Machine>> machine = Machine::Open(dir);
  if (!machine) return Say(machine.error());

  // Only the owner of the machine can bring its folder of libraries up to date; for others it is as
  // it was left.
  if (access(dir.c_str(), W_OK) == 0) {
    Status refreshed = RefreshLibraries(machine->get());
    if (!refreshed) return Say(refreshed.error());
  }
  const std::string installed = InstalledLibraries();
  if (root) {
    if (Status shown = ShowMachine(machine->get()); !shown) return Say(shown.error());
  }
  Prepend("LD_LIBRARY_PATH", dir + "/lib:" + installed);
  std::string programs = installed + "/bin";
  if (access(programs.c_str(), X_OK) == 0) Prepend("PATH", programs);
  // A machine with a clock of its own brings it to its processes.
  if (access((dir + "/clock").c_str(), F_OK) == 0) {
    const std::string clock = installed + "/libtranche-sim-clock.so";
    const char* others = std::getenv("LD_PRELOAD");
    const bool there = others != nullptr && std::string(others).find(clock) != std::string::npos;
    if (!there) Prepend("LD_PRELOAD", clock);
  }
  setenv("TRANCHE_SIM_DIR", dir.c_str(), 1);
  setenv("TRANCHE_STATE_DIR", (dir + "/tranche").c_str(), 1);

  std::vector<char*> argv;
  for (size_t i = program; i < arguments.size(); ++i) {
    argv.push_back(const_cast<char*>(arguments[i].c_str()));
  }
  argv.push_back(nullptr);
  execvp(argv[0], argv.data());
  int why = errno;
  // A folder of PATH that may not be read is answered with EACCES, as if the program were there.
  const bool by_path = std::strchr(argv[0], '/') != nullptr;
  if (why == EACCES && !by_path && !IsInPath(argv[0])) why = ENOENT;
  std::fprintf(stderr, "tranche-sim: cannot run %s: %s\n", argv[0], std::strerror(why));
  return why == ENOENT ? 127 : 126;
}

}  // namespace tranche::sim
