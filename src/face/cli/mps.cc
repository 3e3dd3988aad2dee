#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/json.h"
#include "base/suggest.h"
#include "edge/driver/mps/mps_control.h"
#include "engine/mps_daemons.h"
#include "face/cli/context.h"
#include "face/cli/gpu_name.h"
#include "face/cli/plan_source.h"
#include "face/cli/verb.h"

namespace tranche {
namespace {

// A server of a daemon. Of protocol 2 there is one at a time, without a name.
struct Server {
  MpsServer is;
  std::vector<int> clients;
  std::vector<MpsNamespace> namespaces;  // of protocol 3
};

// What a daemon says of itself; nothing where it does not answer.
struct Daemon {
  std::vector<Server> servers;
  std::optional<int> protocol;
  std::string trouble;
};

Daemon AskDaemon(const MpsControl* control, const MpsDaemon& daemon) {
  Daemon said;
  if (control == nullptr || daemon.pipe_directory.empty()) {
    said.trouble = daemon.pipe_directory.empty() ? "its pipe directory cannot be read"
                                                 : "nvidia-cuda-mps-control is not installed";
    return said;
  }
  const MpsDaemonFiles files{daemon.pipe_directory, ""};
  const auto kind = MpsControl::KindOf(daemon.pipe_directory);
  if (kind) said.protocol = static_cast<int>(kind->protocol);
  const auto servers = control->Servers(files);
  if (!servers) {
    said.trouble = servers.error().message;
    return said;
  }
  for (const MpsServer& one : *servers) {
    Server server{one, {}, {}};
    if (auto clients = control->Clients(files, one.pid)) server.clients = *std::move(clients);
    if (!one.name.empty()) {
      if (auto all = control->Namespaces(files, one.name)) server.namespaces = *std::move(all);
    }
    const auto faulted = control->IsFaulted(files, one.pid);
    if (faulted && *faulted) said.trouble = "a client's fault keeps it from taking others";
    said.servers.push_back(std::move(server));
  }
  return said;
}

Json JsonOf(const Server& server) {
  Json json = {{"pid", server.is.pid}, {"clients", server.clients}};
  if (server.is.name.empty()) return json;
  json["name"] = server.is.name;
  json["namespaces"] = Json::array();
  for (const MpsNamespace& one : server.namespaces) {
    Json space = {{"name", one.name}, {"pipe_directory", one.pipe_directory}};
    if (one.memory) space["memory_bytes"] = one.memory->value;
    if (one.thread_percentage) space["compute_fraction"] = *one.thread_percentage / 100;
    json["namespaces"].push_back(std::move(space));
  }
  return json;
}

class MpsVerb final : public Verb {
 public:
  Info info() const override {
    return {
        "mps",
        "MPS by hand: lists, starts and stops control daemons",
        {"tranche mps list", "tranche mps start 0", "tranche mps stop 0"},
        "Workloads with 'mechanism: mps' get a daemon of their own and need none of this. What "
        "is started by\n"
        "hand is nobody's: plans leave that GPU's MPS alone. Those that serve workloads are not "
        "stopped by hand."};
  }

  void Declare(Arguments& arguments) override {
    arguments.Positional("ACTION", action_, "list, start or stop", true)
        .Positional("GPU", gpu_, "its index or UUID")
        .Option("--pipe-directory", "DIR", directory_,
                "start: where programs find it, by CUDA_MPS_PIPE_DIRECTORY; stop: only that one");
  }

  Result<int> Run(Context& context) override {
    if (action_ == "list") return List(context);
    if (action_ == "start" || action_ == "stop") {
      if (gpu_.empty()) {
        return Fail(ErrorCode::kInvalid, "mps " + action_ + " needs a GPU",
                    "tranche mps " + action_ + " 0");
      }
      return action_ == "start" ? Start(context) : Stop(context);
    }
    const std::string meant = DidYouMean(action_, {"list", "start", "stop"});
    return Fail(ErrorCode::kInvalid, "mps cannot '" + action_ + "'",
                meant.empty() ? "use list, start or stop" : meant);
  }

