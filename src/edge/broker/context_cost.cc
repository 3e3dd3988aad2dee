#include "edge/broker/context_cost.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "base/subprocess.h"

extern "C" char** environ;

namespace tranche {
namespace {

struct Pipe {
  int read_end = -1, write_end = -1;
  Pipe() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return;
    read_end = ends[0];
    write_end = ends[1];
  }
  ~Pipe() {
    CloseRead();
    CloseWrite();
  }
  void CloseRead() {
    if (read_end >= 0) close(read_end);
    read_end = -1;
  }
  void CloseWrite() {
    if (write_end >= 0) close(write_end);
    write_end = -1;
  }
};

std::string ReadLine(int fd) {
  std::string line;
  for (char c; line.size() < 500;) {
    const ssize_t n = read(fd, &c, 1);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0 || c == '\n') break;
    line += c;
  }
  return line;
}

Result<Bytes> HeldBy(Driver& driver, int pid, const std::string& gpu_uuid) {
  const auto processes = driver.ReadProcesses(gpu_uuid);
  if (!processes) return tl::unexpected<Error>(processes.error());
  for (const GpuProcess& process : *processes) {
    if (process.pid == pid && process.memory_used) return *process.memory_used;
  }
  return Fail(ErrorCode::kUnsupported, "the driver does not tell what a process holds");
}

}  // namespace

Result<Bytes> MeasureContext(Driver& driver, const LimiterFiles& files, const std::string& libcuda,
                             const std::string& gpu_uuid) {
  Pipe to, from;
  if (to.write_end < 0 || from.write_end < 0) return Fail(ErrorCode::kFailed, "cannot make a pipe");
  SpawnOptions options;
  options.argv = {files.hold_context, libcuda, gpu_uuid};
  for (char** entry = environ; *entry != nullptr; ++entry) options.environment.emplace_back(*entry);
  options.standard_input = to.read_end;
  options.standard_output = from.write_end;
  const Result<ProcessId> holder = Spawn(options);
  if (!holder) return tl::unexpected<Error>(holder.error());
  from.CloseWrite();
  const std::string said = ReadLine(from.read_end);
  Result<Bytes> cost = Fail(ErrorCode::kFailed,
                            "no context can be made on " + gpu_uuid +
                                (said.size() > 2 && said[0] == 'n' ? ": " + said.substr(2) : ""));
  if (said == "y") cost = HeldBy(driver, holder->pid, gpu_uuid);
  kill(holder->pid, SIGKILL);
  waitpid(holder->pid, nullptr, 0);
  return cost;
}

}  // namespace tranche
