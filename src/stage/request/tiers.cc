#include "stage/request/tiers.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>

namespace tranche {
namespace {

// The best that a mechanism can give.
Guarantees BestOf(const Catalog& catalog, Mechanism mechanism) {
  for (const CatalogMechanism& known : catalog.mechanisms()) {
    if (known.mechanism == mechanism) return known.guarantees;
  }
  return {};
}

// The most that a workload of the tier may ask for; nothing where the tier sets no limit.
std::optional<Guarantees> LimitOf(const Catalog& catalog, const Tier& tier) {
  if (tier.isolation) return tier.isolation->axes;
  if (!tier.mechanism) return std::nullopt;
  Guarantees best = BestOf(catalog, *tier.mechanism);
  if (tier.memory_cap) best.memory = std::max(best.memory, Guarantee::kCooperative);
  return best;
}

// "memory: hardware is asked, none is given"
std::string Missing(const Guarantees& asked, const Guarantees& given) {
  std::vector<std::string> missing;
  const auto compare = [&](const char* axis, Guarantee wanted, Guarantee is) {
    if (is < wanted) {
      missing.push_back(
          fmt::format("{} is {} there, not {}", axis, GuaranteeName(is), GuaranteeName(wanted)));
    }
  };
  compare("memory", asked.memory, given.memory);
  compare("compute", asked.compute, given.compute);
  compare("fault", asked.fault, given.fault);
  compare("access", asked.access, given.access);
  return fmt::format("{}", fmt::join(missing, "; "));
}

class TierCheck {
 public:
  TierCheck(ReadContext& context, const YamlNode& root, const Spec& spec)
      : context_(context), root_(root), spec_(spec) {}

  void Run() {
    CheckNames();
    for (size_t i = 0; i < spec_.tiers.size(); ++i) CheckTier(i);
    for (size_t i = 0; i < spec_.workloads.size(); ++i) CheckWorkload(i);
  }

 private:
  const YamlNode* GivenIn(const YamlNode& map, const char* key) const {
    const YamlNode* value = map.IsMap() ? map.Find(key) : nullptr;
    return value != nullptr && !context_.mistakes.IsBroken(*value) ? value : nullptr;
  }
  const YamlNode& TierNode(size_t i) const { return root_.Find("tiers")->items[i]; }
  bool TiersAreKnown() const {
    const YamlNode* tiers = root_.Find("tiers");
    return tiers != nullptr && !context_.mistakes.IsBroken(*tiers);
  }
  void Add(const YamlNode& at, const std::string& message, const std::string& hint) {
    context_.mistakes.Add(at, message, hint);
  }

  void CheckNames() {
    std::map<std::string, int> seen;
    for (size_t i = 0; i < spec_.tiers.size(); ++i) {
      const YamlNode* name = GivenIn(TierNode(i), "name");
      if (name == nullptr) continue;
      names_.push_back(spec_.tiers[i].name);
      const auto [first, is_new] = seen.emplace(spec_.tiers[i].name, name->line);
      if (is_new) continue;
      Add(*name,
          fmt::format("there is a tier '{}' already, on line {}", first->first, first->second),
          "give each tier one entry");
    }
  }

  void CheckTier(size_t i) {
    const Tier& tier = spec_.tiers[i];
    const YamlNode& node = TierNode(i);
    if (!node.IsMap()) return;
    CheckSelectors(tier, node);
    const bool known = GivenIn(node, "mechanism") != nullptr;
    const std::string mechanism =
        known ? fmt::format("tier '{}' divides its GPUs by {}", tier.name,
                            MechanismName(*tier.mechanism))
              : fmt::format("tier '{}' does not say how its GPUs are divided", tier.name);
    const auto only_with = [&](const char* key, Mechanism wanted) {
      const YamlNode* at = GivenIn(node, key);
      if (at == nullptr || tier.mechanism == wanted) return;
      if (node.Find("mechanism") != nullptr && !known) return;  // told already
      Add(*at, fmt::format("{} is for {}, and {}", key, MechanismName(wanted), mechanism),
          fmt::format("set mechanism: {}, or remove {}", MechanismName(wanted), key));
    };
    only_with("profile", Mechanism::kMig);
    only_with("time_slice", Mechanism::kTimeSlicing);
    only_with("memory_cap", Mechanism::kTimeSlicing);
    const YamlNode* over = GivenIn(node, "oversubscription");
    if (over != nullptr && known &&
        (tier.mechanism == Mechanism::kMig || tier.mechanism == Mechanism::kExclusive)) {
      Add(*over, fmt::format("{}, and such a slice has one tenant", mechanism),
          "remove oversubscription, or use time-slicing, mps or fraction");
    }
    CheckIsolation(tier, node);
    CheckProfiles(tier, node);
  }