 private:
  Result<Machine> Read(Context& context) {
    const auto catalog = context.catalog();
    if (!catalog) return tl::unexpected<Error>(catalog.error());
    return MachineAtHand(context, **catalog);
  }

  Result<int> List(Context& context) {
    const auto machine = Read(context);
    if (!machine) return tl::unexpected<Error>(machine.error());
    const Gpu* only = nullptr;
    if (!gpu_.empty()) {
      const auto found = FindGpuByName(*machine, gpu_);
      if (!found) return tl::unexpected<Error>(found.error());
      only = *found;
    }
    const auto control = FindMpsControl();
    Answer answer;
    Table table;
    table.columns = {{"gpu", "GPU", Align::kRight},
                     {"pid", "DAEMON", Align::kRight},
                     {"ours", "WHOSE"},
                     {"server_pid", "SERVER", Align::kRight},
                     {"clients", "CLIENTS", Align::kRight},
                     {"pipe_directory", "PIPE DIRECTORY"},
                     {"detail", "DETAIL", Align::kLeft, false, true}};
    answer.json = {{"format_version", "1.0"}, {"daemons", Json::array()}};
    for (const Gpu& gpu : machine->gpus) {
      if (only != nullptr && only->uuid != gpu.uuid) continue;
      for (const MpsDaemon& daemon : gpu.mps_daemons) {
        const Daemon said = AskDaemon(control ? &*control : nullptr, daemon);
        std::vector<int> servers, clients;
        for (const Server& server : said.servers) {
          servers.push_back(server.is.pid);
          clients.insert(clients.end(), server.clients.begin(), server.clients.end());
        }
        table.rows.push_back(
            {std::to_string(gpu.index), std::to_string(daemon.pid),
             daemon.ours ? "Tranche" : "not ours",
             servers.empty() ? Cell() : Cell(fmt::format("{}", fmt::join(servers, " "))),
             std::to_string(clients.size()), daemon.pipe_directory, said.trouble});
        Json json = {{"gpu_uuid", gpu.uuid},
                     {"gpu_index", gpu.index},
                     {"pid", daemon.pid},
                     {"ours", daemon.ours},
                     {"pipe_directory", daemon.pipe_directory},
                     {"clients", clients},
                     {"servers", Json::array()},
                     {"detail", said.trouble}};
        for (const Server& server : said.servers) json["servers"].push_back(JsonOf(server));
        if (said.protocol) json["protocol"] = *said.protocol;
        if (!servers.empty()) json["server_pid"] = servers.back();
        answer.json["daemons"].push_back(std::move(json));
      }
    }
    if (table.rows.empty()) {
      answer.blocks.emplace_back("No MPS daemon runs.\n");
      answer.csv = std::move(table);
    } else {
      answer.blocks.emplace_back(std::move(table));
    }
    context.Print(answer);
    return 0;
  }

  Result<int> Start(Context& context) {
    const auto machine = Read(context);
    if (!machine) return tl::unexpected<Error>(machine.error());
    const auto gpu = FindGpuByName(*machine, gpu_);
    if (!gpu) return tl::unexpected<Error>(gpu.error());
    if (const Status may = MayStart(context, **gpu); !may) return tl::unexpected(may.error());
    const auto control = FindMpsControl();
    if (!control) return tl::unexpected<Error>(control.error());
    const std::string directory =
        directory_.empty()
            ? fmt::format("{}/mps-by-hand/gpu{}", Paths::FromEnvironment().run, (*gpu)->index)
            : directory_;
    const auto started = control->Start({directory, directory + "/log"}, (*gpu)->uuid, {}, false);
    if (!started) return tl::unexpected<Error>(started.error());
    Answer answer;
    answer.json = {{"format_version", "1.0"},
                   {"gpu_uuid", (*gpu)->uuid},
                   {"pid", started->pid},
                   {"pipe_directory", directory}};
    answer.blocks.emplace_back(
        fmt::format("An MPS daemon (pid {}) serves gpu{}. Programs use it with\n"
                    "  export CUDA_MPS_PIPE_DIRECTORY={}\n",
                    started->pid, (*gpu)->index, directory));
    context.Print(answer);
    return 0;
  }

