#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/process.h"
#include "base/result.h"
#include "base/units.h"
#include "model/guarantee.h"

namespace tranche {

// Which start of which replica a process belongs to. It travels in the environment
// (TRANCHE_REPLICA) of the process and of all that it starts, so that nobody is lost when Tranche
// dies between starting a process and writing that down.
struct ReplicaMark {
  std::string deployment;  // of one state directory: tells two Tranches on a machine apart
  std::string workload;
  int replica = 0;
  uint64_t generation = 0;  // counts the starts of this replica

  bool operator==(const ReplicaMark&) const = default;
  std::string Text() const;  // "<deployment>/<workload>/<replica>/<generation>"
};

// Reads Text() back; anything else is kInvalid.
Result<ReplicaMark> ParseReplicaMark(std::string_view text);

// The part of a GPU whose device nodes a replica may open.
struct DeviceGrant {
  int gpu_minor = 0;                // of /dev/nvidiaN
  std::optional<int> gpu_instance;  // ids, for MIG
  std::optional<int> compute_instance;
};

// What holds a replica to a fraction of its GPU, from within.
struct LimiterUse {
  std::string folder;   // of the limiter's libraries, to be found before the driver's
  std::string libcuda;  // the driver's own
  // Where its tables are, which the replica's user may open: that of its slice, and those beside
  // it.
  std::vector<std::string> tables;
  std::string cgroup;  // the folder of the group that it is to be in; "": where we are
  std::map<std::string, std::string> env;  // wins over what the workload says

  bool operator==(const LimiterUse&) const = default;
};

// A container that a replica runs in, by podman or docker.
struct ContainerUse {
  std::string image;
  // What is run in it; absent = what the image says. `argv` are its arguments then.
  std::optional<std::string> entrypoint;
};

// Everything that one start of one replica needs to know.
struct ReplicaLaunch {
  ReplicaMark mark;

  // The program and its arguments. A program without a slash is looked for in the PATH that the
  // replica gets; one with a slash that is not absolute starts at `working_directory`. In every
  // argument and value of `env`, "${PORT}" is replaced by `port`.
  std::vector<std::string> argv;
  // In a container instead: `argv` are arguments, and a working directory is one in there.
  std::optional<ContainerUse> container;
  // The workload's own variables. They win over what is passed through from Tranche's environment
  // (PATH, HOME, LANG, LC_ALL, TZ, LD_LIBRARY_PATH, TRANCHE_SIM_DIR; HOME is of `uid` when that is
  // not ours), and lose to what Tranche says: CUDA_VISIBLE_DEVICES, CUDA_DEVICE_ORDER,
  // NVIDIA_VISIBLE_DEVICES, PORT, TRANCHE_REPLICA.
  std::map<std::string, std::string> env;
  // NAME=value lines, "" for none; read as `uid` when the replica starts, its values win over
  // `env`, and are written nowhere.
  std::string env_from;
  std::string working_directory;  // absolute; "" = "/"

  uint32_t uid = 0;
  uint32_t gid = 0;         // supplementary groups are those of `uid` in the user database
  bool allow_root = false;  // otherwise uid 0 is kPermission

  // What CUDA sees: "MIG-...", "GPU-...", comma-separated for several GPUs; "" = no GPU at all.
  std::string device_uuid;
  // The nodes that go with it; empty = unknown, then all are left visible.
  std::vector<DeviceGrant> devices;

  // Wins over whatever `env` says of LD_LIBRARY_PATH, which is looked at after it.
  std::optional<LimiterUse> limiter;

  std::optional<int> port;
  // stdout and stderr are appended here; made 0640 and owned by uid:gid. Its directory must exist,
  // and nobody but Tranche should be able to write in it.
  std::string log_path;
};

struct ReplicaStart {
  ProcessId process;
  // How hard "it sees no device but its own" is, and why not harder.
  Guarantee access = Guarantee::kCooperative;
  std::string access_reason;
};

// What one supervised process does now.
struct ReplicaPoll {
  enum class State {
    kRunning,
    kStopping,  // told to stop; SIGKILL comes when its deadline has passed
    kEnded,     // it and everything that it started are gone; `end` says how
  };
  State state = State::kRunning;
  ProcessEnd end;
  bool killed = false;  // it did not stop in time and was killed
};

// A process that carries a mark and is supervised by nobody.
struct Orphan {
  ProcessId process;
  ReplicaMark mark;
  bool leader = false;  // the process that was started, not one of its descendants
};

// Starts replicas as processes and follows them. A replica is a session and process group of its
// own with the uid, gid and groups of its user and no privilege besides, a clean environment,
// /dev/null as input, a log file as output and no other descriptor. It is no part of the daemon: it
// outlives it, and a later Runtime adopts it.
//
// A replica ends as a whole: when its first process is gone, what is left of its group, and what
// carries its mark elsewhere, is killed before kEnded is reported.
//
// All methods are safe from any thread. None blocks but Start (until the program runs or could not
// be executed), FindOrphans and StopAndWait.
class Runtime {
 public:
  virtual ~Runtime() = default;

  // Runs a replica. When the program cannot be run nothing is left behind, and the error says what
  // and why: kNotFound (no such program, working directory or env_from), kPermission (root without
  // allow_root; not executable; env_from not readable by the user), kInvalid (bad env_from line,
  // NUL bytes), kFailed.
  virtual Result<ReplicaStart> Start(const ReplicaLaunch& launch) = 0;

  // Takes over a process that an earlier Runtime started. kNotFound when it has ended meanwhile, or
  // when the pid belongs to another process now. The mark must be the one that it was started with.
  virtual Status Adopt(ProcessId process, const ReplicaMark& mark) = 0;

  // What a started or adopted replica does now; also drives a stop that is under way, so call it a
  // few times per second. After kEnded the replica is forgotten: the next call is kNotFound.
  virtual Result<ReplicaPoll> Poll(ProcessId process) = 0;

  // Begins to stop a replica: SIGTERM to its group now, SIGKILL by Poll once `grace` has passed.
  // Asking again can only shorten the time that is left. OK also when it has just ended; kNotFound
  // when unknown.
  virtual Status Stop(ProcessId process, Duration grace) = 0;

  // Stop, then waits until it has ended. Never takes much longer than `grace`: kFailed, naming the
  // pids, when something survives SIGKILL (stuck in the kernel).
  virtual Result<ReplicaPoll> StopAndWait(ProcessId process, Duration grace) = 0;

  // Every process of a deployment that is neither started nor adopted here, by its mark; leaders
  // first.
  virtual Result<std::vector<Orphan>> FindOrphans(const std::string& deployment) = 0;

  // What FindOrphans found and nobody wants: SIGTERM, then SIGKILL after `grace`; waits for it.
  virtual Status StopOrphans(const std::vector<Orphan>& orphans, Duration grace) = 0;
};

struct RuntimeOptions {
  std::string root = "/";  // where /proc and /dev are looked for
  // Tranche's own environment, of which the variables named above are passed through.
  std::map<std::string, std::string> environment;
  // Where podman and docker look for devices that are described by files.
  std::string cdi_folder = "/var/run/cdi";
};

// The environment of the calling process, for RuntimeOptions.
std::map<std::string, std::string> CurrentEnvironment();

std::unique_ptr<Runtime> MakeProcessRuntime(RuntimeOptions options, std::shared_ptr<Clock> clock);

}  // namespace tranche
