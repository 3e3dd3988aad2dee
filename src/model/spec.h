#pragma once

#include <array>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json_fwd.h"
#include "base/units.h"
#include "model/guarantee.h"
#include "model/maintenance.h"
#include "model/mechanism.h"
#include "model/time_slice.h"
#include "model/vgpu.h"

namespace tranche {

// What a user asks for: the spec file, checked and with its defaults filled in. See docs/spec.md.

enum class WorkloadKind { kInference, kTraining, kNotebook, kBatch };
enum class ServingEngine { kCommand, kModelServer, kVllm, kTriton, kLlamaCpp };
// What happens to a workload whose limiter does not report in.
enum class OnUnenforced { kStop, kWarn };

inline constexpr std::array<WorkloadKind, 4> kAllWorkloadKinds = {
    WorkloadKind::kInference, WorkloadKind::kTraining, WorkloadKind::kNotebook,
    WorkloadKind::kBatch};
inline constexpr std::array<ServingEngine, 5> kAllServingEngines = {
    ServingEngine::kCommand, ServingEngine::kModelServer, ServingEngine::kVllm,
    ServingEngine::kTriton, ServingEngine::kLlamaCpp};

// Every word that ModelAsk::precision and ModelAsk::kv_precision may be.
inline constexpr std::array<const char*, 11> kPrecisions = {
    "fp32", "bf16", "fp16", "fp8", "int8", "int4", "awq", "gptq", "nf4", "mxfp4", "nvfp4"};
inline constexpr std::array<const char*, 4> kKvPrecisions = {"bf16", "fp16", "fp8", "int8"};

// What is guaranteed, and the most that may be borrowed. One value in the spec sets both.
template <typename T>
struct Share {
  T request;
  T limit;
  bool operator==(const Share&) const = default;
};

struct IsolationAsk {
  std::string word = "process";  // "hardware", "process", "none", or "axes" when given one by one
  Guarantees axes;               // what the word stands for, or what was given
  bool low_jitter = false;       // `jitter: low`: no co-tenant may stretch a kernel
  bool operator==(const IsolationAsk&) const = default;
};

// A model whose memory Tranche works out: named in the catalog, or described.
struct ModelAsk {
  std::string name;                  // "" when described by parameters
  std::optional<double> parameters;  // count, e.g. 8.03e9
  std::string precision = "bf16";
  int context = 4096;        // tokens a sequence may reach
  int concurrency = 1;       // sequences at once
  std::string kv_precision;  // "" = as the engine's default for `precision`
  bool operator==(const ModelAsk&) const = default;
};

struct Traffic {
  double requests_per_second = 0;
  int prompt_tokens = 0;
  int output_tokens = 0;
  bool operator==(const Traffic&) const = default;
};

struct Slo {
  std::optional<Duration> ttft_p50, ttft_p99, latency_p99;
  std::optional<double> tokens_per_second;
  bool operator==(const Slo&) const = default;
};

// What the plan works out from `traffic` and `slo` because the spec does not state it. What it came
// to stands where it would have been stated.
struct ByTraffic {
  bool replicas = false;
  bool batch = false;    // model.concurrency
  bool compute = false;  // the share, where there is one
  bool any() const { return replicas || batch || compute; }
  bool operator==(const ByTraffic&) const = default;
};

struct SourceMark {
  std::string file;
  int line = 0;
  int column = 0;
  bool operator==(const SourceMark&) const = default;
};

struct Workload {
  std::string name;
  std::string team;  // "" = the default team
  WorkloadKind kind = WorkloadKind::kBatch;
  IsolationAsk isolation;
  bool trusted = false;
  std::optional<Share<Bytes>> memory;      // absent when a model says it
  std::optional<Share<Fraction>> compute;  // of one GPU's SMs
  int gpus = 1;
  std::string gpu;                     // restrict to this catalog key; "" = any
  std::optional<Mechanism> mechanism;  // restrict to this mechanism
  // Restrict to this MIG profile, "1g.10gb+me", or with kVgpu to this type, "A40-8C"; "" = any.
  std::string profile;
  std::optional<ModelAsk> model;
  std::optional<Traffic> traffic;
  std::optional<Slo> slo;
  ServingEngine engine = ServingEngine::kCommand;
  std::vector<std::string> command;  // for kCommand; "${PORT}" is replaced per replica
  std::vector<std::string> args;     // appended to what an engine is started with
  std::string image;
  std::map<std::string, std::string> env;
  std::string env_from;  // file of NAME=value lines, read when the workload starts; never stored
  std::string working_directory;
  std::optional<int>
      port;           // of replica 0; replica n takes the next free one. Absent: chosen at start
  std::string route;  // "/phi"; "" = not routed
  int replicas = 1;
  ByTraffic by_traffic;
  Duration startup_grace = std::chrono::minutes(5);  // may be unhealthy this long after a start
  std::optional<Duration> lease;
  bool preemptible = false;
  std::string tier;  // with Spec::tiers, one of them
  // What the GPU's processes get in turn; only with kTimeSlicing. Absent: whatever the GPU has.
  std::optional<TimeSlice> time_slice;
  bool memory_cap = false;      // the limiter holds it to its memory; only with kTimeSlicing
  std::optional<VgpuAsk> vgpu;  // only with kVgpu; absent: as by default
  OnUnenforced on_unenforced = OnUnenforced::kStop;
  bool allow_root = false;
  SourceMark at;  // not part of equality of meaning; see WorkloadDigest

