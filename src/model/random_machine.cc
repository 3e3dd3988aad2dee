#include "model/random_machine.h"

#include <fmt/format.h>

namespace tranche {
namespace {

class Maker {
 public:
  explicit Maker(uint32_t seed) : random_(seed) {}

  Machine Make() {
    Machine machine;
    machine.simulated_fleet = Chance();
    machine.hostname = Text();
    machine.driver_version = Maybe<std::string>([this] { return Text(); });
    machine.cuda_version = Maybe<std::string>([this] { return Text(); });
    machine.read_at = Time(std::chrono::milliseconds(Number(2000000000000)));
    machine.fingerprint = Text();
    const int gpus = static_cast<int>(Number(3));
    for (int i = 0; i < gpus; ++i) machine.gpus.push_back(MakeGpu(i));
    for (const Gpu& gpu : machine.gpus) {
      Capability capability;
      capability.gpu_uuid = gpu.uuid;
      capability.mechanism = kAllMechanisms[Number(kAllMechanisms.size() - 1)];
      capability.available = Chance();
      capability.reason = Text();
      capability.guarantees = {AGuarantee(), AGuarantee(), AGuarantee(), AGuarantee()};
      if (Chance()) capability.fails_open = Text();
      if (Chance()) capability.partition_sms = static_cast<int>(Number(16));
      machine.capabilities.push_back(capability);
    }
    return machine;
  }

 private:
  uint64_t Number(uint64_t most) {
    return std::uniform_int_distribution<uint64_t>(0, most)(random_);
  }
  int Small() { return static_cast<int>(Number(20)); }
  bool Chance() { return Number(1) == 1; }
  Guarantee AGuarantee() { return static_cast<Guarantee>(Number(4)); }
  Bytes Memory() { return Bytes{Number(~uint64_t{0})}; }

  std::string Text() {
    static const char* const kTexts[] = {"",
                                         "a",
                                         "python3 -c \"print('x')\"",
                                         "tab\tnewline\n",
                                         "\xc3\xa4\xe2\x82\xac",
                                         "\\u0000",
                                         "580.95.05"};
    return kTexts[Number(std::size(kTexts) - 1)];
  }

  template <typename T, typename Value>
  Reading<T> Maybe(Value value) {
    if (Chance()) return Reading<T>(value());
    return Reading<T>::Absent("because " + Text());
  }

  Gpu MakeGpu(int index) {
    Gpu gpu;
    gpu.uuid = fmt::format("GPU-{:08x}-0000-0000-0000-{:012}", Number(0xffffffff), index);
    gpu.index = index;
    gpu.name = Text();
    gpu.model = Text();
    gpu.pci_bus_id = Text();
    gpu.pci_device_id = Text();
    gpu.minor_number = Maybe<int>([this] { return Small(); });
    gpu.architecture = Text();
    gpu.compute_capability = Maybe<std::string>([this] { return Text(); });
    gpu.sm_count = Maybe<int>([this] { return 1 + Small(); });
    gpu.memory_total = Bytes{Number(1)};
    gpu.memory_used = Maybe<Bytes>([this] { return Memory(); });
    gpu.utilization = Maybe<double>([this] { return static_cast<double>(Number(1000)) / 1000; });
    gpu.compute_mode = Maybe<ComputeMode>([this] { return static_cast<ComputeMode>(Number(2)); });
    gpu.time_slice = Maybe<TimeSlice>([this] { return static_cast<TimeSlice>(Number(3)); });
    gpu.persistence_mode = Maybe<bool>([this] { return Chance(); });
    gpu.virtualization = Maybe<std::string>([this] { return Text(); });
    gpu.mig_mode = Maybe<MigMode>([this] { return MigMode{Chance(), Chance()}; });
    gpu.memory_slots = 8;
    const int profiles = static_cast<int>(Number(3));
    for (int i = 0; i < profiles; ++i) {
      MigProfile profile;
      profile.name = fmt::format("{}g.{}gb", i + 1, Small());
      profile.id = i;
      profile.nvml_profile = Small();
      profile.compute_slices = Small();
      profile.max_instances = Small();
      profile.memory = Memory();
      profile.sm_count = Small();
      profile.engines = {Small(), Small(), Small(), Small(), Small()};
      profile.variant = static_cast<MigVariant>(Number(4));
      profile.placements = {{0, 2}, {4, 4}};
      gpu.mig_profiles.push_back(profile);
    }
    for (int start = 0; start < 8; start += 2) {
      if (Chance()) gpu.mig_instances.push_back(MakeInstance(start));
    }
    if (Chance()) gpu.vgpu = MakeVgpu();
    if (Chance()) gpu.processes.push_back(MakeProcess());
    if (Chance()) gpu.mps_daemons.push_back({Small(), Chance(), Text()});
    gpu.health.usable = Chance();
    if (Chance()) gpu.health.problems = {Text(), Text()};
    gpu.health.recovery_action = Maybe<std::string>([this] { return Text(); });
    gpu.health.remapped_rows = Maybe<RemappedRows>([this] {
      return RemappedRows{Number(9), Number(9), Chance(), Chance()};
    });
    gpu.health.uncorrectable_ecc_errors = Maybe<uint64_t>([this] { return Number(9); });
    if (Chance()) gpu.price_per_hour = static_cast<double>(Number(1000)) / 100;
    if (Chance()) gpu.spot_price_per_hour = static_cast<double>(Number(1000)) / 100;
    return gpu;
  }

