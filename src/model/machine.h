#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/json_fwd.h"
#include "base/units.h"
#include "model/guarantee.h"
#include "model/mechanism.h"
#include "model/reading.h"
#include "model/time_slice.h"
#include "model/vgpu.h"

namespace tranche {

// ---- MIG ----

struct EngineCounts {
  int copy = 0, decoder = 0, encoder = 0, jpeg = 0, ofa = 0;
  bool operator==(const EngineCounts&) const = default;
};

// Where an instance sits, in the GPU's memory slots (8 on seven-slice GPUs, 4 on A30, 12 on RTX PRO
// 6000). Slots are not compute slices: 3g takes four of eight slots.
struct MigPlacement {
  int start = 0;
  int size = 0;
  auto operator<=>(const MigPlacement&) const = default;
};

// The same slices with other engines. A dimension of its own: it does not change where an instance
// fits, only how many of it a GPU has (one +me per GPU).
enum class MigVariant { kPlain, kMedia, kAllMedia, kNoMedia, kGraphics };

// A GPU instance profile as this driver offers it on this GPU. Names, sizes and SM counts differ
// between boards and drivers ("3g.39gb" exists), so on a machine they are always read, never looked
// up.
struct MigProfile {
  std::string name;      // "2g.20gb", "1g.10gb+me"
  int id = 0;            // what `nvidia-smi mig -cgi` takes; opaque
  int nvml_profile = 0;  // NVML_GPU_INSTANCE_PROFILE_*
  int compute_slices = 0;
  int max_instances = 0;
  Bytes memory;
  int sm_count = 0;
  EngineCounts engines;
  MigVariant variant = MigVariant::kPlain;
  std::vector<MigPlacement> placements;  // every legal one, by start, whether free or not

  bool operator==(const MigProfile&) const = default;
};

// A compute instance; the MIG device that CUDA sees.
struct MigComputeInstance {
  int id = 0;        // within its GPU instance
  std::string uuid;  // "MIG-..."; new at every creation
  int profile_id = 0;
  int compute_slices = 0;
  MigPlacement placement;  // in compute slices of the GPU instance

  bool operator==(const MigComputeInstance&) const = default;
};

struct MigInstance {
  int id = 0;           // GPU instance id; says nothing about the placement on mirrored boards
  std::string profile;  // MigProfile::name
  int profile_id = 0;
  MigPlacement placement;
  Bytes memory;
  std::vector<MigComputeInstance> compute_instances;
  Reading<Bytes> memory_used;

  bool operator==(const MigInstance&) const = default;
};

struct MigMode {
  bool current = false;
  bool pending = false;  // differs from current while a GPU reset is awaited
  bool operator==(const MigMode&) const = default;
};

// ---- GPU ----

enum class ComputeMode { kDefault, kProhibited, kExclusiveProcess };

struct GpuProcess {
  int pid = 0;
  std::string command;  // argv joined, shortened by the renderer, not here
  Reading<uint32_t> uid;
  std::string user;       // name of uid, or its number
  std::string container;  // short id; "" outside containers
  Reading<Bytes> memory_used;
  std::optional<int> gpu_instance;  // absent outside MIG
  std::optional<int> compute_instance;
  bool graphics = false;

  bool operator==(const GpuProcess&) const = default;
};

// An MPS control daemon that serves the GPU.
struct MpsDaemon {
  int pid = 0;
  bool ours = false;           // Tranche started it
  std::string pipe_directory;  // "" when that cannot be read
  bool operator==(const MpsDaemon&) const = default;
};

struct RemappedRows {
  uint64_t correctable = 0, uncorrectable = 0;
  bool pending = false, failed = false;
  bool operator==(const RemappedRows&) const = default;
};

struct GpuHealth {
  bool usable = true;                    // false: lost, or needs a reset before anything runs on it
  std::vector<std::string> problems;     // sentences for people; empty when all is well
  Reading<std::string> recovery_action;  // "none", "gpu_reset", "node_reboot", ...
  Reading<RemappedRows> remapped_rows;
  Reading<uint64_t> uncorrectable_ecc_errors;

