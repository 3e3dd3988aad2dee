#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "base/json.h"
#include "decide/geometry/mig_geometry.h"
#include "engine/vgpu_book.h"
#include "engine/vgpu_inventory.h"
#include "face/cli/context.h"
#include "face/cli/plan_source.h"
#include "face/cli/verb.h"

namespace tranche {
namespace {

const char* InterfaceName(VgpuInterface interface) {
  return interface == VgpuInterface::kMdev ? "mdev" : "vendor-vfio";
}

Json ToJson(const VgpuType& type) {
  return {{"type_id", type.id},
          {"type", type.name},
          {"series", VgpuSeriesName(type.series)},
          {"framebuffer_bytes", type.framebuffer.value},
          {"mig_slices", type.mig_slices}};
}

Json ToJson(const KnownVgpu& vgpu) {
  const VgpuDevice& device = vgpu.device;
  Json json = {{"id", device.id},
               {"function", device.function},
               {"ours", vgpu.ours},
               {"owner", vgpu.owner},
               {"holders", device.holders}};
  // The kernel tells its number; the rest only while another could be made, or when it was written
  // down.
  if (device.type.name.empty()) {
    json["type_id"] = device.type.id;
    json["unavailable"]["type"] = "the kernel names a type only where it can be made";
  } else {
    json.update(ToJson(device.type));
  }
  if (device.gpu_instance) json["gpu_instance"] = *device.gpu_instance;
  if (device.placement) json["placement_id"] = *device.placement;
  if (!device.device.empty()) json["device"] = device.device;
  if (vgpu.since) json["created_at"] = FormatTime(*vgpu.since);
  return json;
}

// Types that can be made now, each once, largest first, and how many times alone.
std::vector<std::pair<VgpuType, int>> Creatable(const VgpuGpu& gpu) {
  std::vector<std::pair<VgpuType, int>> types;
  for (const VgpuFunction& function : gpu.functions) {
    for (size_t i = 0; i < function.creatable.size(); ++i) {
      const VgpuType& type = function.creatable[i];
      auto found = std::find_if(types.begin(), types.end(),
                                [&](const auto& entry) { return entry.first == type; });
      if (found == types.end()) found = types.insert(found, {type, 0});
      found->second += function.creatable_count[i];
    }
  }
  std::stable_sort(types.begin(), types.end(), [](const auto& a, const auto& b) {
    return a.first.framebuffer > b.first.framebuffer;
  });
  return types;
}

Cell BytesCell(const VgpuType& type) {
  return type.name.empty()
             ? Cell()
             : Cell(FormatBytes(type.framebuffer), std::to_string(type.framebuffer.value));
}

Table DeviceTable(const std::vector<KnownVgpus>& gpus) {
  Table table;
  table.columns = {{"gpu", "GPU"},
                   {"id", "VGPU"},
                   {"type", "TYPE"},
                   {"framebuffer_bytes", "MEMORY", Align::kRight},
                   {"gpu_instance", "GI", Align::kRight},
                   {"placement_id", "PLACE", Align::kRight},
                   {"in_use_by", "IN USE BY"},
                   {"owner", "OWNER"},
                   {"device", "DEVICE", Align::kLeft, true}};
  for (const KnownVgpus& known : gpus) {
    for (const KnownVgpu& vgpu : known.vgpus) {
      const VgpuDevice& device = vgpu.device;
      table.rows.push_back(
          {known.gpu.address, device.id,
           device.type.name.empty() ? fmt::format("type {}", device.type.id) : device.type.name,
           BytesCell(device.type),
           device.gpu_instance ? Cell(std::to_string(*device.gpu_instance)) : Cell(),
           device.placement ? Cell(std::to_string(*device.placement)) : Cell(),
           device.holders.empty() ? Cell() : Cell(fmt::format("pid {}", device.holders.front())),
           vgpu.ours ? (vgpu.owner.empty() ? "tranche" : vgpu.owner) : "not Tranche's",
           device.device});
    }
  }
  return table;
}

// What holds for all vGPUs of a GPU, as far as it can be read.
struct GpuTurns {
  Result<bool> mixed = Fail(ErrorCode::kUnavailable, "it has no virtual functions yet");
  Result<VgpuScheduler> scheduler =
      Fail(ErrorCode::kUnavailable, "it has no virtual functions yet");