  bool operator==(const Workload&) const = default;
};

struct Team {
  std::string name;
  double weight = 1;
  std::optional<Bytes> memory_quota;
  std::optional<double> gpu_quota;
  bool operator==(const Team&) const = default;
};

// GPUs of a machine or fleet. One of `gpu`, `index` and `uuid` is set.
struct GpuSelector {
  std::string gpu;  // catalog key
  std::optional<int> index;
  std::string uuid;          // or the beginning of one: "GPU-1a2b"
  std::optional<int> count;  // of `gpu`; absent: all that no other tier has
  bool operator==(const GpuSelector&) const = default;
};

// A pool of GPUs that are all divided in one way. Workloads that name it go there and nowhere else,
// and no other workload does.
struct Tier {
  std::string name;
  std::vector<GpuSelector> gpus;
  std::optional<Mechanism> mechanism;     // the only one; absent: the plan chooses
  std::optional<IsolationAsk> isolation;  // what its workloads get when they ask for nothing, and
                                          // the most they may ask for
  std::optional<int> oversubscription;    // tenants that may share one GPU
  std::vector<std::string> profiles;      // with kMig: how each of its GPUs is divided, for good
  std::optional<TimeSlice> time_slice;    // with kTimeSlicing, of workloads that do not say
  bool memory_cap = false;                // likewise
  bool operator==(const Tier&) const = default;
};

struct FleetEntry {
  std::string gpu;  // catalog key
  int count = 1;
  std::optional<double> price_per_hour, spot_price_per_hour;
  bool operator==(const FleetEntry&) const = default;
};

struct Spec {
  int version = 1;
  std::string currency = "USD";
  bool allow_root = false;
  std::vector<FleetEntry> fleet;  // plan without hardware when not empty
  std::map<std::string, double>
      prices;  // catalog key -> price per hour, for GPUs on a real machine
  std::vector<Team> teams;
  std::vector<Tier> tiers;
  std::vector<MaintenanceWindow> maintenance;  // none: layouts may change at any time
  std::vector<Workload> workloads;
  std::string directory;  // of the spec file, absolute; relative paths in it start here

  bool operator==(const Spec&) const = default;
  const Tier* FindTier(const std::string& name) const;
};

// A digest of everything that a running replica was started from. Equal digest: nothing to restart.
// Where the spec came from (`at`) and what only concerns other replicas (`replicas`, `by_traffic`)
// are left out.
std::string WorkloadDigest(const Workload& workload);

Json ToJson(const Spec& spec);
Json ToJson(const Workload& workload);
Result<Spec> SpecFromJson(const Json& json);
Result<Workload> WorkloadFromJson(const Json& json);

const char* WorkloadKindName(WorkloadKind kind);
const char* ServingEngineName(ServingEngine engine);  // "llama.cpp"
const char* OnUnenforcedName(OnUnenforced what);
Result<WorkloadKind> ParseWorkloadKind(std::string_view name);
Result<ServingEngine> ParseServingEngine(std::string_view name);
Result<OnUnenforced> ParseOnUnenforced(std::string_view name);

// What an isolation word asks for; nullopt for a word that is none of the three.
std::optional<Guarantees> IsolationWordAxes(std::string_view word);

// Whether starting the workload would start anything. A workload that names nothing to run can be
// planned and priced; applying it is refused.
bool HasSomethingToRun(const Workload& workload);

}  // namespace tranche
