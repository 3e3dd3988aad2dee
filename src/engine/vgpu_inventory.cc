#include "engine/vgpu_inventory.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>

#include "base/subprocess.h"
#include "catalog/vgpu_catalog.h"
#include "engine/engine.h"

namespace tranche {
namespace {

// sriov-manage binds the driver anew, for each virtual function.
constexpr Duration kProgramTakes = std::chrono::minutes(5);

template <typename T>
Reading<T> ReadingOf(const Result<T>& read) {
  return read ? Reading<T>(*read) : Reading<T>::Absent(read.error().message);
}

VgpuOffer OfferOf(const VgpuType& type, const Gpu& gpu) {
  VgpuOffer offer;
  offer.name = ShortVgpuName(type.name);
  offer.series = type.series;
  offer.framebuffer = type.framebuffer;
  offer.mig_slices = type.mig_slices;
  offer.most = std::max(1, type.most);
  offer.most_per_instance = type.mig_slices > 0 ? type.most_per_instance : 0;
  for (const MigProfile& profile : gpu.mig_profiles) {
    if (type.mig_slices > 0 && profile.id == type.instance_profile)
      offer.mig_profile = profile.name;
  }
  return offer;
}

VgpuThere ThereOf(const KnownVgpu& known) {
  const VgpuDevice& device = known.device;
  VgpuThere there;
  there.id = device.id;
  there.function = device.function;
  there.type = device.type.name.empty() ? fmt::format("type {}", device.type.id)
                                        : ShortVgpuName(device.type.name);
  if (!device.type.name.empty()) there.framebuffer = device.type.framebuffer;
  there.mig_slices = device.type.mig_slices;
  there.gpu_instance = device.gpu_instance;
  there.placement_id = device.placement;
  there.ours = known.ours;
  there.workload = known.workload;
  there.replica = known.replica;
  there.holders = device.holders;
  return there;
}

// Whether the driver has said which types that take turns there are, and this is none of them.
bool IsNotOffered(const VgpuOffer& offer, const std::vector<VgpuOffer>& named, const Gpu& gpu,
                  const KnownVgpus& known, bool all_named) {
  const bool is_named = std::any_of(named.begin(), named.end(),
                                    [&](const VgpuOffer& one) { return one.name == offer.name; });
  if (is_named) return false;
  // Of mediated devices all are named; else those that fit beside what is there, and those that MIG
  // backs only where there is an instance for them.
  if (known.gpu.interface == VgpuInterface::kMdev) return true;
  const bool mig = gpu.mig_mode && gpu.mig_mode->current;
  const bool told = all_named || (!known.gpu.functions.empty() && known.vgpus.empty());
  return offer.mig_slices == 0 && !mig && told;
}

GpuVgpu VgpuOf(const Gpu& gpu, const KnownVgpus& known, const VgpuHost& host) {
  GpuVgpu vgpu;
  vgpu.mediated = known.gpu.interface == VgpuInterface::kMdev;
  vgpu.functions = static_cast<int>(known.gpu.functions.size());
  if (vgpu.functions > 0) {
    vgpu.mixed = ReadingOf(host.Mixed(known.gpu.address));
    vgpu.scheduler = ReadingOf(host.Scheduler(known.gpu.address));
  } else {
    // The driver is bound anew when they are made, and has all as by default then.
    vgpu.mixed = false;
    vgpu.scheduler = Reading<VgpuScheduler>::Absent("it has no virtual functions yet");
  }
  std::vector<VgpuOffer> named;
  // What nvidia-smi names is told in full, so it comes first.
  const std::vector<VgpuType> supported = host.Supported(known.gpu.address);
  for (const std::vector<VgpuType>* types : {&supported, &known.gpu.types}) {
    for (const VgpuType& type : *types) {
      const VgpuOffer offer = OfferOf(type, gpu);
      const bool there = std::any_of(named.begin(), named.end(),
                                     [&](const VgpuOffer& one) { return one.name == offer.name; });
      if (!there) named.push_back(offer);
    }
  }
  vgpu.offers = BuiltInVgpuCatalog().OffersOf(gpu.model, gpu.memory_total, gpu.mig_profiles, named);
  vgpu.offers.erase(std::remove_if(vgpu.offers.begin(), vgpu.offers.end(),
                                   [&](const VgpuOffer& offer) {
                                     return IsNotOffered(offer, named, gpu, known,
                                                         !supported.empty());
                                   }),
                    vgpu.offers.end());
  for (const KnownVgpu& one : known.vgpus) vgpu.there.push_back(ThereOf(one));
  return vgpu;
}

}  // namespace

std::string VgpuRoot() {
  const char* root = std::getenv("TRANCHE_VGPU_ROOT");
  return root != nullptr && *root != '\0' ? root : "/";
}

std::unique_ptr<VgpuHost> OpenVgpuHost(const std::string& root) {
  const auto run = [root](const std::vector<std::string>& argv) -> Result<std::string> {
    SpawnOptions options;
    options.argv = argv;
    if (root != "/") options.argv.front() = root + argv.front();
    options.environment = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin"};
    const auto said = RunProgram(options, kProgramTakes);
    if (!said) return tl::unexpected(said.error());
    if (said->end.exit_code == 0) return said->output;
    return Fail(ErrorCode::kFailed, fmt::format("{}: {}: {}", argv.front(), said->end.Text(),
                                                said->output.substr(0, said->output.find('\n'))));
  };
  return std::make_unique<VgpuHost>(OpenSysfs(root), run);
}

void AddVgpus(const VgpuBook& book, const VgpuHost& host, const Catalog& catalog,
              Machine* machine) {
  for (Gpu& gpu : machine->gpus) {
    const auto known = book.Read(gpu.pci_bus_id);
    const bool none = !known && (known.error().code == ErrorCode::kUnsupported ||
                                 known.error().code == ErrorCode::kNotFound);
    if (none) continue;
    if (known) gpu.vgpu = VgpuOf(gpu, *known, host);
    for (Capability& capability : machine->capabilities) {
      if (capability.gpu_uuid != gpu.uuid || capability.mechanism != Mechanism::kVgpu) continue;
      capability.available = known && gpu.health.usable && !gpu.vgpu->offers.empty();
      if (!known)
        capability.reason = known.error().message;
      else if (!gpu.health.usable)
        capability.reason = "the GPU is not usable";
      else if (gpu.vgpu->offers.empty())
        capability.reason = "the driver names no type of virtual GPU for it";
      else
        capability.reason =
            "virtual GPUs for virtual machines, by NVIDIA's host driver; each needs a licence";
      if (capability.available)
        capability.guarantees = catalog.FindMechanism(Mechanism::kVgpu).floor;
    }
  }
  machine->fingerprint = MachineFingerprint(*machine);
}

void AddVgpusHere(const Catalog& catalog, Clock& clock, Machine* machine) {
  const std::unique_ptr<VgpuHost> host = OpenVgpuHost(VgpuRoot());
  AddVgpus(VgpuBook(Paths::FromEnvironment().state + "/vgpu", *host, clock), *host, catalog,
           machine);
}

}  // namespace tranche
