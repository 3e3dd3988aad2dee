#include "stage/request/checks.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "model/spec_rules.h"
#include "stage/request/tiers.h"

namespace tranche {
namespace {

constexpr int kMaxReplicasInAll = 100000;

// One workload with its place in the file.
class WorkloadCheck {
 public:
  WorkloadCheck(ReadContext& context, const YamlNode& node, const Workload& workload)
      : context_(context), node_(node), workload_(workload) {}

  void Run() {
    CheckMemory();
    CheckModel();
    CheckTrafficAndSlo();
    CheckGpus();
    CheckMechanism();
    CheckProfile();
    CheckVgpu();
    CheckEngine();
    CheckRouteAndPort();
  }

 private:
  // The value of a key that was given and could be read, or nullptr.
  const YamlNode* Given(const char* key) const { return GivenIn(node_, key); }
  const YamlNode* GivenIn(const YamlNode& map, const char* key) const {
    const YamlNode* value = map.IsMap() ? map.Find(key) : nullptr;
    return value != nullptr && !context_.mistakes.IsBroken(*value) ? value : nullptr;
  }
  bool IsBroken(const char* key) const {
    const YamlNode* value = node_.Find(key);
    return value != nullptr && context_.mistakes.IsBroken(*value);
  }
  void Add(const YamlNode& at, const std::string& message, const std::string& hint) {
    context_.mistakes.Add(at, message, hint);
  }
  // How the workload is called in a message about it as a whole.
  std::string Called() const {
    return workload_.name.empty() ? "the workload" : Quoted(workload_.name);
  }

  void CheckMemory() {
    if (node_.Find("memory") != nullptr || IsBroken("kind") || IsBroken("model")) return;
    if (IsBroken("profile") || IsBroken("mechanism") || HasSliceOfItsOwn()) return;
    const bool by_hand =
        workload_.kind == WorkloadKind::kTraining || workload_.kind == WorkloadKind::kNotebook;
    if (by_hand) {
      Add(node_, fmt::format("{} does not say how much memory it needs", Called()),
          fmt::format("add memory: 10GiB; what a {} needs cannot be worked out from its model",
                      WorkloadKindName(workload_.kind)));
    } else if (!workload_.model) {
      Add(node_, fmt::format("{} does not say how much memory it needs", Called()),
          "add memory: 10GiB, or a model from which it is worked out");
    }
  }

  // What a whole slice of its own has need not be said twice.
  bool HasSliceOfItsOwn() const {
    const Mechanism mechanism = workload_.mechanism.value_or(Mechanism::kMig);
    return Given("profile") != nullptr &&
           (mechanism == Mechanism::kMig || mechanism == Mechanism::kVgpu);
  }

  void CheckModel() {
    if (!workload_.model || IsBroken("model")) return;
    const ModelAsk& model = *workload_.model;
    const YamlNode& at = *node_.Find("model");
    const YamlNode* name = at.IsMap() ? at.Find("name") : &at;
    if (name == nullptr && !model.parameters) {
      Add(at, "model has neither a name nor parameters",
          "add name: llama-3.1-8b, or parameters: 7B for one that the catalog does not know");
      return;
    }
    if (name == nullptr) return;
    if (model.parameters) {
      Add(*at.Find("parameters"), "model has a name and parameters",
          "keep the name for a model of the catalog, parameters for one that it does not know");
      return;
    }
    const Result<const CatalogModel*> known = context_.catalog.FindModel(model.name);
    if (!known) {
      std::string hint = known.error().hint;
      hint += hint.empty() ? "a" : hint.back() == '?' ? " A" : "; a";
      Add(*name, known.error().message,
          hint + " model that the catalog does not know is described by parameters: 7B");
      return;
    }
    const int longest = (*known)->max_position;
    const YamlNode* context = GivenIn(at, "context");
    if (longest > 0 && model.context > longest && context != nullptr) {
      Add(*context, fmt::format("{} reads at most {} tokens", (*known)->name, longest),
          fmt::format("use context: {} or less", longest));
    }
  }