  void CheckSelectors(const Tier& tier, const YamlNode& node) {
    const YamlNode* gpus = GivenIn(node, "gpus");
    if (gpus == nullptr || !gpus->IsSequence()) return;
    for (size_t k = 0; k < tier.gpus.size() && k < gpus->items.size(); ++k) {
      const GpuSelector& selector = tier.gpus[k];
      const YamlNode& at = gpus->items[k];
      if (!at.IsMap()) continue;
      int given = 0;
      bool broken = false;
      for (const char* key : {"gpu", "index", "uuid"}) {
        if (at.Find(key) == nullptr) continue;
        ++given;
        broken = broken || context_.mistakes.IsBroken(*at.Find(key));
      }
      if (given != 1) {
        Add(at, given == 0 ? "the selector says nothing of which GPU" : "the selector is ambiguous",
            "use exactly one of gpu: H100-SXM5-80GB, index: 0, and uuid: GPU-...");
        continue;
      }
      if (broken) continue;
      const YamlNode* count = GivenIn(at, "count");
      if (count != nullptr && selector.gpu.empty()) {
        Add(*count, "count is of GPUs of one model, and this is one GPU", "remove count");
      }
      const std::string key = !selector.gpu.empty() ? ""
                              : selector.index      ? fmt::format("index {}", *selector.index)
                                                    : fmt::format("UUID {}", selector.uuid);
      if (key.empty()) continue;
      const auto [first, is_new] = selected_.emplace(key, tier.name);
      if (!is_new) {
        Add(at, fmt::format("the GPU of {} is in tier '{}' already", key, first->second),
            "a GPU is in one tier");
      }
    }
  }

  void CheckIsolation(const Tier& tier, const YamlNode& node) {
    const YamlNode* at = GivenIn(node, "isolation");
    if (at == nullptr || GivenIn(node, "mechanism") == nullptr) return;
    Guarantees best = BestOf(context_.catalog, *tier.mechanism);
    if (tier.memory_cap) best.memory = std::max(best.memory, Guarantee::kCooperative);
    if (best.Satisfies(tier.isolation->axes)) return;
    Add(*at,
        fmt::format("{} cannot give that isolation: {}", MechanismName(*tier.mechanism),
                    Missing(tier.isolation->axes, best)),
        "ask for less, or use another mechanism");
  }

  // Where the tier says by model which GPUs it has, it is known whether they can be divided so.
  void CheckProfiles(const Tier& tier, const YamlNode& node) {
    const YamlNode* at = GivenIn(node, "profile");
    if (at == nullptr || tier.mechanism != Mechanism::kMig) return;
    for (const GpuSelector& selector : tier.gpus) {
      const auto gpu = context_.catalog.FindGpu(selector.gpu);
      if (selector.gpu.empty() || !gpu) continue;
      if (!(*gpu)->mig_capable) {
        Add(*at, fmt::format("{} has no MIG", (*gpu)->key), "use other GPUs, or another mechanism");
        continue;
      }
      std::vector<std::string> known;
      for (const MigProfile& profile : (*gpu)->mig_profiles) known.push_back(profile.name);
      for (const std::string& name : tier.profiles) {
        if (std::find(known.begin(), known.end(), name) != known.end()) continue;
        std::string hint = DidYouMean(name, known);
        if (hint.empty()) hint = fmt::format("it has {}", fmt::join(known, ", "));
        Add(*at, fmt::format("{} has no profile {}", (*gpu)->key, name), hint);
      }
    }
  }