  bool operator==(const GpuHealth&) const = default;
};

struct Gpu {
  std::string uuid;
  int index = 0;
  std::string name;   // as NVML says: "NVIDIA H100 80GB HBM3"
  std::string model;  // key in the catalog: "H100-SXM5-80GB"; "" when the catalog does not know it
  std::string pci_bus_id;
  std::string pci_device_id;                // "0x233010DE": device, then vendor; "" when unknown
  Reading<int> minor_number;                // n of /dev/nvidia<n>
  std::string architecture;                 // "hopper"
  Reading<std::string> compute_capability;  // "9.0"
  Reading<int> sm_count;
  Bytes memory_total;
  Reading<Bytes> memory_used;
  Reading<double> utilization;  // 0..1 of the time a kernel ran, last sample
  Reading<ComputeMode> compute_mode;
  Reading<TimeSlice> time_slice;  // read by whoever needs it: NVML does not know it
  Reading<bool> persistence_mode;
  Reading<std::string> virtualization;     // "none", "passthrough", "vgpu_guest", "vgpu_host"
  Reading<MigMode> mig_mode;               // absent: no MIG here, with the reason
  int memory_slots = 0;                    // of MIG placements; 0 without MIG
  std::vector<MigProfile> mig_profiles;    // empty without MIG
  std::vector<MigInstance> mig_instances;  // by placement
  std::optional<GpuVgpu> vgpu;             // absent: this driver makes no virtual GPUs of it
  std::vector<GpuProcess> processes;
  std::vector<MpsDaemon> mps_daemons;  // by pid
  GpuHealth health;
  std::optional<double> price_per_hour;  // of the whole GPU, where the fleet or the spec states it
  std::optional<double> spot_price_per_hour;

  bool operator==(const Gpu&) const = default;

  const MigProfile* FindProfile(const std::string& profile_name) const;
  const MigProfile* FindProfile(int profile_id) const;
  const MigInstance* FindInstance(MigPlacement placement) const;
};

// What the machine can promise. One entry per mechanism and GPU.
struct Capability {
  std::string gpu_uuid;
  Mechanism mechanism = Mechanism::kExclusive;
  bool available = false;
  std::string reason;     // why not, or what it rests on
  Guarantees guarantees;  // when available
  // Of MPS: why nothing can keep a program off the GPU that does not find its server; "" where the
  // compute mode can be set so that it is refused.
  std::string fails_open = {};
  // Of MPS: SMs of the chunks that static partitions are made of, where the control program has
  // them; 0 = it has none.
  int partition_sms = 0;
  bool operator==(const Capability&) const = default;
};

struct Machine {
  bool simulated_fleet = false;  // made from a spec's `fleet:`; there is no hardware behind it
  std::string hostname;
  Reading<std::string> driver_version;  // "580.95"
  Reading<std::string> cuda_version;    // "13.0"
  std::vector<Gpu> gpus;                // by index
  std::vector<Capability> capabilities;
  std::string fingerprint;  // MachineFingerprint() when this was read
  Time read_at;

  bool operator==(const Machine&) const = default;
  const Gpu* FindGpu(const std::string& uuid) const;
};

// A short digest of what a plan rests on: UUIDs, driver, MIG modes, instances with placements,
// compute modes and the MPS daemons of others; not of who is busy, nor of instance ids and UUIDs.
// "m1:" and 16 hex digits.
std::string MachineFingerprint(const Machine& machine);
// Only what the fingerprint covers, and the names that sentences need; everything else is as if not
// read. It has the fingerprint of the whole.
Machine MachineLayout(const Machine& machine);
// What moved between two machines in the fingerprint's terms, one sentence each; empty when they
// match.
std::vector<std::string> MachineDifferences(const Machine& planned, const Machine& now);

Json ToJson(const Machine& machine);
Result<Machine> MachineFromJson(const Json& json);

// "gpu0 (H100-SXM5-80GB, GPU-1234abcd)", for sentences.
std::string GpuLabel(const Gpu& gpu);
// "slot 2", "slots 2-3".
std::string SlotsText(MigPlacement placement);

const char* ComputeModeName(ComputeMode mode);  // "exclusive_process"
Result<ComputeMode> ParseComputeMode(std::string_view name);
const char* MigVariantName(MigVariant variant);

}  // namespace tranche
