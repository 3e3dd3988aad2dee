#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <functional>
#include <optional>
#include <set>

#include "base/json.h"
#include "base/suggest.h"
#include "edge/broker/context_cost.h"
#include "edge/broker/foreground.h"
#include "edge/broker/handshake_watch.h"
#include "edge/broker/program_check.h"
#include "edge/broker/slice_store.h"
#include "edge/driver/kernel_limits.h"
#include "face/cli/context.h"
#include "face/cli/run_view.h"
#include "face/cli/share_options.h"
#include "face/cli/verb.h"

extern "C" char** environ;

namespace tranche {
namespace {

// Exit code for anything of ours, so that it is never taken for the program's.
constexpr int kOurs = 125;
constexpr int kCannotExecute = 126;
constexpr int kNotFound = 127;
// A process without a limiter is looked for so often, and stopped when it is seen twice.
constexpr Duration kHandshakeInterval = std::chrono::milliseconds(200);
// How soon the share of a dead process is given back at the latest.
constexpr Duration kReapInterval = std::chrono::milliseconds(50);

// By UUID, index or model. Without a wish: the first that can be divided.
Result<const Gpu*> ChooseGpu(const Machine& machine, const std::string& wish) {
  std::vector<std::string> names;
  for (const Gpu& gpu : machine.gpus) {
    names.push_back(gpu.uuid);
    if (!gpu.model.empty()) names.push_back(gpu.model);
    const bool meant = wish.empty() || wish == gpu.uuid || wish == gpu.model || wish == gpu.name ||
                       wish == std::to_string(gpu.index);
    if (!meant) continue;
    const bool divided = gpu.mig_mode && gpu.mig_mode->current;
    if (gpu.health.usable && !divided) return &gpu;
    if (wish.empty()) continue;
    if (wish != gpu.uuid && wish != std::to_string(gpu.index)) continue;
    if (divided) {
      return Fail(ErrorCode::kUnsupported, fmt::format("GPU {} is divided by MIG", gpu.index),
                  "use one of its instances through 'tranche apply', or another GPU");
    }
    return Fail(ErrorCode::kUnsupported, fmt::format("GPU {} cannot be used", gpu.index),
                "'tranche inventory' says why");
  }
  if (wish.empty())
    return Fail(ErrorCode::kDoesNotFit, "no GPU is usable and undivided",
                "'tranche inventory' says why");
  const std::string meant = DidYouMean(wish, names);
  return Fail(ErrorCode::kNotFound, "there is no GPU '" + wish + "' that is usable and undivided",
              meant.empty() ? "'tranche inventory' lists them" : meant);
}

void Put(std::vector<std::string>& environment, const std::string& name, const std::string& value) {
  environment.erase(
      std::remove_if(environment.begin(), environment.end(),
                     [&](const std::string& entry) { return entry.rfind(name + "=", 0) == 0; }),
      environment.end());
  environment.push_back(name + "=" + value);
}

// What an earlier `tranche run --local` could not take away, as processes were in it still.
void RemoveLeftGroups(KernelLimits& kernel) {
  for (const std::string& folder : kernel.Folders()) {
    const int pid = std::atoi(folder.substr(folder.rfind('-') + 1).c_str());
    if (!ReadProcessStat(pid)) (void)kernel.Remove({folder, "", ""});
  }
}

// What is known before the program starts.
struct Preflight {
  LimiterFiles limiter;
  std::string library_folders;  // LD_LIBRARY_PATH
  std::string libcuda;
  std::string file;  // of the program
};

class RunVerb final : public Verb {
 public:
  Info info() const override {
    return {
        "run",
        "Runs one program within a slice of a GPU",
        {"tranche run --memory 10GiB --compute 30% -- python serve.py",
         "tranche run --memory 10GiB --compute 10% --compute-limit 100% -- python train.py",
         "tranche run --mechanism exclusive --memory 40GiB -- python train.py",
         "tranche run --local --memory 1GiB --gpu 1 --explain -- ./program"},
        "The program and all its children together hold at most the memory given; what would be "
        "more is answered with 'out of memory', as on a smaller GPU. They have their share of the "
        "GPU's time whenever they want it, and up to the limit what others leave; what would be "
        "more waits. With --local, where no daemon sees to the others, the share is an upper bound "
        "only. The exit code is the program's own; 125 stands for anything of ours, 126 for a "
        "program that cannot be executed, 127 for one that is not there."};
  }

