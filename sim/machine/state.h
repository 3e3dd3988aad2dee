#pragma once

#include <cstdint>

#include "sim/machine/spec.h"

// What changes while a simulated machine runs. Plain old data; a transaction (machine.h) changes
// all of it or nothing. Every object that can vanish has a serial number that is never used again,
// so that a handle to a destroyed one is recognised.
namespace tranche::sim {

inline constexpr uint32_t kMaxGis = 8;   // per GPU
inline constexpr uint32_t kMaxCis = 16;  // per GPU
inline constexpr uint32_t kMaxProcesses = 256;
inline constexpr uint32_t kMaxContexts = 512;
inline constexpr uint32_t kMaxEvents = 256;    // a ring: older ones are lost to slow listeners
inline constexpr uint32_t kMaxAccounts = 256;  // a ring over all GPUs
inline constexpr uint32_t kMaxMemoryLimits = 64;
inline constexpr uint32_t kMaxMpsDaemons = 16;
inline constexpr uint32_t kMaxMpsServers = 32;
inline constexpr uint32_t kMaxMpsNamespaces = 256;         // of all servers
inline constexpr uint32_t kMaxMpsNamespacesOfServer = 64;  // its "default" among them
inline constexpr uint32_t kMaxSmPartitions = 64;           // of all servers
inline constexpr uint32_t kMaxSlow = 8;
inline constexpr uint32_t kMaxMissingSymbols = 16;
inline constexpr uint32_t kMaxFailingCalls = 16;
inline constexpr uint32_t kNoId = 0xffffffffu;

struct ComputeInstance {
  uint64_t serial = 0;  // 0 = a free entry
  uint64_t gi = 0;      // serial of its GPU instance
  uint32_t id = 0;
  uint32_t profile_id = 0;
  uint32_t start = 0, size = 0;  // in compute slices of the GPU instance
  char uuid[48] = {};            // "MIG-..."
};

struct GpuInstance {
  uint64_t serial = 0;  // 0 = a free entry
  uint32_t id = 0;
  uint32_t profile_id = 0;
  uint32_t start = 0, size = 0;  // in memory slots
  double busy_seconds = 0;       // SM time integral: 1.0 per second when all its SMs are busy
  double memory_busy_seconds = 0;
};

struct Gpu {
  uint32_t mig_mode = 0;
  uint32_t mig_pending = 0;
  uint32_t compute_mode = 0;
  uint32_t time_slice = 0;  // TimeSlice: how long one context computes before the next has its turn
  uint32_t persistence = 0;
  uint32_t accounting = 0;
  uint32_t ecc_mode = 0, ecc_pending = 0;
  uint32_t power_limit_mw = 0;
  uint32_t gpm_streaming = 0;
  uint32_t locked_min_mhz = 0, locked_max_mhz = 0;  // 0 = not locked
  uint32_t lost = 0;
  uint32_t no_permission = 0;
  uint32_t recovery_action = 0;  // NVML_GPU_RECOVERY_ACTION_*
  uint32_t rows_correctable = 0, rows_uncorrectable = 0;
  uint32_t rows_pending = 0, rows_failure = 0;
  uint64_t ecc_volatile_corrected = 0, ecc_volatile_uncorrected = 0;
  uint64_t ecc_aggregate_corrected = 0, ecc_aggregate_uncorrected = 0;
  double busy_seconds = 0;
  double memory_busy_seconds = 0;
  double energy_joules = 0;
  // GPU instances that there ever were, and those that are gone.
  uint64_t gis_created = 0, gis_destroyed = 0;
  GpuInstance gis[kMaxGis];
  ComputeInstance cis[kMaxCis];
};

// A process that holds a GPU. Known by pid and start time, so that a reused pid is another process.
struct Process {
  uint32_t pid = 0;  // 0 = a free entry
  uint32_t uid = 0;
  uint64_t start_ticks = 0;
  char name[64] = {};
  char cgroup[160] = {};  // its path in the unified hierarchy, "/" at the root
};

struct Context {
  uint64_t serial = 0;  // 0 = a free entry
  uint32_t pid = 0;
  uint32_t gpu = 0;
  uint64_t ci = 0;               // serial of the compute instance; 0 = the whole GPU
  uint64_t memory_bytes = 0;     // what it holds, its own overhead included
  uint64_t unlimited_bytes = 0;  // of it, what the kernel's memory limits do not count
  uint64_t limit_bytes = kNoLimit;
  uint64_t mps_server = 0;     // serial of the MPS server that it is a client of; 0 = of none
  uint64_t mps_namespace = 0;  // ... of the namespace there; 0 = the server has none
  uint64_t mps_partition = 0;  // ... of the static partition that it is in; 0 = in none
  double load = 0;             // share of its device's SMs that it keeps busy
  double memory_load = 0;      // share of its device's memory bandwidth
  uint32_t kind = 0;           // ContextKind
  uint32_t fault_xid = 0;      // not 0: the context is dead with this XID; only destroying it works
};

struct Event {
  uint64_t number = 0;  // from 1; 0 = a free entry
  uint64_t type = 0;    // nvmlEventType*
  uint64_t data = 0;
  uint64_t time_ns = 0;
  uint32_t gpu = 0;
  uint32_t gi = kNoId, ci = kNoId;
};

struct Account {
  uint64_t number = 0;  // from 1; 0 = a free entry
  uint32_t gpu = 0;
  uint32_t pid = 0;
  uint32_t running = 0;
  uint64_t max_memory_bytes = 0;
  uint64_t start_us = 0;  // wall clock
  uint64_t end_us = 0;
  double busy_seconds = 0;
  double memory_busy_seconds = 0;
};

// What the processes of one cgroup may hold of one GPU (driver 615 and newer).
struct MemoryLimit {
  char cgroup[160] = {};  // empty = a free entry
  uint32_t gpu = 0;
  uint64_t soft_bytes = 0;         // kept for it
  uint64_t hard_bytes = kNoLimit;  // never more
};

// A process that is watched, by pid and start time; pid 0 = none.
struct Watched {
  uint32_t pid = 0;
  uint64_t start_ticks = 0;
};

// nvidia-cuda-mps-control.
struct MpsDaemon {
  uint64_t serial = 0;  // 0 = a free entry
  Watched process;
  uint32_t protocol = 2;  // 2: lines of text, one server; 3: commands, servers with names
  uint32_t any_user = 0;
  char pipe_directory[160] = {};
};

// What clients connect to: contexts of one server share a GPU at the same time, and its faults.
struct MpsServer {
  uint64_t serial = 0;  // 0 = a free entry
  // The daemon that started it; 0: there is none (`tranche-sim mps`), nor a process, and it is
  // always there. That of protocol 2 is there as long as its daemon, with a process or without.
  uint64_t daemon = 0;
  Watched process;
  uint32_t ready = 0;     // the process has its contexts
  uint32_t quitting = 0;  // takes no new clients
  uint32_t uid = 0;
  uint32_t any_user = 0;  // whose clients it takes: all, or that uid's
  uint32_t gpus = 0;      // bit i: GPU i
  uint64_t ci = 0;        // serial of the one compute instance that it serves; 0 = whole GPUs
  uint32_t faulted = 0;   // bit i: takes no client on GPU i until those there have ended
  // For each client, but of protocol 3, which has namespaces for that.
  double thread_percentage = 100;         // of a GPU's SMs
  uint32_t below_normal = 0;              // their priority, unless they say otherwise
  uint64_t memory_limits[kMaxGpus] = {};  // by GPU; 0 = none
  uint32_t must_be_in_partition = 0;      // the daemon was started for static partitions
  uint32_t locality_domains = 0;
  char name[68] = {};              // of protocol 3
  char allowed_devices[704] = {};  // as it was told; empty = all of the daemon's
  char pipe_directory[160] = {};
};

// Clients of a server of protocol 3 that have limits in common, each for itself.
struct MpsNamespace {
  uint64_t serial = 0;  // 0 = a free entry
  uint64_t server = 0;
  double thread_percentage = 0;  // 0 = not set
  uint64_t memory_limit = 0;     // of each GPU; 0 = not set
  uint32_t priority_is_set = 0;
  uint32_t below_normal = 0;
  char memory_as_set[24] = {};  // "4G"
  char name[68] = {};
};

// SMs of a GPU that those clients of a server share who name it, and nobody else has.
struct SmPartition {
  uint64_t serial = 0;  // 0 = a free entry
  uint64_t server = 0;
  uint32_t protocol = 2;  // of whose daemon it is
  uint32_t gpu = 0;
  uint32_t chunks = 0;
  uint32_t sms = 0;
  uint32_t asked_remainder = 0;  // --include-remainder
  uint32_t has_remainder = 0;    // also the SMs of the GPU that make no whole chunk
  char name[68] = {};            // of protocol 3
};

struct SlowCall {
  char name[72] = {};
  uint32_t milliseconds = 0;
};

// A function of libcuda that fails.
struct FailingCall {
  char name[72] = {};  // empty = a free entry
  uint32_t code = 0;   // CUresult
  uint32_t nth = 0;    // which call of each process; 0 = every one
};

struct MachineState {
  uint64_t next_serial = 1;
  uint64_t next_event = 1;
  uint64_t next_account = 1;
  uint64_t boot = 1;            // counts reboots and driver reloads
  uint32_t modules_absent = 0;  // bit i: DriverModule i is not loaded
  uint64_t time_ns = 0;         // up to which the integrals are right
  Gpu gpus[kMaxGpus];
  Process processes[kMaxProcesses];
  Context contexts[kMaxContexts];
  Event events[kMaxEvents];
  Account accounts[kMaxAccounts];
  MemoryLimit memory_limits[kMaxMemoryLimits];
  MpsDaemon mps_daemons[kMaxMpsDaemons];
  MpsServer mps_servers[kMaxMpsServers];
  MpsNamespace mps_namespaces[kMaxMpsNamespaces];
  SmPartition sm_partitions[kMaxSmPartitions];
  SlowCall slow[kMaxSlow];
  FailingCall failing[kMaxFailingCalls];
  char missing_symbols[kMaxMissingSymbols][72] = {};
};

enum TimeSlice : uint32_t { kDefaultSlice = 0, kShortSlice = 1, kMediumSlice = 2, kLongSlice = 3 };

// The driver's parts in the kernel. All stand on the first.
enum DriverModule : uint32_t { kNvidia = 0, kUvm = 1, kModeset = 2, kDrm = 3, kDriverModules = 4 };

// Instead of an XID: what ends a client of MPS that had no fault.
inline constexpr uint32_t kMpsServerDied = 0x10001, kMpsClientTerminated = 0x10002;

enum ContextKind : uint32_t { kCompute = 0, kGraphics = 1, kMps = 2 };

}  // namespace tranche::sim
