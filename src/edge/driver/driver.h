#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/units.h"
#include "model/machine.h"

namespace tranche {

// Something the driver said happened.
struct DriverEvent {
  enum class Kind { kXid, kGpuLost, kMigChanged };
  Kind kind = Kind::kXid;
  std::string gpu_uuid;
  uint64_t xid = 0;
  std::optional<int> gpu_instance;  // when the driver attributes it
  std::optional<int> compute_instance;
};

// What the processes of one cgroup, and of those below it, may hold of one GPU: enforced by the
// kernel driver (615 and newer), whatever the processes do. Managed memory is not counted.
struct MemoryLimits {
  Bytes soft;                 // kept for them; 0 = nothing
  std::optional<Bytes> hard;  // never more; absent = no limit

  bool operator==(const MemoryLimits&) const = default;
};
struct MemoryLimitsRead {
  MemoryLimits limits;
  Bytes used;
};

// The only way to the GPUs. One implementation over NVML, one fake for tests that scripts failures.
// Not thread-safe except WaitForEvents, which one thread may call while another uses the rest.
class Driver {
 public:
  virtual ~Driver() = default;

  // Everything that can be read, whole and fresh, without fingerprint and capabilities
  // (stage/inventory adds those). Fails with kUnavailable when there is no driver; a GPU that
  // cannot be read is there with health.usable = false and the reason.
  virtual Result<Machine> Read() = 0;

  // Who uses a GPU now; far cheaper than all of Read(), for what is asked several times a second.
  virtual Result<std::vector<GpuProcess>> ReadProcesses(const std::string& gpu_uuid) = 0;

  // Switches MIG mode and returns what is true afterwards; `pending` may differ from `current` (a
  // reset is needed), which is the caller's to report. kBusy with who is in the way, kPermission,
  // kUnsupported.
  virtual Result<MigMode> SetMigMode(const std::string& gpu_uuid, bool enabled) = 0;

  // Which processes may use the GPU; read back after it was set. kPermission for ordinary users,
  // kUnsupported where the GPU has none to set (it is in MIG mode).
  virtual Status SetComputeMode(const std::string& gpu_uuid, ComputeMode mode) = 0;

  // Makes a GPU instance exactly at `placement` with one compute instance over all of it, and
  // returns it as read back. If the compute instance fails, the GPU instance is destroyed again.
  virtual Result<MigInstance> CreateInstance(const std::string& gpu_uuid,
                                             const std::string& profile,
                                             MigPlacement placement) = 0;

  // Destroys the compute instances and the GPU instance at `placement`. kBusy when a process is on
  // it: then nothing was destroyed, or what was has been made again.
  virtual Status DestroyInstance(const std::string& gpu_uuid, MigPlacement placement) = 0;

  // The limits of a cgroup, named by its folder ("/sys/fs/cgroup/tranche/phi"), on a whole GPU.
  // kUnsupported where the driver has none to set (older than 615, or the GPU is in MIG mode).
  virtual Result<MemoryLimitsRead> GetMemoryLimits(const std::string& gpu_uuid,
                                                   const std::string& cgroup) = 0;
  // Sets them and reads them back. kPermission for ordinary users. A hard limit below what is held
  // stops growth and takes nothing away. Set {0, absent} before the cgroup is removed.
  virtual Status SetMemoryLimits(const std::string& gpu_uuid, const std::string& cgroup,
                                 const MemoryLimits& limits) = 0;

  // Waits until something happens or the timeout passes (then: empty). kUnsupported where the
  // driver cannot tell.
  virtual Result<std::vector<DriverEvent>> WaitForEvents(Duration timeout) = 0;
};

}  // namespace tranche
