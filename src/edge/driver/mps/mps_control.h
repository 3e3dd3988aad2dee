#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/process.h"
#include "base/result.h"
#include "base/units.h"
#include "edge/driver/mps/mps_answers.h"

// NVIDIA's own program that controls MPS, nvidia-cuda-mps-control.

namespace tranche {

// How a daemon is talked to, chosen when it is started: by lines of text, which every driver has,
// or by commands that name servers and namespaces (CUDA 13.4, driver 615).
enum class MpsProtocol { kText = 2, kNamed = 3 };
inline constexpr int kFirstMpsWithPartitions = 13010;  // as MpsControl::Version() says it
inline constexpr int kFirstMpsWithNames = 13040;

// What a daemon is.
struct MpsDaemonKind {
  MpsProtocol protocol = MpsProtocol::kText;
  bool partitioned = false;  // of kText: each client must name a static partition
  bool operator==(const MpsDaemonKind&) const = default;
};

// What a control daemon serves, and where it is found. One daemon for each GPU or MIG instance
// keeps a client's fault from clients on others.
struct MpsDaemonFiles {
  std::string pipe_directory;  // programs find it by CUDA_MPS_PIPE_DIRECTORY
  std::string log_directory;
};

// What clients get at most, each; a client's environment may only lower its memory.
struct MpsDefaults {
  std::optional<int> thread_percentage;  // 1..100 of the SMs
  std::optional<Bytes> memory;           // down to whole MiB
  bool below_normal_priority = false;
  bool operator==(const MpsDefaults&) const = default;
};

class MpsControl {
 public:
  // Looks for the program in `path`, a list as in PATH. `environment`: "NAME=value", what it is
  // started with beside what is told to it here. kUnsupported when it is not there.
  static Result<MpsControl> Find(const std::string& path, std::vector<std::string> environment);

  const std::string& program() const { return program_; }

  // "13010": the CUDA version that it is of.
  Result<int> Version() const;

  // Starts a daemon for one device, a GPU's or a MIG instance's UUID, in the background, with both
  // directories made; its process. kBusy: there is one behind that directory. kUnsupported where
  // the program has no such kind.
  // `ours`: what others see of it says that Tranche minds it.
  Result<ProcessId> Start(const MpsDaemonFiles& files, const std::string& device,
                          const MpsDaemonKind& kind = {}, bool ours = true) const;
  // The daemon behind a pipe directory; absent when none runs.
  static std::optional<ProcessId> Daemon(const std::string& pipe_directory,
                                         const std::string& root = "/");
  // What the daemon behind it was started as.
  static std::optional<MpsDaemonKind> KindOf(const std::string& pipe_directory,
                                             const std::string& root = "/");

  // Of daemons of both protocols:

  // Those that run; empty before the first client came.
  Result<std::vector<MpsServer>> Servers(const MpsDaemonFiles& files) const;
  // The pid of the one that takes clients, the last of them.
  Result<std::optional<int>> Server(const MpsDaemonFiles& files) const;
  // pids of a server's clients.
  Result<std::vector<int>> Clients(const MpsDaemonFiles& files, int server) const;
  // Clients on a GPU after a fault: the server takes no others until they have ended.
  Result<bool> IsFaulted(const MpsDaemonFiles& files, int server) const;
  // Ends the GPU work of a client, so that it may be killed without harm to the others.
  Status TerminateClient(const MpsDaemonFiles& files, int server, int client) const;
  // The daemon ends with its servers, at once when there are no clients. With clients: kBusy, and
  // nothing is done.
  Status Quit(const MpsDaemonFiles& files) const;

  // Of kText:

  // For the next server: those that run go on as they were started.
  Status SetDefaults(const MpsDaemonFiles& files, const MpsDefaults& defaults) const;
  // For clients of a running server that come from now on; it keeps its clients' priority.
  Status SetLimits(const MpsDaemonFiles& files, int server, const MpsDefaults& limits) const;
  // Static partitions: of a daemon that was started with them, else kUnsupported.
  Result<MpsPartitions> Partitions(const MpsDaemonFiles& files, const std::string& gpu_uuid) const;
  // A new one, of so many chunks; what CUDA_MPS_SM_PARTITION says of it. kDoesNotFit: too few are
  // free.
  Result<std::string> AddPartition(const MpsDaemonFiles& files, const std::string& gpu_uuid,
                                   int chunks) const;
  Status RemovePartition(const MpsDaemonFiles& files, const std::string& name) const;

  // Of kNamed:

  // The server of that user, made when there is none; its name. Programs that name none are sent to
  // it as well. kFailed when it ends at once: then clients would run without MPS.
  Result<std::string> EnsureServer(const MpsDaemonFiles& files, uint32_t uid) const;
  // kBusy while it has clients.
  Status RemoveServer(const MpsDaemonFiles& files, const std::string& server) const;
  // What clients of that namespace get from now on, each; it is made when there is none, but for
  // "default", which always is. Where its programs find it. Read back: kFailed when it did not take
  // the limits.
  Result<std::string> SetNamespace(const MpsDaemonFiles& files, const std::string& server,
                                   const std::string& name, const MpsDefaults& limits) const;
  Result<std::vector<MpsNamespace>> Namespaces(const MpsDaemonFiles& files,
                                               const std::string& server) const;
  // Fails while it has clients.
  Status RemoveNamespace(const MpsDaemonFiles& files, const std::string& server,
                         const std::string& name) const;

 private:
  MpsControl(std::string program, std::vector<std::string> environment);
  // What it answers to lines; kUnavailable when no daemon does.
  Result<std::string> Ask(const MpsDaemonFiles& files, const std::string& lines) const;
  // What a command of kNamed prints; kFailed with its words when it fails.
  Result<std::string> Do(const MpsDaemonFiles& files, std::vector<std::string> command) const;
  // Waits for the server to be ready, or to be gone.
  Status AwaitServer(const MpsDaemonFiles& files, const std::string& server) const;
  std::vector<std::string> EnvironmentFor(const MpsDaemonFiles& files) const;

  std::string program_;
  std::vector<std::string> environment_;
};

// A control daemon that runs on this machine, whoever started it.
struct FoundMpsDaemon {
  int pid = 0;
  bool ours = false;  // MpsControl::Start() made it
  // By its environment, as far as that may be read; "" when it may not, or says nothing.
  std::string pipe_directory;
  std::string visible_devices;
  bool operator==(const FoundMpsDaemon&) const = default;
};
// By pid. `root`: where /proc is.
std::vector<FoundMpsDaemon> FindMpsDaemons(const std::string& root = "/");

}  // namespace tranche