  // A tier that would give a workload what it asks for.
  std::string Remedy(const Workload& workload) const {
    for (const Tier& tier : spec_.tiers) {
      const std::optional<Guarantees> limit = LimitOf(context_.catalog, tier);
      const bool enough = !limit || limit->Satisfies(workload.isolation.axes);
      if (enough && tier.name != workload.tier) {
        return fmt::format("ask for less isolation, or use tier: {}", tier.name);
      }
    }
    return "ask for less isolation; no tier gives as much";
  }

  void CheckWorkload(size_t i) {
    const Workload& workload = spec_.workloads[i];
    const YamlNode& node = root_.Find("workloads")->items[i];
    if (!node.IsMap()) return;
    for (const char* key : {"time_slice", "memory_cap"}) {
      const YamlNode* at = GivenIn(node, key);
      const YamlNode* mechanism = node.Find("mechanism");
      if (at == nullptr || workload.mechanism == Mechanism::kTimeSlicing) continue;
      if (mechanism != nullptr && context_.mistakes.IsBroken(*mechanism)) continue;
      Add(*at,
          fmt::format("{} is for time-slicing, and {} {}", key, Quoted(workload.name),
                      workload.mechanism
                          ? fmt::format("is on {}", MechanismName(*workload.mechanism))
                          : "may be put on any mechanism"),
          fmt::format("add mechanism: time-slicing and isolation: none, or remove {}", key));
    }
    const YamlNode* at = GivenIn(node, "tier");
    if (at == nullptr || !TiersAreKnown()) return;
    const Tier* tier = spec_.FindTier(workload.tier);
    if (tier == nullptr) {
      std::string hint = DidYouMean(workload.tier, names_);
      if (hint.empty())
        hint = fmt::format("add it to tiers, or use one of {}", fmt::join(names_, ", "));
      Add(*at, fmt::format("there is no tier {}", Quoted(workload.tier)), hint);
      return;
    }
    const YamlNode* mechanism = GivenIn(node, "mechanism");
    if (mechanism != nullptr && tier->mechanism && workload.mechanism != tier->mechanism) {
      Add(*mechanism,
          fmt::format("tier '{}' divides its GPUs by {}, not {}", tier->name,
                      MechanismName(*tier->mechanism), MechanismName(*workload.mechanism)),
          "remove mechanism, or use another tier");
      return;
    }
    const std::optional<Guarantees> limit = LimitOf(context_.catalog, *tier);
    const YamlNode* isolation = GivenIn(node, "isolation");
    if (isolation == nullptr || !limit || limit->Satisfies(workload.isolation.axes)) return;
    Add(*isolation,
        fmt::format("{} asks for more isolation than tier '{}' gives: {}", Quoted(workload.name),
                    tier->name, Missing(workload.isolation.axes, *limit)),
        Remedy(workload));
  }

  ReadContext& context_;
  const YamlNode& root_;
  const Spec& spec_;
  std::vector<std::string> names_;
  std::map<std::string, std::string> selected_;  // by what it is selected with, its tier
};

}  // namespace

void FillInFromTier(const YamlNode& node, const Spec& spec, const Catalog& catalog,
                    Workload* workload) {
  const Tier* tier = workload->tier.empty() ? nullptr : spec.FindTier(workload->tier);
  if (tier == nullptr) return;
  const auto given = [&](const char* key) { return node.Find(key) != nullptr; };
  if (!given("mechanism")) workload->mechanism = tier->mechanism;
  if (!given("isolation")) {
    const std::optional<Guarantees> limit = LimitOf(catalog, *tier);
    if (tier->isolation) {
      workload->isolation = *tier->isolation;
    } else if (limit && !limit->Satisfies(workload->isolation.axes)) {
      workload->isolation = {"none", {}, false};
    }
  }
  if (workload->mechanism == Mechanism::kTimeSlicing) {
    if (!given("time_slice")) workload->time_slice = tier->time_slice;
    if (!given("memory_cap")) workload->memory_cap = tier->memory_cap;
  }
}

void CheckTiers(ReadContext& context, const YamlNode& root, const Spec& spec) {
  TierCheck(context, root, spec).Run();
}

}  // namespace tranche