  void CheckTrafficAndSlo() {
    const bool serves = workload_.kind == WorkloadKind::kInference || IsBroken("kind");
    for (const char* key : {"traffic", "slo"}) {
      if (const YamlNode* at = Given(key); at != nullptr && !serves) {
        Add(*at,
            fmt::format("{} is for inference, and {} is a {}", key, Called(),
                        WorkloadKindName(workload_.kind)),
            fmt::format("remove {}, or set kind: inference", key));
      }
    }
    if (const YamlNode* at = Given("traffic");
        at != nullptr && workload_.model && !IsBroken("model")) {
      const int64_t tokens =
          int64_t{workload_.traffic->prompt_tokens} + workload_.traffic->output_tokens;
      if (tokens > workload_.model->context) {
        Add(*at,
            fmt::format("a prompt and its answer have {} tokens, the context of the model {}",
                        tokens, workload_.model->context),
            fmt::format("raise model.context to {} or more", tokens));
      }
    }
    const YamlNode* at = Given("slo");
    if (at == nullptr) return;
    const Slo& slo = *workload_.slo;
    if (slo == Slo{}) Add(*at, "slo promises nothing", "for example slo: {ttft_p99: 500ms}");
    if (slo.ttft_p50 && slo.ttft_p99 && *slo.ttft_p50 > *slo.ttft_p99) {
      Add(*at->Find("ttft_p99"), "ttft_p99 is shorter than ttft_p50",
          "99 in 100 requests cannot be faster than half of them; swap the two");
    }
    const std::optional<Duration> first = slo.ttft_p99 ? slo.ttft_p99 : slo.ttft_p50;
    if (first && slo.latency_p99 && *first > *slo.latency_p99) {
      Add(*at->Find("latency_p99"),
          fmt::format("latency_p99 is shorter than {}", slo.ttft_p99 ? "ttft_p99" : "ttft_p50"),
          "the first token is part of the answer; a whole answer takes longer");
    }
  }

  void CheckGpus() {
    if (workload_.gpus <= 1) return;
    const YamlNode* compute = Given("compute");
    if (compute != nullptr && workload_.compute->request.value < 1) {
      Add(*compute,
          fmt::format("{} is spread over {} GPUs, which it holds whole", Called(), workload_.gpus),
          "remove compute, or use gpus: 1; turns on several GPUs can deadlock collectives, and MIG "
          "slices of several GPUs have no peer access to each "
          "other");
    }
    const YamlNode* mechanism = Given("mechanism");
    if (mechanism == nullptr || workload_.mechanism == Mechanism::kExclusive) return;
    if (workload_.mechanism == Mechanism::kMig) {
      Add(*mechanism,
          fmt::format("{} needs {} GPUs that reach each other, and there is no peer access across "
                      "MIG slices",
                      Called(), workload_.gpus),
          "use mechanism: exclusive, or gpus: 1 with a slice that is large enough");
    } else {
      Add(*mechanism,
          fmt::format("{} is spread over {} GPUs, which it holds whole", Called(), workload_.gpus),
          "use mechanism: exclusive, or remove the key");
    }
  }

  void CheckMechanism() {
    const YamlNode* at = Given("mechanism");
    if (at == nullptr || IsBroken("isolation")) return;
    const Mechanism mechanism = *workload_.mechanism;
    const std::string name = MechanismName(mechanism);
    // Any mechanism that satisfies it is a remedy; leaving the choice to the plan is the better
    // one.
    const std::string remedy = "remove mechanism to let the plan choose, or ask for less isolation";
    for (const CatalogMechanism& known : context_.catalog.mechanisms()) {
      Guarantees can = known.guarantees;
      if (workload_.memory_cap) can.memory = std::max(can.memory, Guarantee::kCooperative);
      if (known.mechanism != mechanism || can.Satisfies(workload_.isolation.axes)) continue;
      const Guarantees& asked = workload_.isolation.axes;
      std::vector<std::string> missing;
      const auto compare = [&](const char* axis, Guarantee is, Guarantee wanted) {
        if (is < wanted) {
          missing.push_back(fmt::format("{} is {} at best, not {}", axis, GuaranteeName(is),
                                        GuaranteeName(wanted)));
        }
      };
      compare("memory", can.memory, asked.memory);
      compare("compute", can.compute, asked.compute);
      compare("fault", can.fault, asked.fault);
      compare("access", can.access, asked.access);
      Add(*at,
          fmt::format("{} cannot give the isolation that {} asks for: {}", name, Called(),
                      fmt::join(missing, "; ")),
          remedy);
    }
    if (workload_.isolation.low_jitter && mechanism != Mechanism::kExclusive &&
        mechanism != Mechanism::kMig && mechanism != Mechanism::kVgpu) {
      Add(*at,
          fmt::format("under {} other tenants stretch kernels, and {} asks for jitter: low", name,
                      Called()),
          "use mig or exclusive, or remove mechanism to let the plan choose");
    }
    if (mechanism == Mechanism::kMig && Given("gpu") != nullptr) {
      const Result<const CatalogGpu*> gpu = context_.catalog.FindGpu(workload_.gpu);
      if (gpu && !(*gpu)->mig_capable) {
        Add(*at, fmt::format("{} has no MIG", workload_.gpu),
            "remove mechanism or gpu to let the plan choose");
      }
    }
  }