  void Declare(Arguments& arguments) override {
    shares_.Declare(arguments);
    arguments.Option("--gpu", "GPU", gpu_, "UUID, index or model (default: whichever has room)")
        .Option("--mechanism", "MECHANISM", mechanism_,
                "fraction, or exclusive: a GPU of its own (default: fraction)")
        .Option("--on-unenforced", "stop|warn", on_unenforced_,
                "what happens to a process that uses the GPU past its limit (default: stop)")
        .Flag("--local", local_, "without the daemon: limits only")
        .Flag("--explain", explain_, "say what would be enforced, and how hard; run nothing");
  }

  std::vector<std::string>* program() override { return &program_; }

  int ExitCodeFor(const Error& error, const std::vector<std::string>& words) const override {
    const auto end = std::find(words.begin(), words.end(), "--");
    if (std::find(words.begin(), end, "--explain") != end) return ExitCodeOf(error.code);
    return kOurs;
  }

  Result<int> Run(Context& context) override {
    if (const Status can = CheckMechanism(); !can) return tl::unexpected<Error>(can.error());
    const auto wish = whole() ? shares_.ReadWhole() : shares_.Read();
    if (!wish) return tl::unexpected<Error>(wish.error());
    const auto on_unenforced = ParseOnUnenforced(on_unenforced_);
    if (!on_unenforced) {
      return Fail(ErrorCode::kInvalid,
                  "--on-unenforced " + on_unenforced_ + ": " + on_unenforced.error().message,
                  on_unenforced.error().hint);
    }
    warn_only_ = *on_unenforced == OnUnenforced::kWarn;
    if (program_.empty())
      return Fail(ErrorCode::kInvalid, "there is no program to run",
                  "tranche run --memory 10GiB -- PROGRAM ARGUMENTS...");
    auto driver = context.world().open_driver();
    if (!driver) return tl::unexpected<Error>(driver.error());
    const auto machine = (*driver)->Read();
    if (!machine) return tl::unexpected<Error>(machine.error());
    const Machine& named = Named(*machine, context);
    const auto gpu = ChooseGpu(named, gpu_);
    if (!gpu) return tl::unexpected<Error>(gpu.error());
    if (wish->memory && (local_ || !gpu_.empty()) && *wish->memory > (*gpu)->memory_total) {
      return Fail(ErrorCode::kDoesNotFit,
                  fmt::format("{} is more than GPU {} has: {}", FormatBytes(*wish->memory),
                              (*gpu)->index, FormatBytes((*gpu)->memory_total)),
                  "ask for less, or name another --gpu");
    }
    const auto found = FindLibraries(context);
    if (!found) return tl::unexpected<Error>(found.error());
    const std::string path = context.world().environment("PATH").value_or("/usr/bin:/bin");
    const auto file = FindProgram(program_[0], path);
    if (!file) {
      if (explain_) return tl::unexpected<Error>(file.error());
      context.SayError(file.error());
      return file.error().code == ErrorCode::kNotFound ? kNotFound : kCannotExecute;
    }
    const bool must_load = !warn_only_ && !whole();
    if (Status checked = CheckProgram(*file, geteuid()); !checked && must_load) {
      checked.error().hint += "; or say --on-unenforced warn, and nothing holds it";
      return tl::unexpected<Error>(checked.error());
    }
    Preflight preflight = *found;
    preflight.file = *file;
    return local_ ? RunLocally(context, **driver, **gpu, preflight, *wish)
                  : RunWithLease(context, **driver, named, preflight, *wish);
  }

 private:
  using Wish = ShareOptions::Wish;

  bool whole() const { return mechanism_ == "exclusive"; }

  // Slices of the other mechanisms are made before a program starts, by a plan that shows what that
  // changes on the machine.
  Status CheckMechanism() const {
    const auto mechanism = ParseMechanism(mechanism_);
    if (!mechanism) {
      return Fail(ErrorCode::kInvalid, "--mechanism " + mechanism.error().message,
                  mechanism.error().hint);
    }
    if (*mechanism == Mechanism::kFraction) return {};
    if (*mechanism == Mechanism::kExclusive) {
      if (!local_) return {};
      return Fail(ErrorCode::kUnsupported, "without the daemon nobody keeps others from a GPU",
                  "start tranched, or leave out --mechanism and limit the program alone");
    }
    return Fail(
        ErrorCode::kUnsupported,
        fmt::format("run gives a program a 'fraction' of a GPU or all of it, and no slice by '{}'",
                    mechanism_),
        fmt::format("write a spec with `mechanism: {}` and 'tranche apply' it", mechanism_));
  }