  std::string Text() const {
    return fmt::format("  {}; {}\n",
                       !mixed   ? "whether sizes are mixed is not known: " + mixed.error().message
                       : *mixed ? "sizes are mixed"
                                : "one size at a time",
                       scheduler
                           ? WhatTurnsGive(*scheduler)
                           : "how turns are taken is not known: " + scheduler.error().message);
  }
  static std::string WhatTurnsGive(VgpuScheduler policy) {
    switch (policy) {
      case VgpuScheduler::kEqualShare:
        return "equal-share turns: each that runs has 1 / those that run of the time";
      case VgpuScheduler::kFixedShare:
        return "fixed-share turns: each has 1 / as many as its type could have of the time";
      default:
        return "best-effort turns: none has any of the time for sure";
    }
  }
};

template <typename T, typename Encode>
void PutReading(const char* key, const Result<T>& read, Encode encode, Json* json) {
  if (read)
    (*json)[key] = encode(*read);
  else
    (*json)["unavailable"][key] = read.error().message;
}

// What is known of the GPUs, and why nothing is of others.
struct Seen {
  std::vector<KnownVgpus> gpus;
  std::map<std::string, GpuTurns> turns;   // by address
  std::vector<std::string> not_divisible;  // why, each
  std::map<std::string, Error> unread;     // by address
};

Answer ViewGpus(const Seen& seen) {
  const std::vector<KnownVgpus>& gpus = seen.gpus;
  Answer answer;
  answer.json = {
      {"format_version", "1.0"}, {"gpus", Json::array()}, {"not_divisible", seen.not_divisible}};
  size_t devices = 0;
  std::string text;
  for (const KnownVgpus& known : gpus) {
    devices += known.vgpus.size();
    Json gpu = {{"pci_bus_id", known.gpu.address},
                {"interface", InterfaceName(known.gpu.interface)},
                {"functions", known.gpu.functions.size()},
                {"vgpus", Json::array()},
                {"creatable", Json::array()}};
    const GpuTurns& turns = seen.turns.at(known.gpu.address);
    PutReading(
        "mixed_sizes", turns.mixed, [](bool mixed) { return Json(mixed); }, &gpu);
    PutReading(
        "scheduler", turns.scheduler,
        [](VgpuScheduler scheduler) { return Json(VgpuSchedulerName(scheduler)); }, &gpu);
    for (const KnownVgpu& vgpu : known.vgpus) gpu["vgpus"].push_back(ToJson(vgpu));
    text += fmt::format("{}: {} virtual function{}; can be made now:", known.gpu.address,
                        known.gpu.functions.size(), known.gpu.functions.size() == 1 ? "" : "s");
    const auto creatable = Creatable(known.gpu);
    for (const auto& [type, count] : creatable) {
      Json item = ToJson(type);
      // Of mediated devices it is the driver's word; a virtual function takes one, and how many fit
      // beside each other shows only when they are made.
      if (known.gpu.interface == VgpuInterface::kMdev) item["count"] = count;
      gpu["creatable"].push_back(item);
      text += " " + type.name + (&type == &creatable.back().first ? "" : ",");
    }
    if (known.gpu.functions.empty())
      text += fmt::format(" nothing yet; `tranche vgpu enable {}` makes them", known.gpu.address);
    else if (creatable.empty())
      text += " nothing; " + WhyNothingCanBeMade(known.gpu);
    text += "\n";
    if (!known.gpu.functions.empty()) text += turns.Text();
    answer.json["gpus"].push_back(gpu);
  }
  for (const std::string& why : seen.not_divisible) text += why + "\n";
  for (const auto& [address, error] : seen.unread) {
    answer.json["unavailable"][address] = error.message;
    text += fmt::format("{} could not be read: {}\n", address, error.message);
  }
  if (devices > 0) {
    answer.blocks.emplace_back(DeviceTable(gpus));
    text = "\n" + text;
  }
  answer.csv = DeviceTable(gpus);
  answer.blocks.emplace_back(text);
  return answer;
}

class VgpuVerb final : public Verb {
 public:
  Info info() const override {
    return {
        "vgpu",
        "Lists, makes and takes away virtual GPUs for virtual machines, by hand",
        {"tranche vgpu list", "tranche vgpu create 0 --memory 8GiB --owner db-vm",
         "tranche vgpu xml 0000:41:00.4", "tranche vgpu destroy 0000:41:00.4 --yes"},
        "DO is one of\n"
        "  list [GPU]    what there is, and what could be made now\n"
        "  enable GPU    makes the GPU's virtual functions; that destroys MIG instances on it\n"
        "  create GPU    a vGPU: --type NAME, or --memory SIZE for the smallest that has it\n"
        "  destroy ID    takes one away that no machine has open\n"
        "  xml ID        what libvirt wants for it: the device is Tranche's, the machine yours\n"
        "GPU is a PCI address or a number. Computing asks for series C, the usual one; Q, A and "
        "B are for desktops.\n"
        "Types that MIG backs (\"A100-3-40C\") want a MIG instance of their size first."};
  }

