#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/json_fwd.h"
#include "model/deployment.h"
#include "model/guarantee.h"
#include "model/lease.h"
#include "model/reading.h"
#include "model/tier_capacity.h"
#include "model/time_slice.h"

namespace tranche {

enum class ReplicaState {
  kStarting,  // process runs, not yet healthy, within its grace
  kHealthy,
  kUnhealthy,  // process runs, health checks fail; out of the route
  kBackoff,    // died; waits before the next start
  kFailing,    // keeps dying; still retried, at the longest interval
  kFaulted,    // a hardware error took its slice; out of the route
  kStopped,    // by the user
  kEnded,      // finished by itself with exit code 0 (batch), or its lease ended
};

struct ReplicaStatus {
  std::string workload;
  int replica = 0;
  std::string team;
  ReplicaState state = ReplicaState::kStarting;
  std::string detail;  // why, for people: "exit code 137, third time in a minute"
  Slice slice;
  int gpu_index = 0;
  std::string device_uuid;  // what CUDA_VISIBLE_DEVICES says: MIG-... or GPU-...
  Guarantees guarantee;
  Reading<Bytes> memory_used;
  std::optional<Duration> compute_used;  // GPU time since it was started; absent: not measured
  std::optional<int> pid;
  std::optional<int> port;
  std::string route;
  int restarts = 0;
  std::optional<Time> started_at;
  std::optional<Time> lease_ends_at;
};

struct RouterStatus {
  bool running = false;
  std::string url;     // "http://127.0.0.1:8080"
  std::string detail;  // why not running
};

// A GPU on which `tranche drain` lets nothing new be placed.
struct DrainStatus {
  std::string gpu_uuid;
  int gpu_index = -1;
  std::vector<std::string> waiting_for;  // who is still on it; empty: it is free
};

// A GPU that processes take turns on.
struct TimeSlicedGpu {
  std::string gpu_uuid;
  int gpu_index = -1;
  int tenants = 0;
  Reading<TimeSlice> time_slice;  // as the driver says now
  std::string note;               // what is not guaranteed
};

// A GPU, or a MIG instance of one, whose tenants run through one MPS server.
struct MpsDevice {
  std::string gpu_uuid;
  int gpu_index = -1;
  std::string device_uuid;  // the GPU's own, or "MIG-..."
  int tenants = 0;
  // Why a program that does not find the server can run beside it all the same; "" when the
  // driver refuses it.
  std::string fails_open;
  std::vector<std::string> held;  // what holds what, of each slice or each process; sentences
};

// Something that happened to a replica, a GPU or a device.
struct StatusEvent {
  Time time;
  std::string subject;  // "phi/0", "gpu0"
  std::string message;
};

struct SystemStatus {
  std::string plan_id;
  bool daemon = false;
  std::vector<ReplicaStatus> replicas;
  std::vector<Lease> leases;  // of programs that `tranche run` started
  RouterStatus router;
  std::vector<TierCapacity> tiers;         // of the spec that was applied
  std::vector<DrainStatus> drained;        // by index
  std::vector<TimeSlicedGpu> time_sliced;  // by index
  std::vector<MpsDevice> mps;              // by index
  std::vector<std::string> warnings;       // what could not be re-established, and why
  std::vector<StatusEvent> events;         // the latest, newest first
};

Json ToJson(const SystemStatus& status);
Result<SystemStatus> SystemStatusFromJson(const Json& json);
const char* ReplicaStateName(ReplicaState state);

}  // namespace tranche
