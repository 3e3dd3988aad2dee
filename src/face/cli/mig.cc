#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>

#include "base/json.h"
#include "base/suggest.h"
#include "decide/geometry/mig_geometry.h"
#include "decide/geometry/packing.h"
#include "face/cli/carry_out.h"
#include "face/cli/files.h"
#include "face/cli/gpu_name.h"
#include "face/cli/mig_files.h"
#include "face/cli/plan_source.h"
#include "face/cli/render/slot_bar.h"
#include "face/cli/verb.h"
#include "face/cli/views.h"
#include "stage/plan/by_hand.h"

namespace tranche {
namespace {

constexpr size_t kMaxConfig = size_t{4} << 20;

std::vector<std::string> SplitWords(const std::string& text) {
  std::vector<std::string> words;
  size_t start = 0;
  while (start <= text.size() && !text.empty()) {
    const size_t end = std::min(text.find(',', start), text.size());
    words.push_back(text.substr(start, end - start));
    start = end + 1;
  }
  return words;
}

// "3g.40gb@4": a profile, and where it begins.
Result<HandChange::Instance> ParseInstance(const std::string& word) {
  const size_t at = word.find('@');
  HandChange::Instance instance{word.substr(0, at), std::nullopt};
  if (at == std::string::npos) return instance;
  int start = 0;
  const char* const end = word.data() + word.size();
  const auto parsed = std::from_chars(word.data() + at + 1, end, start);
  if (parsed.ec != std::errc() || parsed.ptr != end || start < 0 || start > 31) {
    return Fail(ErrorCode::kInvalid, fmt::format("'{}' is no memory slot", word.substr(at + 1)),
                "write, for example, 3g.40gb@4");
  }
  instance.start = start;
  return instance;
}

class MigVerb final : public Verb {
 public:
  Info info() const override {
    return {
        "mig",
        "MIG by hand: lists, creates and destroys instances, and checks them against a file",
        {"tranche mig list", "tranche mig create 0 3g.40gb,1g.10gb@6",
         "tranche mig destroy 0 1g.10gb@6", "tranche mig destroy 0 all",
         "tranche mig assert -f config.yaml -c all-balanced", "tranche mig export > config.yaml"},
        "What is made by hand is nobody's: plans leave it alone without --adopt. What belongs "
        "to a workload\n"
        "or a tier is not destroyed by hand, and nothing that a process uses is.\n"
        "'assert' and 'export' read and write the files of mig-parted, and have its exit codes "
        "(0 and 1);\n"
        "MIG_PARTED_CONFIG_FILE and MIG_PARTED_SELECTED_CONFIG stand in for -f and -c."};
  }

  void Declare(Arguments& arguments) override {
    arguments.Positional("ACTION", action_, "list, create, destroy, assert or export", true)
        .Positional("GPU", gpu_, "its index or UUID")
        .Positional("INSTANCES", instances_,
                    "profiles, with the slot where each begins if that matters; or all")
        .Option("-f,--config-file", "FILE", file_, "assert: what should be; - is standard input")
        .Option("-c,--selected-config", "NAME", config_,
                "assert: which configuration of it; export: what to call it (current)")
        .Flag("-m,--mode-only", mode_only_, "assert: only the MIG modes")
        .Flag("--valid-config", valid_config_, "assert: only that the file is right")
        .Flag("-y,--yes", yes_, "create, destroy: do not ask")
        .Flag("--local", local_, "create, destroy: without the daemon, in this process");
  }

  Result<int> Run(Context& context) override {
    if (action_ == "list") return List(context);
    if (action_ == "create" || action_ == "destroy") return Change(context);
    if (action_ == "assert") return Assert(context);
    if (action_ == "export") return Export(context);
    const std::string meant =
        DidYouMean(action_, {"list", "create", "destroy", "assert", "export"});
    return Fail(ErrorCode::kInvalid, "mig cannot '" + action_ + "'",
                meant.empty() ? "use list, create, destroy, assert or export" : meant);
  }