  void Declare(Arguments& arguments) override {
    arguments.Positional("DO", what_, "list, enable, create, destroy or xml", true)
        .Positional("WHICH", which_, "the GPU, or the vGPU")
        .Option("--type", "NAME", type_, "of the vGPU to make: A40-8C")
        .Option("--memory", "SIZE", memory_, "that it has at least")
        .Option("--series", "LETTER", series_, "C, Q, A or B")
        .Option("--owner", "TEXT", owner_, "for whom, to be shown")
        .Flag("--adopt", adopt_, "also what Tranche did not make")
        .Flag("-y,--yes", yes_, "do not ask")
        .Option("--root", "DIR", root_, "where /sys and /proc are");
  }

  Result<int> Run(Context& context) override {
    const std::unique_ptr<VgpuHost> opened = OpenVgpuHost(root_);
    VgpuHost& host = *opened;
    VgpuBook book(Paths::FromEnvironment().state + "/vgpu", host, *context.world().clock);
    if (what_ == "list") return List(context, host, book);
    if (what_ == "enable") return Enable(context, host, book);
    if (what_ == "create") return Create(context, book);
    if (what_ == "destroy") return Destroy(context, book);
    if (what_ == "xml") return Xml(context, book);
    return Fail(ErrorCode::kInvalid, fmt::format("vgpu cannot '{}'", what_),
                "list, enable, create, destroy or xml");
  }

 private:
  Status NeedsWhich(const char* what) const {
    if (!which_.empty()) return {};
    return Fail(ErrorCode::kInvalid, fmt::format("vgpu {} needs {}", what_, what),
                "`tranche vgpu list` shows them");
  }
  Status Agreed(Context& context, const std::string& question) const {
    if (yes_) return {};
    if (!context.interactive()) {
      return Fail(ErrorCode::kInvalid, "nobody is here to be asked, so nothing is changed",
                  "add --yes");
    }
    const auto interrupts = context.world().catch_interrupts();
    if (context.Confirm(question, *interrupts)) return {};
    return Fail(interrupts->Arrived() ? ErrorCode::kInterrupted : ErrorCode::kFailed,
                "nothing was changed");
  }

  Result<int> List(Context& context, VgpuHost& host, VgpuBook& book) {
    std::vector<std::string> addresses = host.Gpus();
    if (!which_.empty()) {
      const auto gpu = book.FindGpu(which_);
      if (!gpu) return tl::unexpected(gpu.error());
      addresses = {*gpu};
    }
    Seen seen;
    for (const std::string& address : addresses) {
      auto known = book.Read(address);
      if (known)
        seen.gpus.push_back(*std::move(known));
      else if (!which_.empty())
        return tl::unexpected(known.error());
      else if (known.error().code == ErrorCode::kUnsupported)
        seen.not_divisible.push_back(known.error().message);
      else
        seen.unread.emplace(address, known.error());
    }
    if (addresses.empty()) seen.not_divisible.push_back("there is no NVIDIA GPU on this machine");
    for (const KnownVgpus& known : seen.gpus) {
      GpuTurns& of_gpu = seen.turns[known.gpu.address];
      if (known.gpu.functions.empty()) continue;
      of_gpu = {host.Mixed(known.gpu.address), host.Scheduler(known.gpu.address)};
    }
    context.Print(ViewGpus(seen));
    // What could be read is shown, and that it is not all is no success.
    return seen.unread.empty() ? 0 : 1;
  }

  // The driver is bound anew for virtual functions: whatever is on the GPU goes with that.
  Status NothingIsLost(Context& context, const std::string& address) const {
    const auto catalog = context.catalog();
    if (!catalog) return tl::unexpected<Error>(catalog.error());
    const auto machine = MachineAtHand(context, **catalog);
    if (!machine) {
      if (adopt_) return {};
      return Fail(machine.error().code,
                  fmt::format("whether anything is on {} cannot be seen: {}", address,
                              machine.error().message),
                  "with --adopt whatever is there is taken away");
    }
    for (const Gpu& gpu : machine->gpus) {
      if (KernelPciAddress(gpu.pci_bus_id) != address) continue;
      if (!gpu.processes.empty()) {
        const GpuProcess& process = gpu.processes.front();
        return Fail(ErrorCode::kBusy,
                    fmt::format("{} is in use by pid {} ({}, user {})", address, process.pid,
                                process.command, process.user),
                    "end it first: the driver is bound anew");
      }
      if (gpu.mig_instances.empty() || adopt_) continue;
      std::string names;
      for (const MigInstance& instance : gpu.mig_instances)
        names +=
            (names.empty() ? "" : ", ") + DescribePlacement(instance.profile, instance.placement);
      return Fail(ErrorCode::kBusy,
                  fmt::format("there are MIG instances on {}, which would be destroyed: {}",
                              address, names),
                  "take them away with `tranche mig destroy`, or add --adopt");
    }
    return {};
  }