  // With the catalog's keys, by which a user may name a model.
  Machine& Named(const Machine& machine, Context& context) {
    machine_ = machine;
    const auto catalog = context.catalog();
    for (Gpu& gpu : machine_.gpus) {
      if (!gpu.model.empty() || !catalog) continue;
      if (const auto model = (*catalog)->FindGpu(gpu.name)) gpu.model = (*model)->key;
    }
    return machine_;
  }

  static Result<Preflight> FindLibraries(Context& context) {
    const auto files = FindLimiterFiles();
    if (!files) return tl::unexpected<Error>(files.error());
    const std::string folders = context.world().environment("LD_LIBRARY_PATH").value_or("");
    const auto libcuda = FindLibcuda(folders);
    if (!libcuda) return tl::unexpected<Error>(libcuda.error());
    return Preflight{*files, folders, *libcuda, ""};
  }

  static Result<ContextCost> Measure(Driver& driver, const Preflight& found, const Gpu& gpu,
                                     const Wish& wish) {
    const auto cost = MeasureContext(driver, found.limiter, found.libcuda, gpu.uuid, gpu.uuid);
    if (!cost) return FailedWhile("measuring what a context costs", cost.error());
    if (!wish.memory || *wish.memory >= cost->bytes) return *cost;
    return Fail(ErrorCode::kDoesNotFit,
                fmt::format("{} do not even hold a CUDA context on GPU {}, which takes {}",
                            FormatBytes(*wish.memory), gpu.index, FormatBytes(cost->bytes)),
                "ask for more");
  }

  Result<int> RunLocally(Context& context, Driver& driver, const Gpu& gpu, const Preflight& found,
                         const Wish& wish) {
    const auto cost = Measure(driver, found, gpu, wish);
    if (!cost) return tl::unexpected<Error>(cost.error());
    const std::string run = Paths::FromEnvironment().run;
    // Of a name of its own, so that a daemon of the same directory leaves it alone.
    KernelLimits kernel(driver, OpenCgroupTree(), KernelGroupPrefix(run + "/local"));
    if (explain_) {
      const Status can = kernel.CanHold(gpu);
      context.Print(
          ViewFraction({found.file, gpu, wish, *cost, can ? "" : can.error().message, local_}));
      return 0;
    }
    std::optional<ComputeShares> compute;
    if (wish.compute) compute = ComputeShares{wish.compute->request, wish.compute->limit, {}, 0};
    FileTables tables;
    const auto store =
        SliceStore::Create(tables, run + "/slices", "run",
                           {{gpu.uuid, wish.memory.value_or(gpu.memory_total), cost->bytes, compute,
                             std::nullopt, gpu.sm_count.value_or(0)}});
    if (!store) return tl::unexpected<Error>(store.error());
    RemoveLeftGroups(kernel);
    std::optional<KernelGroup> group;
    if (wish.memory && kernel.CanHold(gpu)) {
      auto made = kernel.Make(fmt::format("run-{}", getpid()), gpu, *wish.memory);
      if (made) {
        group = std::move(*made);
      } else {
        context.Say("tranche: the limiter alone holds its memory, inside its processes: " +
                    made.error().message);
      }
    }
    HandshakeWatch handshakes;
    std::set<int> told;
    Duration looked{0};
    const auto tick = [&] {
      (*store)->Reap();
      const Duration now = context.world().clock->Monotonic();
      if (now - looked < kHandshakeInterval) return;
      looked = now;
      HoldToLimiter(context, driver, gpu, **store, now, &handshakes, &told);
    };
    const int code =
        Start(context, found, gpu.uuid, (*store)->path(), group ? group->folder : "", tick);
    // What it left running in the background stays within the limit; the next one takes it away.
    if (group) (void)kernel.Remove(*group);
    for (const std::string& trouble : (*store)->Troubles(0)) context.Say("tranche: " + trouble);
    return code;
  }

  // What was started here and uses the GPU past the limiter is stopped, or told of.
  void HoldToLimiter(Context& context, Driver& driver, const Gpu& gpu, const SliceStore& store,
                     Duration now, HandshakeWatch* handshakes, std::set<int>* told) const {
    const auto processes = driver.ReadProcesses(gpu.uuid);
    if (!processes) return;
    std::set<int> members;
    for (const SliceMember& member : store.Members()) members.insert(static_cast<int>(member.pid));
    for (const GpuProcess& process : handshakes->Look(gpu.uuid, *processes, members, now)) {
      const bool ours = DescendsFrom(process.pid, getpid()) ||
                        ReadProcessVariable(process.pid, "TRANCHE_SLICE_FILE") == store.path();
      if (!ours || !told->insert(process.pid).second) continue;
      if (!warn_only_) kill(process.pid, SIGKILL);
      context.Say(fmt::format("tranche: process {} ({}) uses GPU {} without the limiter; {}",
                              process.pid, process.command, gpu.index,
                              warn_only_ ? "nothing holds it to its limits" : "it was stopped"));
    }
  }

