#pragma once

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json_fwd.h"
#include "base/units.h"
#include "model/reading.h"

namespace tranche {

// Virtual GPUs, which a host makes of its GPUs for virtual machines. Tranche owns the device, its
// user the machine.

// What a virtual GPU is licensed for, the letter in its type's name: C computing (what inference
// and training ask for), Q workstations, A applications, B desktops.
enum class VgpuSeries { kC, kQ, kA, kB };

inline constexpr std::array<VgpuSeries, 4> kAllVgpuSeries = {VgpuSeries::kC, VgpuSeries::kQ,
                                                             VgpuSeries::kA, VgpuSeries::kB};

const char* VgpuSeriesName(VgpuSeries series);  // "C"
Result<VgpuSeries> ParseVgpuSeries(std::string_view name);

// How those that are not backed by MIG take turns on their GPU, all of them alike. Best effort:
// whoever wants time gets what the others leave. Equal share: 1 / those that run. Fixed share: 1 /
// as many as its type could have there, whoever runs.
enum class VgpuScheduler { kBestEffort, kEqualShare, kFixedShare };

inline constexpr std::array<VgpuScheduler, 3> kAllVgpuSchedulers = {
    VgpuScheduler::kBestEffort, VgpuScheduler::kEqualShare, VgpuScheduler::kFixedShare};

const char* VgpuSchedulerName(VgpuScheduler scheduler);  // "best-effort"
Result<VgpuScheduler> ParseVgpuScheduler(std::string_view name);

// What a workload says of its virtual GPU beside how large it is.
struct VgpuAsk {
  VgpuSeries series = VgpuSeries::kC;
  std::optional<VgpuScheduler> scheduler;  // absent: whatever satisfies its isolation
  bool mixed_sizes = false;                // others on its GPU may have another size
  bool operator==(const VgpuAsk&) const = default;
};

// A type that a GPU can have.
struct VgpuOffer {
  std::string name;  // without its maker: "A40-8C"
  VgpuSeries series = VgpuSeries::kC;
  Bytes framebuffer;
  Bytes reserved;           // of the framebuffer, that the guest does not get, at most
  int mig_slices = 0;       // of the GPU instance that backs it; 0: it shares the GPU by time
  std::string mig_profile;  // likewise; "" when not known
  int most = 1;             // of it on one GPU that has no others
  int most_mixed = 0;       // of it among other sizes; 0: not known, so it is not mixed
  // Of it in one GPU instance, with mig_slices: several take turns there, and all of them are of
  // one size.
  int most_per_instance = 1;
  bool operator==(const VgpuOffer&) const = default;
  // What the guest can count on.
  Bytes guest() const { return framebuffer - reserved; }
};

// One that is there.
struct VgpuThere {
  std::string id;        // the virtual function's address, or the mediated device's UUID
  std::string function;  // where it is
  std::string type;      // without its maker; "type 559" where the kernel does not name it
  std::optional<Bytes> framebuffer;
  int mig_slices = 0;
  std::optional<int> gpu_instance;  // as the driver says
  std::optional<int> placement_id;  // likewise: its own number for where in the GPU it is
  bool ours = false;
  std::string workload;  // of ours: for which replica it was made; "": by hand
  int replica = 0;
  std::vector<int> holders;  // pids that have it open: it is in use
  bool operator==(const VgpuThere&) const = default;
};

// What holds for all virtual GPUs of a GPU.
struct VgpuHostState {
  bool functions = false;                  // there are places to put them
  bool mixed = false;                      // of several sizes
  std::optional<VgpuScheduler> scheduler;  // absent: not known, or as it is
  bool operator==(const VgpuHostState&) const = default;
};

// A GPU under a vGPU host driver.
struct GpuVgpu {
  bool mediated = false;  // by mediated devices, instead of the vendor's interface over VFIO
  int functions = 0;      // places for one each; 0: none are made yet
  Reading<bool> mixed;
  Reading<VgpuScheduler> scheduler;
  std::vector<VgpuOffer> offers;  // the largest first
  std::vector<VgpuThere> there;   // by id
  bool operator==(const GpuVgpu&) const = default;

  const VgpuOffer* FindOffer(std::string_view name) const;
  // Nothing that is not known is taken to be so.
  VgpuHostState state() const;
};

Json ToJson(const GpuVgpu& vgpu);
Result<GpuVgpu> GpuVgpuFromJson(const Json& json);
Json ToJson(const VgpuHostState& state);
Result<VgpuHostState> VgpuHostStateFromJson(const Json& json);

// "A40-8C", "A100D-1-10CME", "RTX6000-Ada-48Q": a name that a type may have, without its maker.
bool IsVgpuType(std::string_view text);
// The name without its maker: "A40-8C" of "NVIDIA A40-8C".
std::string ShortVgpuName(const std::string& name);

}  // namespace tranche