  Result<int> Enable(Context& context, VgpuHost& host, VgpuBook& book) {
    if (Status needs = NeedsWhich("a GPU"); !needs) return tl::unexpected(needs.error());
    const auto gpu = book.FindGpu(which_);
    if (!gpu) return tl::unexpected(gpu.error());
    const auto before = book.Read(*gpu);
    if (!before) return tl::unexpected(before.error());
    if (before->gpu.functions.empty()) {
      if (Status nothing = NothingIsLost(context, *gpu); !nothing)
        return tl::unexpected(nothing.error());
      if (Status agreed = Agreed(context, "This destroys every MIG instance on the GPU. Go on?");
          !agreed)
        return tl::unexpected(agreed.error());
      context.Say("Making the virtual functions of " + *gpu + "; this may take a minute.");
      if (Status made = host.EnableFunctions(*gpu); !made) return tl::unexpected(made.error());
    }
    which_ = *gpu;
    return List(context, host, book);
  }

  Result<int> Create(Context& context, VgpuBook& book) {
    if (Status needs = NeedsWhich("a GPU"); !needs) return tl::unexpected(needs.error());
    VgpuBook::Wish wish;
    wish.type = type_;
    if (type_.empty() == memory_.empty()) {
      return Fail(ErrorCode::kInvalid, "vgpu create needs --type or --memory, and one of them only",
                  "tranche vgpu create 0 --memory 8GiB");
    }
    if (!memory_.empty()) {
      const auto memory = ParseBytes(memory_);
      if (!memory) return FailedWhile("--memory", memory.error());
      wish.memory = *memory;
    }
    if (!series_.empty()) {
      const auto series = ParseVgpuSeries(series_);
      if (!series || !type_.empty()) {
        return Fail(ErrorCode::kInvalid,
                    series ? "--series goes with --memory: a type says its own"
                           : fmt::format("there is no series '{}' of vGPUs", series_),
                    "C for computing, Q, A or B");
      }
      wish.series = *series;
    }
    const auto gpu = book.FindGpu(which_);
    if (!gpu) return tl::unexpected(gpu.error());
    const auto made = book.Create(*gpu, wish, owner_);
    if (!made) return tl::unexpected(made.error());
    Answer answer;
    answer.json = {{"format_version", "1.0"}, {"vgpu", ToJson(*made)}};
    answer.blocks.emplace_back(
        fmt::format("{} is {} on {}. `tranche vgpu xml {}` says what libvirt wants for it.\n",
                    made->device.id, made->device.type.name, *gpu, made->device.id));
    context.Print(answer);
    return 0;
  }

  Result<int> Destroy(Context& context, VgpuBook& book) {
    if (Status needs = NeedsWhich("a vGPU"); !needs) return tl::unexpected(needs.error());
    if (const auto found = book.Find(which_); !found) return tl::unexpected(found.error());
    if (Status agreed = Agreed(context, fmt::format("Take the vGPU {} away?", which_)); !agreed)
      return tl::unexpected(agreed.error());
    if (Status gone = book.Destroy(which_, adopt_); !gone) return tl::unexpected(gone.error());
    Answer answer;
    answer.json = {{"format_version", "1.0"}, {"destroyed", which_}};
    answer.blocks.emplace_back(fmt::format("{} is gone.\n", which_));
    context.Print(answer);
    return 0;
  }

  Result<int> Xml(Context& context, VgpuBook& book) {
    if (Status needs = NeedsWhich("a vGPU"); !needs) return tl::unexpected(needs.error());
    const auto found = FindVgpu(book);
    if (!found) return tl::unexpected(found.error());
    const std::string xml = LibvirtDevice(found->first.device, found->second);
    Answer answer;
    answer.json = {{"format_version", "1.0"}, {"id", found->first.device.id}, {"xml", xml}};
    answer.blocks.emplace_back(xml);
    context.Print(answer);
    return 0;
  }

  // By its own name, or as the replica that it is of: "db/0".
  Result<std::pair<KnownVgpu, VgpuInterface>> FindVgpu(const VgpuBook& book) const {
    const size_t slash = which_.find('/');
    const std::string number = slash == std::string::npos ? "" : which_.substr(slash + 1);
    if (number.empty() || number.size() > 6 ||
        number.find_first_not_of("0123456789") != std::string::npos)
      return book.Find(which_);
    const auto known = book.FindFor(which_.substr(0, slash), std::stoi(number));
    if (known) return book.Find(known->device.id);
    return Fail(ErrorCode::kNotFound, fmt::format("{} has no vGPU", which_),
                "`tranche status` shows what is deployed");
  }

  std::string what_, which_, type_, memory_, series_, owner_;
  std::string root_ = VgpuRoot();
  bool adopt_ = false, yes_ = false;
};

}  // namespace

std::unique_ptr<Verb> MakeVgpuVerb() { return std::make_unique<VgpuVerb>(); }

}  // namespace tranche