  // What a plan would look at before it put MPS there.
  Status MayStart(Context& context, const Gpu& gpu) {
    if (gpu.mig_mode && gpu.mig_mode->current) {
      return Fail(ErrorCode::kUnsupported,
                  fmt::format("gpu{} is divided by MIG, and a daemon serves one device", gpu.index),
                  "a workload with 'mechanism: mps' and a 'profile' gets one in a MIG instance");
    }
    if (gpu.compute_mode && *gpu.compute_mode == ComputeMode::kProhibited) {
      return Fail(ErrorCode::kUnsupported,
                  fmt::format("the compute mode of gpu{} prohibits CUDA", gpu.index),
                  fmt::format("nvidia-smi -i {} -c DEFAULT", gpu.index));
    }
    if (!gpu.mps_daemons.empty()) {
      const MpsDaemon& there = gpu.mps_daemons.front();
      return Fail(ErrorCode::kBusy,
                  fmt::format("an MPS daemon (pid {}{}) serves gpu{} already", there.pid,
                              there.ours ? ", Tranche's" : "", gpu.index),
                  "'tranche mps list' shows it");
    }
    const auto daemon = context.FindDaemon();
    if (!daemon) return {};
    const auto deployment = (*daemon)->GetDeployment();
    if (!deployment) return tl::unexpected<Error>(deployment.error());
    for (const DeployedReplica& replica : deployment->replicas) {
      if (replica.slice.gpu_uuid != gpu.uuid) continue;
      return Fail(ErrorCode::kBusy,
                  fmt::format("workload {}/{} is deployed on gpu{}", replica.workload,
                              replica.replica, gpu.index),
                  "give it 'mechanism: mps' in its spec, or use another GPU");
    }
    return {};
  }

  Result<int> Stop(Context& context) {
    const auto machine = Read(context);
    if (!machine) return tl::unexpected<Error>(machine.error());
    const auto gpu = FindGpuByName(*machine, gpu_);
    if (!gpu) return tl::unexpected<Error>(gpu.error());
    const auto control = FindMpsControl();
    if (!control) return tl::unexpected<Error>(control.error());
    std::vector<int> stopped;
    for (const MpsDaemon& daemon : (*gpu)->mps_daemons) {
      if (!directory_.empty() && daemon.pipe_directory != directory_) continue;
      if (daemon.ours) {
        return Fail(ErrorCode::kBusy,
                    fmt::format("the MPS daemon of gpu{} (pid {}) serves workloads of Tranche",
                                (*gpu)->index, daemon.pid),
                    "stop those: 'tranche status' names them");
      }
      if (daemon.pipe_directory.empty()) {
        return Fail(ErrorCode::kPermission,
                    fmt::format("where the MPS daemon (pid {}) listens cannot be read", daemon.pid),
                    "ask as its user, or as root");
      }
      if (const Status quit = control->Quit({daemon.pipe_directory, ""}); !quit) {
        return tl::unexpected<Error>(quit.error());
      }
      stopped.push_back(daemon.pid);
    }
    if (stopped.empty()) {
      return Fail(ErrorCode::kNotFound,
                  fmt::format("no such MPS daemon serves gpu{}", (*gpu)->index),
                  "'tranche mps list' shows those that run");
    }
    Answer answer;
    answer.json = {
        {"format_version", "1.0"}, {"gpu_uuid", (*gpu)->uuid}, {"stopped_pids", stopped}};
    answer.blocks.emplace_back(fmt::format("Stopped the MPS daemon (pid {}) of gpu{}.\n",
                                           fmt::join(stopped, ", "), (*gpu)->index));
    context.Print(answer);
    return 0;
  }

  std::string action_, gpu_, directory_;
};

}  // namespace

std::unique_ptr<Verb> MakeMpsVerb() { return std::make_unique<MpsVerb>(); }

}  // namespace tranche
