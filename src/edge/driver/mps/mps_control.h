#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/process.h"
#include "base/result.h"
#include "base/units.h"

// NVIDIA's own program that controls MPS, nvidia-cuda-mps-control, by its text protocol (version 2,
// which every driver has).

namespace tranche {

// What a control daemon serves, and where it is found. One daemon for each GPU or MIG instance
// keeps a client's fault from clients on others.
struct MpsDaemonFiles {
  std::string pipe_directory;  // programs find it by CUDA_MPS_PIPE_DIRECTORY
  std::string log_directory;
};

// What clients of the next server get at most, each; a client's environment may only lower it.
struct MpsDefaults {
  std::optional<int> thread_percentage;  // 1..100 of the SMs
  std::optional<Bytes> memory;           // down to whole MiB
  bool below_normal_priority = false;
};

// SMs that are divided for good, in chunks: what is a client's is nobody else's.
struct MpsPartition {
  std::string name;  // "GPU-.../7"
  int chunks = 0;
};
struct MpsPartitions {
  int chunks = 0, sms = 0;  // of the GPU, free or not
  std::vector<MpsPartition> list;
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
  // directories made; its process. kBusy: there is one behind that directory.
  // `ours`: what others see of it says that Tranche minds it. `partitioned`: each client must name
  // a static partition; kUnsupported where the program has none.
  Result<ProcessId> Start(const MpsDaemonFiles& files, const std::string& device, bool ours = true,
                          bool partitioned = false) const;
  // The daemon behind a pipe directory; absent when none runs.
  static std::optional<ProcessId> Daemon(const std::string& pipe_directory,
                                         const std::string& root = "/");

  // For the next server: those that run go on as they were started.
  Status SetDefaults(const MpsDaemonFiles& files, const MpsDefaults& defaults) const;
  // For clients of a running server that come from now on; it keeps its clients' priority.
  Status SetLimits(const MpsDaemonFiles& files, int server, const MpsDefaults& limits) const;
  // The server's pid; absent before the first client came.
  Result<std::optional<int>> Server(const MpsDaemonFiles& files) const;
  // pids of a server's clients.
  Result<std::vector<int>> Clients(const MpsDaemonFiles& files, int server) const;
  // Static partitions: of a daemon that was started with them, else kUnsupported.
  Result<MpsPartitions> Partitions(const MpsDaemonFiles& files) const;
  // A new one, of so many chunks; what CUDA_MPS_SM_PARTITION says of it. kDoesNotFit: too few are
  // free.
  Result<std::string> AddPartition(const MpsDaemonFiles& files, const std::string& gpu_uuid,
                                   int chunks) const;
  Status RemovePartition(const MpsDaemonFiles& files, const std::string& name) const;
  // Clients on a GPU after a fault: the server takes no others until they have ended.
  Result<bool> IsFaulted(const MpsDaemonFiles& files, int server) const;
  // Ends the GPU work of a client, so that it may be killed without harm to the others.
  Status TerminateClient(const MpsDaemonFiles& files, int server, int client) const;
  // The daemon ends with its server, at once when there are no clients. With clients: kBusy, and
  // nothing is done.
  Status Quit(const MpsDaemonFiles& files) const;

 private:
  MpsControl(std::string program, std::vector<std::string> environment);
  // What it answers to lines; kUnavailable when no daemon does.
  Result<std::string> Ask(const MpsDaemonFiles& files, const std::string& lines) const;
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