  // As of mig-parted where its place is taken.
  int ExitCodeFor(const Error& error, const std::vector<std::string>& words) const override {
    if (action_ == "assert" || action_ == "export") return 1;
    return Verb::ExitCodeFor(error, words);
  }

 private:
  Result<int> List(Context& context) {
    const auto catalog = context.catalog();
    if (!catalog) return tl::unexpected<Error>(catalog.error());
    const auto machine = MachineAtHand(context, **catalog);
    if (!machine) return tl::unexpected<Error>(machine.error());
    std::optional<Deployment> deployment;
    if (auto daemon = context.FindDaemon()) {
      if (auto known = (*daemon)->GetDeployment()) deployment = *std::move(known);
    }
    const Gpu* only = nullptr;
    if (!gpu_.empty()) {
      const auto found = FindGpuByName(*machine, gpu_);
      if (!found) return tl::unexpected<Error>(found.error());
      only = *found;
    }
    context.Print(ViewInstances(*machine, deployment ? &*deployment : nullptr, only));
    return 0;
  }

  static std::string OwnerOf(const Deployment* deployment, const Gpu& gpu,
                             const MigInstance& instance) {
    if (deployment == nullptr) return "";
    for (const DeployedReplica& replica : deployment->replicas) {
      if (replica.slice.gpu_uuid == gpu.uuid && replica.slice.placement == instance.placement) {
        return fmt::format("{}/{}", replica.workload, replica.replica);
      }
    }
    return deployment->Owns(gpu.uuid, instance.placement) ? "Tranche" : "not ours";
  }

  static Answer ViewInstances(const Machine& machine, const Deployment* deployment,
                              const Gpu* only) {
    Answer answer;
    Table table;
    table.columns = {{"gpu", "GPU", Align::kRight},
                     {"instance", "INSTANCE"},
                     {"memory_bytes", "MEMORY", Align::kRight},
                     {"used_by", "USED BY"},
                     {"processes", "PROCESSES", Align::kRight},
                     {"device_uuid", "DEVICE"}};
    answer.json = {{"format_version", "1.0"}, {"gpus", Json::array()}};
    std::string room;
    for (const Gpu& gpu : machine.gpus) {
      if (only != nullptr && only->uuid != gpu.uuid) continue;
      Json one = {{"gpu_uuid", gpu.uuid}, {"gpu_index", gpu.index}, {"instances", Json::array()}};
      if (gpu.mig_mode) {
        one["mig_enabled"] = gpu.mig_mode->current;
      } else {
        one["unavailable"] = {{"mig_enabled", gpu.mig_mode.reason()}};
      }
      for (const MigInstance& instance : gpu.mig_instances) {
        const auto processes =
            std::count_if(gpu.processes.begin(), gpu.processes.end(),
                          [&](const GpuProcess& p) { return p.gpu_instance == instance.id; });
        const std::string uuid =
            instance.compute_instances.empty() ? "" : instance.compute_instances.front().uuid;
        const std::string owner = OwnerOf(deployment, gpu, instance);
        table.rows.push_back(
            {std::to_string(gpu.index),
             fmt::format("{}@{}", instance.profile, instance.placement.start),
             Cell(FormatBytes(instance.memory), std::to_string(instance.memory.value)), owner,
             std::to_string(processes), uuid});
        one["instances"].push_back({{"profile", instance.profile},
                                    {"placement_start", instance.placement.start},
                                    {"placement_size", instance.placement.size},
                                    {"memory_bytes", instance.memory.value},
                                    {"used_by", owner},
                                    {"processes", processes},
                                    {"device_uuid", uuid}});
      }
      one["fits"] = Json::object();
      room += RoomOn(gpu, &one["fits"]);
      answer.json["gpus"].push_back(std::move(one));
    }
    if (table.rows.empty()) {
      answer.blocks.emplace_back("There are no MIG instances.\n");
      answer.csv = std::move(table);
    } else {
      answer.blocks.emplace_back(std::move(table));
    }
    if (!room.empty()) answer.blocks.emplace_back("\n" + room);
    return answer;
  }