  void CheckProfile() {
    const YamlNode* at = Given("profile");
    if (at == nullptr || IsBroken("mechanism")) return;
    if (workload_.mechanism == Mechanism::kVgpu) {
      if (IsVgpuType(workload_.profile)) return;
      Add(*at,
          fmt::format("{} is a MIG profile, and {} is to have a vGPU", workload_.profile, Called()),
          "name a type, such as A40-8C or A100D-1-10C, or memory: 8GiB for the smallest that "
          "leaves "
          "so much");
      return;
    }
    if (IsVgpuType(workload_.profile)) {
      Add(*at, fmt::format("{} is a type of vGPU", workload_.profile),
          "add mechanism: vgpu, or name a MIG profile such as 1g.10gb");
      return;
    }
    if (Given("mechanism") != nullptr && workload_.mechanism != Mechanism::kMig &&
        workload_.mechanism != Mechanism::kMps) {
      Add(*at,
          fmt::format("{} is a MIG profile, and {} is to run by {}", workload_.profile, Called(),
                      MechanismName(*workload_.mechanism)),
          "remove one of the two; mechanism: mps with a profile shares an instance of it");
    }
    if (workload_.gpus > 1) {
      Add(*at, fmt::format("{} needs {} whole GPUs, not a slice", Called(), workload_.gpus),
          "remove profile, or use gpus: 1");
    }
    if (Given("gpu") == nullptr) return;
    const Result<const CatalogGpu*> gpu = context_.catalog.FindGpu(workload_.gpu);
    if (gpu && !(*gpu)->mig_capable && workload_.mechanism != Mechanism::kMig) {
      Add(*at, fmt::format("{} has no MIG", workload_.gpu), "remove profile or gpu");
    }
  }

  // The machine is its user's: nothing is started in it, and nothing of it is reached.
  void CheckVgpu() {
    if (IsBroken("mechanism")) return;
    const YamlNode* vgpu = Given("vgpu");
    if (workload_.mechanism != Mechanism::kVgpu) {
      if (vgpu != nullptr) {
        Add(*vgpu,
            fmt::format("vgpu says what a virtual GPU is like, and {} is to have none", Called()),
            "add mechanism: vgpu, or remove vgpu");
      }
      return;
    }
    for (const char* key : {"command", "args", "image", "env", "env_from", "working_directory",
                            "port", "route", "traffic", "slo", "lease"}) {
      const YamlNode* at = Given(key);
      if (at == nullptr) continue;
      Add(*at,
          fmt::format("{} is a virtual machine, which is yours: Tranche makes its vGPU, and "
                      "starts nothing in it",
                      Called()),
          fmt::format("remove {}", key));
    }
    const YamlNode* series = vgpu != nullptr ? GivenIn(*vgpu, "series") : nullptr;
    if (series == nullptr || Given("profile") == nullptr || !IsVgpuType(workload_.profile)) return;
    const std::string letter = VgpuSeriesName(workload_.vgpu->series);
    const std::string last = workload_.profile.substr(workload_.profile.rfind('-') + 1);
    if (last.find(letter) != std::string::npos) return;
    Add(*series, fmt::format("{} is not of series {}", workload_.profile, letter),
        "remove series: a type says its own");
  }

