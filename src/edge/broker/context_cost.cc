#include "edge/broker/context_cost.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

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

// `said`: "y MPS SMS FREE".
Result<ContextCost> Describe(Driver& driver, const std::string& said, int pid,
                             const std::string& gpu_uuid) {
  int mps = 0, sms = 0;
  unsigned long long available = 0;
  if (std::sscanf(said.c_str(), "y %d %d %llu", &mps, &sms, &available) != 3)
    return Fail(ErrorCode::kFailed, "hold-context says '" + said + "'");
  const auto held = HeldBy(driver, pid, gpu_uuid);
  if (!held) return tl::unexpected<Error>(held.error());
  ContextCost cost{*held, std::nullopt};
  if (mps == 0) return cost;
  cost.mps = MpsService{sms, std::nullopt};
  const auto machine = driver.Read();
  if (!machine) return tl::unexpected<Error>(machine.error());
  const Gpu* gpu = machine->FindGpu(gpu_uuid);
  // Others may take and give back some meanwhile.
  constexpr Bytes kSlack = MiB(256);
  if (gpu != nullptr && gpu->memory_used && available != 0 &&
      Bytes{available} + kSlack < gpu->memory_total - *gpu->memory_used)
    cost.mps->memory = Bytes{available} + *held;
  return cost;
}

}  // namespace

Result<ContextCost> MeasureContext(Driver& driver, const LimiterFiles& files,
                                   const std::string& libcuda, const std::string& gpu_uuid,
                                   const std::string& device_uuid,
                                   const std::map<std::string, std::string>& as_client,
                                   const std::optional<Credentials>& credentials) {
  Pipe to, from;
  if (to.write_end < 0 || from.write_end < 0) return Fail(ErrorCode::kFailed, "cannot make a pipe");
  SpawnOptions options;
  options.argv = {files.hold_context, libcuda, device_uuid};
  for (char** entry = environ; *entry != nullptr; ++entry) {
    const std::string variable = *entry;
    if (as_client.count(variable.substr(0, variable.find('='))) == 0)
      options.environment.push_back(variable);
  }
  for (const auto& [name, value] : as_client) options.environment.push_back(name + "=" + value);
  options.credentials = credentials;
  options.standard_input = to.read_end;
  options.standard_output = from.write_end;
  const Result<ProcessId> holder = Spawn(options);
  if (!holder) return tl::unexpected<Error>(holder.error());
  from.CloseWrite();
  const std::string said = ReadLine(from.read_end);
  Result<ContextCost> cost = Fail(
      ErrorCode::kFailed, "no context can be made on " + device_uuid +
                              (said.size() > 2 && said[0] == 'n' ? ": " + said.substr(2) : ""));
  if (said.rfind("y ", 0) == 0) cost = Describe(driver, said, holder->pid, gpu_uuid);
  kill(holder->pid, SIGKILL);
  waitpid(holder->pid, nullptr, 0);
  return cost;
}

}  // namespace tranche
