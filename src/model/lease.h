#pragma once

#include <optional>
#include <string>

#include "base/clock.h"
#include "base/json_fwd.h"
#include "base/units.h"
#include "model/guarantee.h"
#include "model/spec.h"

namespace tranche {

// A part of a GPU for one program that `tranche run` starts, for as long as it runs: a fraction of
// one, or one for itself (kExclusive).

struct LeaseRequest {
  std::string program;  // for people
  std::string gpu;      // UUID, index or model; "": whichever will do
  Mechanism mechanism = Mechanism::kFraction;
  std::optional<Bytes> memory;             // of a whole GPU: that it has so much at least
  std::optional<Share<Fraction>> compute;  // of the GPU's time
  int priority = 0;                        // for what is spare
  OnUnenforced on_unenforced = OnUnenforced::kStop;
  Bytes context_bytes;   // what a context costs, as the asking program measured it
  bool dry_run = false;  // only say what would be granted
  bool operator==(const LeaseRequest&) const = default;
};

// From now on; what is absent stays.
struct LeaseChange {
  std::optional<Bytes> memory;
  std::optional<Share<Fraction>> compute;
  bool operator==(const LeaseChange&) const = default;
};

struct Lease {
  std::string id;
  std::string program;
  std::string team;      // of the workload; with the user, those who may write one table
  std::string workload;  // of a plan whose slice this is, and which replica; "" for `tranche run`
  int replica = 0;
  std::string gpu_uuid;
  int gpu_index = 0;
  std::string device_uuid;  // of the MIG instance that it is a part of; "": of the GPU itself
  uint32_t uid = 0;
  int pid = 0;  // of the `tranche run`, or the replica, that holds it
  Mechanism mechanism = Mechanism::kFraction;
  std::optional<Bytes> memory;
  std::optional<Bytes> lent;  // what it may hold for now, where that is more than `memory`
  std::optional<Share<Fraction>> compute;
  Bytes memory_used;                     // over all its processes
  std::optional<Duration> compute_used;  // GPU time since it began; absent: not measured
  int processes = 0;                     // that use the GPU
  OnUnenforced on_unenforced = OnUnenforced::kStop;
  std::string detail;  // what is wrong with it; "" when nothing is
  // The folder of the cgroup that the kernel holds to `memory`; "": the limiter alone does.
  std::string cgroup;
  std::string why_not_harder;  // why the kernel does not hold its memory; "" when it does
  Time since;
  std::string slice_file;  // what the limiter in the program is told of
  bool operator==(const Lease&) const = default;

  // What its programs see, and what it shares with others.
  const std::string& device() const { return device_uuid.empty() ? gpu_uuid : device_uuid; }

  // By the limiter, inside the program; its memory by the kernel as well where it can. A whole GPU
  // needs nobody to divide it.
  Guarantees guarantee() const {
    Guarantees hard;
    if (mechanism == Mechanism::kExclusive) {
      hard.memory = hard.compute = hard.fault = Guarantee::kHardware;
    }
    if (memory) hard.memory = cgroup.empty() ? Guarantee::kCooperative : Guarantee::kKernel;
    if (compute) hard.compute = Guarantee::kCooperative;
    hard.access = Guarantee::kCooperative;
    return hard;
  }
};

Json ToJson(const LeaseRequest& request);
Result<LeaseRequest> LeaseRequestFromJson(const Json& json);
Json ToJson(const LeaseChange& change);
Result<LeaseChange> LeaseChangeFromJson(const Json& json);
Json ToJson(const Lease& lease);
Result<Lease> LeaseFromJson(const Json& json);

}  // namespace tranche