  void CheckEngine() {
    if (IsBroken("engine") || IsBroken("model") || IsBroken("command")) return;
    const YamlNode* command = Given("command");
    const YamlNode* args = Given("args");
    const char* engine = ServingEngineName(workload_.engine);
    if (workload_.engine == ServingEngine::kCommand) {
      if (command != nullptr && args != nullptr && !workload_.args.empty()) {
        Add(*args, "args are added to what an engine is started with, and there is a command here",
            "move them to the end of command");
      }
      return;
    }
    if (command != nullptr) {
      Add(*command, fmt::format("engine {} brings its own command", engine),
          "put options into args, or use engine: command");
    }
    if (workload_.engine == ServingEngine::kTriton || workload_.model || Given("engine") == nullptr)
      return;
    Add(*Given("engine"),
        fmt::format("engine {} serves a model, and {} names none", engine, Called()),
        "add, for example, model: llama-3.1-8b");
  }

  bool MentionsPort() const {
    const auto mentions = [](const std::string& text) {
      return text.find("${PORT}") != std::string::npos;
    };
    return std::any_of(workload_.command.begin(), workload_.command.end(), mentions) ||
           std::any_of(workload_.args.begin(), workload_.args.end(), mentions) ||
           std::any_of(workload_.env.begin(), workload_.env.end(),
                       [&](const auto& entry) { return mentions(entry.second); });
  }

  void CheckRouteAndPort() {
    if (const YamlNode* route = Given("route"); route != nullptr && !IsBroken("engine") &&
                                                workload_.engine == ServingEngine::kCommand &&
                                                node_.Find("port") == nullptr && !MentionsPort()) {
      Add(*route,
          fmt::format("{} has a route, but nothing says on which port it listens", Called()),
          "add port: 8100, or pass \"${PORT}\" to the command and a free port is chosen");
    }
    if (const YamlNode* port = Given("port");
        port != nullptr && *workload_.port + workload_.replicas - 1 > 65535) {
      Add(*port,
          fmt::format("{} replicas from port {} on end at {}, past 65535", workload_.replicas,
                      *workload_.port, *workload_.port + workload_.replicas - 1),
          fmt::format("use port: {} or lower", 65536 - workload_.replicas));
    }
  }

  ReadContext& context_;
  const YamlNode& node_;
  const Workload& workload_;
};

// The rules between workloads.
class SpecCheck {
 public:
  SpecCheck(ReadContext& context, const YamlNode& root, const Spec& spec)
      : context_(context), root_(root), spec_(spec) {}

  void Run() {
    CheckTeams();
    CheckNames();
    CheckReplicas();
    CheckPorts();
    CheckRoutes();
    CheckQuotas();
    CheckProfiles();
  }

 private:
  const YamlNode& WorkloadNode(size_t i) const { return root_.Find("workloads")->items[i]; }
  // The value of a key of workload `i`, if it was given and could be read.
  const YamlNode* Given(size_t i, const char* key) const {
    const YamlNode& node = WorkloadNode(i);
    const YamlNode* value = node.IsMap() ? node.Find(key) : nullptr;
    return value != nullptr && !context_.mistakes.IsBroken(*value) ? value : nullptr;
  }
  void Add(const YamlNode& at, const std::string& message, const std::string& hint) {
    context_.mistakes.Add(at, message, hint);
  }

  void CheckTeams() {
    std::map<std::string, int> seen;
    for (size_t i = 0; i < spec_.teams.size(); ++i) {
      const YamlNode& node = root_.Find("teams")->items[i];
      const YamlNode* name = node.IsMap() ? node.Find("name") : nullptr;
      if (name == nullptr || context_.mistakes.IsBroken(*name)) continue;
      const auto [first, is_new] = seen.emplace(spec_.teams[i].name, name->line);
      if (!is_new) {
        Add(*name,
            fmt::format("there is a team '{}' already, on line {}", first->first, first->second),
            "give each team one entry");
      }
      teams_.push_back(spec_.teams[i].name);
    }
    if (root_.Find("teams") == nullptr || context_.mistakes.IsBroken(*root_.Find("teams"))) return;
    for (size_t i = 0; i < spec_.workloads.size(); ++i) {
      const YamlNode* team = Given(i, "team");
      if (team == nullptr || seen.count(spec_.workloads[i].team) > 0) continue;
      std::string hint = DidYouMean(spec_.workloads[i].team, teams_);
      if (hint.empty())
        hint = fmt::format("add it to teams, or use one of {}", fmt::join(teams_, ", "));
      Add(*team, fmt::format("there is no team {}", Quoted(spec_.workloads[i].team)), hint);
    }
  }