  // "gpu0 has room for 1 x 3g.40gb, or 3 x 1g.10gb".
  static std::string RoomOn(const Gpu& gpu, Json* fits) {
    if (!gpu.mig_mode) return "";
    const auto geometry = MigGeometry::Make(gpu.mig_profiles);
    if (!geometry) return "";
    const Occupancy taken = geometry->OccupancyOf(gpu.mig_instances);
    std::vector<std::string> all;
    for (int p = 0; p < static_cast<int>(geometry->profiles().size()); ++p) {
      const MigProfile& profile = geometry->profile(p);
      const int count = CountFitting(*geometry, taken, p);
      (*fits)[profile.name] = count;
      if (count > 0 && profile.variant == MigVariant::kPlain) {
        all.push_back(fmt::format("{} x {}", count, profile.name));
      }
    }
    return fmt::format(
        "gpu{} has room for {}{}\n", gpu.index,
        all.empty() ? "no other instance" : fmt::format("{}", fmt::join(all, ", or ")),
        gpu.mig_mode->current ? "" : "; MIG mode is off");
  }

  Result<HandChange> ReadChange(const Gpu& gpu) const {
    HandChange change;
    change.gpu_uuid = gpu.uuid;
    const bool create = action_ == "create";
    if (instances_ == "all" && !create) {
      change.destroy_all = true;
      return change;
    }
    for (const std::string& word : SplitWords(instances_)) {
      const auto instance = ParseInstance(word);
      if (!instance) return tl::unexpected<Error>(instance.error());
      if (create) {
        change.create.push_back(*instance);
        continue;
      }
      // Which one is meant must not be left to chance.
      std::vector<int> starts;
      for (const MigInstance& there : gpu.mig_instances) {
        if (there.profile != instance->profile) continue;
        if (!instance->start || there.placement.start == *instance->start) {
          starts.push_back(there.placement.start);
        }
      }
      if (starts.size() != 1) {
        std::vector<std::string> known;
        for (const MigInstance& there : gpu.mig_instances) {
          known.push_back(fmt::format("{}@{}", there.profile, there.placement.start));
        }
        return Fail(starts.empty() ? ErrorCode::kNotFound : ErrorCode::kInvalid,
                    fmt::format("gpu{} has {} {}", gpu.index,
                                starts.empty() ? "no" : std::to_string(starts.size()), word),
                    known.empty() ? "it has no instances"
                                  : fmt::format("it has {}", fmt::join(known, ", ")));
      }
      change.destroy.push_back(starts.front());
    }
    return change;
  }

  Result<int> Change(Context& context) {
    if (gpu_.empty() || instances_.empty()) {
      return Fail(
          ErrorCode::kInvalid, "mig " + action_ + " needs a GPU and instances",
          action_ == "create" ? "tranche mig create 0 3g.40gb" : "tranche mig destroy 0 3g.40gb@4");
    }
    const auto interrupts = context.world().catch_interrupts();
    if (!local_) {
      auto operations = context.DaemonOperations();
      if (!operations) return tl::unexpected<Error>(operations.error());
      return Carry(context, **operations, *interrupts);
    }
    const auto catalog = context.catalog();
    if (!catalog) return tl::unexpected<Error>(catalog.error());
    auto engine = context.world().open_engine();
    if (!engine) return tl::unexpected<Error>(engine.error());
    return Carry(context, *MakeLocalOperations(**engine, *catalog), *interrupts);
  }