  MigInstance MakeInstance(int start) {
    MigInstance instance;
    instance.id = Small();
    instance.profile = fmt::format("2g.{}gb", Number(1));
    instance.profile_id = Small();
    instance.placement = {start, 1 + static_cast<int>(Number(1))};
    instance.memory = Memory();
    instance.memory_used = Maybe<Bytes>([this] { return Memory(); });
    const int computes = static_cast<int>(Number(2));
    for (int i = 0; i < computes; ++i) {
      instance.compute_instances.push_back({i, Text(), Small(), 1, {i, 1}});
    }
    return instance;
  }

  GpuVgpu MakeVgpu() {
    GpuVgpu vgpu;
    vgpu.mediated = Chance();
    vgpu.functions = Small();
    vgpu.mixed = Maybe<bool>([this] { return Chance(); });
    vgpu.scheduler = Maybe<VgpuScheduler>([this] { return static_cast<VgpuScheduler>(Number(2)); });
    if (Chance()) {
      vgpu.offers.push_back({"A40-8C", static_cast<VgpuSeries>(Number(3)), GiB(8), GiB(1), Small(),
                             Text(), 1 + Small(), Small()});
    }
    if (Chance()) {
      VgpuThere there;
      there.id = fmt::format("0000:41:00.{}", Number(7));
      there.function = there.id;
      there.type = fmt::format("A40-{}C", 4 + Number(1) * 4);
      if (Chance()) there.framebuffer = GiB(8);
      there.mig_slices = Small();
      if (Chance()) there.gpu_instance = Small();
      if (Chance()) there.placement_id = Small();
      there.ours = Chance();
      if (Chance()) {
        there.workload = "db";
        there.replica = Small();
      }
      if (Chance()) there.holders = {1 + Small()};
      vgpu.there.push_back(there);
    }
    return vgpu;
  }

  GpuProcess MakeProcess() {
    GpuProcess process;
    process.pid = Small();
    process.command = Text();
    process.uid = Maybe<uint32_t>([this] { return static_cast<uint32_t>(Number(0xffffffff)); });
    process.user = Text();
    process.container = Text();
    process.memory_used = Maybe<Bytes>([this] { return Memory(); });
    if (Chance()) process.gpu_instance = Small();
    if (Chance()) process.compute_instance = Small();
    process.graphics = Chance();
    return process;
  }

  std::mt19937 random_;
};

}  // namespace

Machine RandomMachine(uint32_t seed) { return Maker(seed).Make(); }

}  // namespace tranche