  void CheckNames() {
    std::map<std::string, int> seen;
    for (size_t i = 0; i < spec_.workloads.size(); ++i) {
      const YamlNode* name = Given(i, "name");
      if (name == nullptr) continue;
      const auto [first, is_new] = seen.emplace(spec_.workloads[i].name, name->line);
      if (is_new) continue;
      Add(*name,
          fmt::format("there is a workload '{}' already, on line {}", first->first, first->second),
          "names are unique; for several of one workload use replicas: N");
    }
  }

  void CheckReplicas() {
    int64_t total = 0;
    for (size_t i = 0; i < spec_.workloads.size(); ++i) {
      total += spec_.workloads[i].replicas;
      if (total <= kMaxReplicasInAll) continue;
      Add(WorkloadNode(i),
          fmt::format("the replicas of all workloads sum to more than {}", kMaxReplicasInAll),
          "split the file");
      return;
    }
  }

  void CheckPorts() {
    std::vector<size_t> order;
    for (size_t i = 0; i < spec_.workloads.size(); ++i) {
      if (Given(i, "port") != nullptr) order.push_back(i);
    }
    const auto first = [&](size_t i) { return *spec_.workloads[i].port; };
    const auto last = [&](size_t i) { return first(i) + spec_.workloads[i].replicas - 1; };
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return first(a) < first(b); });
    const auto range = [&](size_t i) {
      return first(i) == last(i) ? fmt::format("port {}", first(i))
                                 : fmt::format("ports {}-{}", first(i), last(i));
    };
    // `widest` reaches furthest of those that begin no later.
    for (size_t k = 1, widest = 0; k < order.size(); ++k) {
      const size_t before = order[widest], here = order[k];
      if (first(here) <= last(before)) {
        // The later one in the file is told.
        const size_t told = std::max(before, here), other = std::min(before, here);
        const int free = last(order.back()) >= 65535 ? 0 : LastPort(order) + 1;
        Add(*Given(told, "port"),
            fmt::format("{} of {} and {} of {} overlap", range(told),
                        Quoted(spec_.workloads[told].name), range(other),
                        Quoted(spec_.workloads[other].name)),
            free > 0 && free <= 65535
                ? fmt::format("each replica takes one port; from {} on all are free", free)
                : "each replica takes one port; remove port to have one chosen");
      }
      if (last(here) > last(before)) widest = k;
    }
  }
  int LastPort(const std::vector<size_t>& order) const {
    int last = 0;
    for (const size_t i : order) {
      last = std::max(last, *spec_.workloads[i].port + spec_.workloads[i].replicas - 1);
    }
    return last;
  }

  void CheckRoutes() {
    std::map<std::string, size_t> routes;
    for (size_t i = 0; i < spec_.workloads.size(); ++i) {
      const YamlNode* at = Given(i, "route");
      if (at == nullptr) continue;
      const auto [first, is_new] = routes.emplace(spec_.workloads[i].route, i);
      if (!is_new) {
        Add(*at,
            fmt::format("route {} is taken by {}", first->first,
                        Quoted(spec_.workloads[first->second].name)),
            "routes are unique; one workload with replicas: N is balanced under one route");
      }
    }
    // A route inside another would leave it to the router's rules who answers.
    for (const auto& [route, i] : routes) {
      for (std::string outer = route; outer != "/";) {
        outer.resize(std::max<size_t>(outer.rfind('/'), 1));
        if (outer.back() == '/' && outer.size() > 1) outer.pop_back();
        const auto found = routes.find(outer);
        if (found == routes.end()) continue;
        const size_t told = std::max(i, found->second);
        Add(*Given(told, "route"),
            fmt::format("route {} of {} lies inside {} of {}", route,
                        Quoted(spec_.workloads[i].name), outer,
                        Quoted(spec_.workloads[found->second].name)),
            "requests to it would match both; give the two different first segments");
        break;
      }
    }
  }

