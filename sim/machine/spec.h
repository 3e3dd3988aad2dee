#pragma once

#include <cstdint>

// What a simulated machine is made of: GPUs, their MIG tables, the driver. Plain old data, because
// the libraries map it from a file; written once by `tranche-sim create` and never changed after.
namespace tranche::sim {

inline constexpr uint32_t kMaxGpus = 16;
inline constexpr uint32_t kMaxGiProfiles = 20;
inline constexpr uint32_t kMaxCiProfiles = 8;
inline constexpr uint32_t kMaxPlacements = 8;

enum class Arch : uint32_t {
  kVolta = 5,
  kTuring = 6,
  kAmpere = 7,
  kAda = 8,
  kHopper = 9,
  kBlackwell = 10
};

struct Engines {
  uint32_t copy = 0;
  uint32_t decoders = 0;
  uint32_t encoders = 0;
  uint32_t jpeg = 0;
  uint32_t ofa = 0;
};

// One way to cut a GPU instance into compute instances. NVML's `profile` and the id are the same
// number.
struct CiProfileSpec {
  uint32_t id = 0;
  uint32_t slices = 0;  // compute slices
  uint32_t max_instances = 0;
  uint32_t sm = 0;
  uint32_t start_count = 0;
  uint32_t starts[kMaxPlacements] = {};  // in compute slices of the GPU instance
  char name[64] = {};                    // "1c.3g.40gb"
};

struct GiProfileSpec {
  uint32_t profile = 0;  // NVML_GPU_INSTANCE_PROFILE_*
  uint32_t id = 0;       // what nvidia-smi prints and the create calls want
  uint32_t slices = 0;   // compute slices
  uint32_t max_instances = 0;
  uint32_t sm = 0;
  uint32_t gfx = 0;
  Engines engines;
  uint64_t memory_bytes = 0;
  uint32_t size = 0;  // of a placement, in memory slots
  uint32_t start_count = 0;
  uint32_t starts[kMaxPlacements] = {};
  uint32_t ci_profile_count = 0;
  CiProfileSpec ci_profiles[kMaxCiProfiles];
  char name[64] = {};  // "1g.10gb+me"
};

struct GpuSpec {
  char key[64] = {};  // "H100-SXM5-80GB"; empty for a GPU that no catalog knows
  char name[96] = {};
  char uuid[48] = {};    // "GPU-..."
  char bus_id[32] = {};  // "00000000:18:00.0"
  char serial[32] = {};
  uint32_t pci_domain = 0, pci_bus = 0, pci_device = 0;
  uint32_t pci_device_id = 0;
  uint32_t pci_subsystem_id = 0;
  uint32_t minor = 0;
  Arch arch = Arch::kAmpere;
  uint32_t cc_major = 0, cc_minor = 0;
  uint32_t sm = 0;
  uint32_t numa_node = 0;
  uint64_t memory_bytes = 0;    // as NVML reports the total
  uint64_t reserved_bytes = 0;  // of it, held by the driver while MIG is off
  uint64_t bandwidth = 0;       // bytes per second
  uint32_t tdp_watts = 0;
  uint32_t ecc = 0;            // has ECC memory, switched on
  uint32_t row_remapping = 0;  // Ampere and newer data-centre GPUs
  uint32_t mig_capable = 0;
  uint32_t mirrored = 0;  // instance ids follow the physical span: canonical(start xor half)
  uint32_t mode_needs_reset = 0;  // MIG mode: A100 and A30
  uint32_t mode_persists = 0;     // MIG mode survives a reboot and a driver reload
  uint32_t memory_slots = 0;
  uint32_t compute_slices = 0;
  uint32_t gi_profile_count = 0;
  GiProfileSpec gi_profiles[kMaxGiProfiles];
};

struct DriverSpec {
  char version[32] = {};     // "580.95.05"
  uint32_t branch = 0;       // 580
  int32_t cuda_version = 0;  // 13000
  uint32_t loaded = 1;       // 0: nvmlInit answers DRIVER_NOT_LOADED
  uint32_t mismatched = 0;   // 1: nvmlInit answers LIB_RM_VERSION_MISMATCH
};

struct MachineSpec {
  DriverSpec driver;
  // Who may do what root may do, besides root: the owner of the directory. 0 = root only.
  uint32_t owner_is_privileged = 1;
  uint32_t owner_uid = 0;
  // The machine is virtual and its GPUs are passed through: nobody inside can reset them.
  uint32_t passthrough = 0;
  uint32_t gpu_count = 0;
  GpuSpec gpus[kMaxGpus];
};

inline constexpr uint64_t kNoLimit = ~uint64_t{0};

}  // namespace tranche::sim