  Result<int> RunWithLease(Context& context, Driver& driver, const Machine& machine,
                           const Preflight& found, const Wish& wish) {
    auto client = context.FindDaemon();
    if (!client) {
      return Fail(client.error().code, client.error().message,
                  client.error().hint + "; or say --local, for limits without a daemon");
    }
    LeaseRequest request;
    request.program = std::filesystem::path(program_[0]).filename();
    request.gpu = gpu_;
    request.mechanism = whole() ? Mechanism::kExclusive : Mechanism::kFraction;
    request.memory = wish.memory;
    request.compute = wish.compute;
    request.on_unenforced = warn_only_ ? OnUnenforced::kWarn : OnUnenforced::kStop;
    // What a context costs depends on the GPU, and which GPU it is depends on the daemon.
    request.dry_run = true;
    auto lease = (*client)->GrantLease(request);
    if (!lease) return tl::unexpected<Error>(lease.error());
    const Gpu* gpu = machine.FindGpu(lease->gpu_uuid);
    if (gpu == nullptr) {
      return Fail(ErrorCode::kFailed, "the daemon's GPU " + lease->gpu_uuid + " is not to be seen",
                  "is the daemon of another machine, or in a container?");
    }
    const auto cost = Measure(driver, found, *gpu, wish);
    if (!cost) return tl::unexpected<Error>(cost.error());
    if (explain_) {
      context.Print(
          whole() ? ViewWhole(*gpu, *lease, found.file)
                  : ViewFraction({found.file, *gpu, wish, *cost, lease->why_not_harder, local_}));
      return 0;
    }
    request.dry_run = false;
    request.gpu = gpu->uuid;
    request.context_bytes = cost->bytes;
    lease = (*client)->GrantLease(request);
    if (!lease) return tl::unexpected<Error>(lease.error());
    // The daemon has put this process into the lease's cgroup, and so what it starts.
    const int code = Start(context, found, lease->gpu_uuid, lease->slice_file, "", [] {});
    TellWhatWasWrong(context, **client, lease->id);
    // The daemon notices by itself when this does not reach it.
    [[maybe_unused]] const Status ended = (*client)->EndLease(lease->id);
    return code;
  }

  static void TellWhatWasWrong(Context& context, Client& client, const std::string& id) {
    const auto status = client.GetStatus();
    if (!status) return;
    for (const Lease& lease : status->leases) {
      if (lease.id == id && !lease.detail.empty()) context.Say("tranche: " + lease.detail);
    }
  }

  // From here on the program runs; its exit code is ours.
  int Start(Context& context, const Preflight& found, const std::string& gpu_uuid,
            const std::string& slice_file, const std::string& cgroup,
            const std::function<void()>& tick) {
    std::vector<std::string> environment;
    for (char** entry = environ; *entry != nullptr; ++entry) environment.emplace_back(*entry);
    Put(environment, "LD_LIBRARY_PATH",
        found.limiter.folder + (found.library_folders.empty() ? "" : ":" + found.library_folders));
    Put(environment, "TRANCHE_REAL_LIBCUDA", found.libcuda);
    Put(environment, "TRANCHE_SLICE_FILE", slice_file);
    Put(environment, "CUDA_VISIBLE_DEVICES", gpu_uuid);
    const auto end =
        RunInForeground(found.file, program_, environment, cgroup, kReapInterval, tick);
    if (end) return end->signal ? 128 + *end->signal : end->exit_code.value_or(kOurs);
    context.SayError(end.error());
    return end.error().code == ErrorCode::kNotFound ? kNotFound : kCannotExecute;
  }

  ShareOptions shares_;
  std::string gpu_;
  std::string mechanism_ = "fraction";
  std::string on_unenforced_ = "stop";
  bool local_ = false;
  bool explain_ = false;
  bool warn_only_ = false;
  std::vector<std::string> program_;
  Machine machine_;
};

}  // namespace

std::unique_ptr<Verb> MakeRunVerb() { return std::make_unique<RunVerb>(); }

}  // namespace tranche