  // Against the GPUs of a fleet, which the catalog knows. What the driver of a machine offers is
  // known when it is planned on.
  void CheckProfiles() {
    if (spec_.fleet.empty()) return;
    for (size_t i = 0; i < spec_.workloads.size(); ++i) {
      const YamlNode* at = Given(i, "profile");
      if (at == nullptr) continue;
      const Workload& workload = spec_.workloads[i];
      if (workload.mechanism == Mechanism::kVgpu || IsVgpuType(workload.profile)) continue;
      std::vector<std::string> names, gpus;
      for (const FleetEntry& entry : spec_.fleet) {
        const Result<const CatalogGpu*> gpu = context_.catalog.FindGpu(entry.gpu);
        if (!gpu || (!workload.gpu.empty() && workload.gpu != (*gpu)->key)) continue;
        gpus.push_back((*gpu)->key);
        for (const MigProfile& profile : (*gpu)->mig_profiles) names.push_back(profile.name);
      }
      if (gpus.empty() || std::find(names.begin(), names.end(), workload.profile) != names.end()) {
        continue;
      }
      std::string hint = DidYouMean(workload.profile, names);
      if (hint.empty() && !names.empty()) hint = fmt::format("use {}", fmt::join(names, ", "));
      Add(*at,
          fmt::format("no GPU of the fleet has a MIG profile {} ({})", Quoted(workload.profile),
                      fmt::join(gpus, ", ")),
          hint.empty() ? "remove profile, or add a GPU that has MIG" : hint);
    }
  }

  void CheckQuotas() {
    for (size_t t = 0; t < spec_.teams.size(); ++t) {
      const Team& team = spec_.teams[t];
      const YamlNode& node = root_.Find("teams")->items[t];
      const YamlNode* quota = node.IsMap() ? node.Find("quota") : nullptr;
      if (quota == nullptr || context_.mistakes.IsBroken(*quota) || team.name.empty()) continue;
      // What is worked out from a model is not known yet; the sums are what is certain.
      double memory = 0, gpus = 0;
      std::string memory_terms, gpu_terms;
      for (const Workload& workload : spec_.workloads) {
        if (workload.team != team.name) continue;
        const double count = static_cast<double>(workload.replicas) * workload.gpus;
        const std::string times = count > 1 ? fmt::format("{} x ", count) : "";
        const auto append = [&](std::string* terms, const std::string& amount) {
          *terms +=
              fmt::format("{}{} {}{}", terms->empty() ? "" : ", ", workload.name, times, amount);
        };
        if (workload.memory) {
          memory += count * static_cast<double>(workload.memory->request.value);
          append(&memory_terms, FormatBytes(workload.memory->request));
        }
        const bool whole = workload.gpus > 1 || workload.mechanism == Mechanism::kExclusive;
        if (whole || workload.compute) {
          const double share = whole ? 1 : workload.compute->request.value;
          gpus += count * share;
          append(&gpu_terms, whole ? "1" : fmt::format("{:g}", share));
        }
      }
      if (team.memory_quota && memory > static_cast<double>(team.memory_quota->value)) {
        Add(*quota->Find("memory"),
            fmt::format("team '{}' requests {} of memory, its quota is {}", team.name,
                        FormatBytes({static_cast<uint64_t>(std::min(memory, 0x1p63))}),
                        FormatBytes(*team.memory_quota)),
            "requested: " + Shortened(memory_terms));
      }
      if (team.gpu_quota && gpus > *team.gpu_quota * (1 + 1e-9)) {
        Add(*quota->Find("gpus"),
            fmt::format("team '{}' requests {:g} GPUs, its quota is {:g}", team.name, gpus,
                        *team.gpu_quota),
            "requested: " + Shortened(gpu_terms));
      }
    }
  }
  static std::string Shortened(const std::string& terms) {
    if (terms.size() <= 300) return terms;
    return terms.substr(0, terms.rfind(',', 300)) + ", ...";
  }

  ReadContext& context_;
  const YamlNode& root_;
  const Spec& spec_;
  std::vector<std::string> teams_;
};

}  // namespace

void CheckSpec(ReadContext& context, const YamlNode& root, const Spec& spec) {
  for (size_t i = 0; i < spec.workloads.size(); ++i) {
    const YamlNode& node = root.Find("workloads")->items[i];
    if (node.IsMap()) WorkloadCheck(context, node, spec.workloads[i]).Run();
  }
  SpecCheck(context, root, spec).Run();
  CheckTiers(context, root, spec);
}

}  // namespace tranche