  Result<int> Carry(Context& context, Operations& operations, Interrupts& interrupts) {
    const auto machine = operations.Inventory();
    if (!machine) return tl::unexpected<Error>(machine.error());
    const auto deployment = operations.GetDeployment();
    if (!deployment) return tl::unexpected<Error>(deployment.error());
    const auto spec = operations.GetSpec();
    if (!spec) return tl::unexpected<Error>(spec.error());
    const auto gpu = FindGpuByName(*machine, gpu_);
    if (!gpu) return tl::unexpected<Error>(gpu.error());
    const auto change = ReadChange(**gpu);
    if (!change) return tl::unexpected<Error>(change.error());
    const auto now = operations.MakePlan(*spec, {});
    if (!now) return tl::unexpected<Error>(now.error());
    const auto plan = MakeHandPlan(*machine, *deployment, *now, *change);
    if (!plan) return tl::unexpected<Error>(plan.error());
    const auto receipt =
        ShowAndCarryOut(context, operations, *plan, {context.world().caller, true, false}, yes_,
                        "Change the instances?", interrupts);
    if (!receipt) return tl::unexpected<Error>(receipt.error());
    context.Print(ViewReceipt(*receipt, nullptr, context.out_terminal()));
    return tranche::ExitCodeFor(context, *receipt);
  }

  Result<int> Assert(Context& context) {
    const Environment& environment = context.world().environment;
    const auto from = [&](const char* name) {
      return environment ? environment(name).value_or("") : std::string();
    };
    const std::string file = file_.empty() ? from("MIG_PARTED_CONFIG_FILE") : file_;
    const std::string config = config_.empty() ? from("MIG_PARTED_SELECTED_CONFIG") : config_;
    if (file.empty()) {
      return Fail(ErrorCode::kInvalid, "mig assert needs a configuration of mig-parted",
                  "tranche mig assert -f config.yaml");
    }
    const auto text = ReadWholeFile(file, kMaxConfig);
    if (!text) return tl::unexpected<Error>(text.error());
    const auto catalog = context.catalog();
    if (!catalog) return tl::unexpected<Error>(catalog.error());
    const auto machine = MachineAtHand(context, **catalog);
    if (!machine) return tl::unexpected<Error>(machine.error());
    const auto wants = ReadMigPartedWants(*text, config, *machine, **catalog);
    if (!wants) {
      std::string all;
      for (const ImportMistake& mistake : wants.error()) {
        all += fmt::format("{}{}:{}: {}{}{}", all.empty() ? "" : "\n", file, mistake.line,
                           mistake.message, mistake.hint.empty() ? "" : "\n    ", mistake.hint);
      }
      return Fail(ErrorCode::kInvalid, all);
    }
    const std::vector<std::string> differences =
        valid_config_ ? std::vector<std::string>() : MigDifferences(*machine, *wants, mode_only_);
    Answer answer;
    answer.json = {
        {"format_version", "1.0"}, {"applied", differences.empty()}, {"differences", differences}};
    if (differences.empty()) {
      answer.blocks.emplace_back(valid_config_ ? "Selected MIG configuration is valid\n"
                                               : "Selected MIG configuration currently applied\n");
      context.Print(answer);
      return 0;
    }
    for (const std::string& difference : differences) answer.blocks.emplace_back(difference + "\n");
    context.Print(answer);
    context.SayError({ErrorCode::kFailed,
                      "Assertion failure: selected configuration not currently applied", ""});
    return 1;
  }

  Result<int> Export(Context& context) {
    const auto catalog = context.catalog();
    if (!catalog) return tl::unexpected<Error>(catalog.error());
    const auto machine = MachineAtHand(context, **catalog);
    if (!machine) return tl::unexpected<Error>(machine.error());
    Answer answer;
    answer.json = MigPartedConfig(*machine, config_.empty() ? "current" : config_);
    answer.blocks.emplace_back(JsonToYaml(answer.json));
    context.Print(answer);
    return 0;
  }

  std::string action_, gpu_, instances_, file_, config_;
  bool mode_only_ = false;
  bool valid_config_ = false;
  bool yes_ = false;
  bool local_ = false;
};

}  // namespace

std::unique_ptr<Verb> MakeMigVerb() { return std::make_unique<MigVerb>(); }

}  // namespace tranche
