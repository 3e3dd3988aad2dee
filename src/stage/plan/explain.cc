#include "stage/plan/explain.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>

namespace tranche::planning {
namespace {

struct FreePiece {
  Bytes memory;
  std::string name;                 // "3g.40gb on gpu0"
  std::optional<double> time = {};  // of the GPU, where that is shared
};

// The largest single piece that is free on a GPU, by a mechanism that the replica could use.
std::optional<FreePiece> LargestPiece(const GpuView& view, int index, const ReplicaNeed& need,
                                      const NodeLayout& layout) {
  if (!view.unusable.empty()) return std::nullopt;
  bool used = false, mig = false;
  Occupancy taken = view.foreign;
  Bytes shared;
  double time = 1 - view.compute_promised;
  for (const Placed& one : layout.placed) {
    if (std::find(one.gpus.begin(), one.gpus.end(), index) == one.gpus.end()) continue;
    used = true;
    if (one.placement) {
      mig = true;
    } else {
      shared += one.option.memory;
      time -= one.option.compute_share;
    }
  }
  for (const auto& [placement, profile] : InstancesOn(index, layout.placed)) {
    view.geometry->Add({profile, placement}, &taken);
  }
  const auto gives = [&](Mechanism mechanism) {
    const Capability* capability = view.Find(mechanism);
    return capability != nullptr && capability->available &&
           GivenBy(*capability, *need.workload).Satisfies(need.workload->isolation.axes) &&
           (!need.workload->mechanism || *need.workload->mechanism == mechanism);
  };
  if (!used && view.no_whole.empty() && view.foreign_processes.empty() &&
      gives(Mechanism::kExclusive)) {
    return FreePiece{view.free_undivided, fmt::format("all of {}", view.name())};
  }
  std::optional<FreePiece> best;
  if (view.geometry && (!used || mig) && gives(Mechanism::kMig)) {
    for (int p = 0; p < static_cast<int>(view.geometry->profiles().size()); ++p) {
      const MigProfile& profile = view.geometry->profile(p);
      if (profile.variant != MigVariant::kPlain || !view.geometry->FitsSomewhere(taken, p))
        continue;
      if (!best || profile.memory > best->memory) {
        best = FreePiece{profile.memory, fmt::format("{} on {}", profile.name, view.name())};
      }
    }
  }
  const bool may_share = gives(Mechanism::kTimeSlicing) || gives(Mechanism::kFraction);
  if (!mig && view.no_whole.empty() && may_share) {
    const Bytes left = view.free_undivided - shared;
    if (left.value > 0 && (!best || left > best->memory)) {
      best = FreePiece{left, fmt::format("what is left of {}", view.name()), std::max(0.0, time)};
    }
  }
  return best;
}

std::string NeedText(const ReplicaNeed& need) {
  std::string text;
  if (need.workload->gpus > 1) {
    text = fmt::format("needs {} whole GPUs of one kind", need.workload->gpus);
    if (need.least.value > 0)
      text += fmt::format(" with {} each", FormatBytes(need.least_per_gpu()));
  } else if (need.whole_gpu) {
    text = "needs a whole GPU";
  } else if (need.whole_slice) {
    text = "needs a " + need.workload->profile;
  } else {
    text = "needs " + FormatBytes(need.least);
  }
  if (need.compute > 0) text += fmt::format(" and {} of a GPU's SMs", FormatPercent(need.compute));
  if (need.speed != nullptr) {
    text += fmt::format(", serving {:.3g} requests per second within its slo ({}),",
                        need.per_second, Speed::ObjectiveText(*need.workload->slo));
  }
  const IsolationAsk& isolation = need.workload->isolation;
  if (isolation.word != "none") text += " with " + IsolationText(isolation);
  if (!need.workload->profile.empty() && !need.whole_slice)
    text += " in a " + need.workload->profile;
  if (!need.workload->gpu.empty()) text += " on a " + need.workload->gpu;
  return text;
}

// The GPUs that are worth a word: those of the model that is asked for, if there are any.
std::vector<size_t> Considered(const ReplicaNeed& need, const LayoutSolver& solver,
                               const std::vector<GpuView>& views) {
  std::vector<size_t> asked, all;
  for (size_t v = 0; v < views.size(); ++v) {
    all.push_back(v);
    if (!solver.CandidatesOf(need, v).other_model) asked.push_back(v);
  }
  return asked.empty() ? all : asked;
}

// "gpu0, gpu1: no MIG: ...; gpu2: it has 22.5 GiB".
std::string Refusals(const ReplicaNeed& need, const LayoutSolver& solver,
                     const std::vector<GpuView>& views) {
  std::vector<std::pair<std::string, std::string>> reasons;  // reason, GPUs
  for (const size_t v : Considered(need, solver, views)) {
    const std::string& refusal = solver.CandidatesOf(need, v).refusal;
    const auto same = std::find_if(reasons.begin(), reasons.end(),
                                   [&](const auto& reason) { return reason.first == refusal; });
    if (same != reasons.end()) {
      same->second += ", " + views[v].name();
    } else {
      reasons.emplace_back(refusal, views[v].name());
    }
  }
  std::string text;
  for (const auto& [reason, gpus] : reasons) {
    text += fmt::format("{}{}: {}", text.empty() ? "" : "; ", gpus, reason);
  }
  return text;
}

std::string ReasonFor(const ReplicaNeed& need, const NodeLayout& layout, const LayoutSolver& solver,
                      const std::vector<GpuView>& views) {
  if (views.empty()) return NeedText(need) + "; there is no GPU";
  bool anywhere = false;
  for (size_t v = 0; v < views.size(); ++v) {
    anywhere = anywhere || !solver.CandidatesOf(need, v).options.empty();
  }
  if (!anywhere) return NeedText(need) + "; " + Refusals(need, solver, views);
  if (layout.gave_up) {
    return NeedText(need) + "; no room was found within the limit of the search";
  }
  std::optional<FreePiece> largest;
  std::string blocked;  // GPUs that could hold it but for a reason of their own
  int whole = 0;
  for (const size_t v : Considered(need, solver, views)) {
    const std::optional<FreePiece> piece =
        LargestPiece(views[v], static_cast<int>(v), need, layout);
    if (piece && piece->name.rfind("all of", 0) == 0) ++whole;
    if (piece && (!largest || piece->memory > largest->memory)) largest = piece;
    if (solver.CandidatesOf(need, v).options.empty()) {
      blocked += fmt::format("; {}: {}", views[v].name(), solver.CandidatesOf(need, v).refusal);
    }
  }
  if (need.workload->gpus > 1) {
    return fmt::format("{}; {} {} free{}", NeedText(need), whole, whole == 1 ? "is" : "are",
                       blocked);
  }
  if (!largest) return NeedText(need) + "; nothing is free" + blocked;
  const bool enough = largest->memory >= need.least && largest->time.value_or(1) >= need.compute;
  return fmt::format(
      "{}; the largest free piece is {} ({}{}){}", NeedText(need), largest->name,
      FormatBytes(largest->memory),
      largest->time && need.compute > 0
          ? fmt::format(" and {} of its time", FormatPercent(*largest->time))
          : "",
      enough && blocked.empty() ? ", which the others leave no other way to place" : blocked);
}

// Finds changes under which the replica would fit, the mildest first.
class Remedies {
 public:
  Remedies(const ReplicaNeed& need, const NodeLayout& layout, const LayoutSolver& solver,
           const std::vector<GpuView>& views, const Catalog& catalog, const SpeedSource& source)
      : need_(need),
        layout_(layout),
        solver_(solver),
        views_(views),
        catalog_(catalog),
        source_(source) {}

  std::string Find() {
    if (need_.workload->model && !need_.workload->memory) {
      TryPrecision();
      TryContext();
      TryConcurrency();
    } else if (need_.workload->memory) {
      TryLessMemory();
      TryPreemptible();
    }
    if (need_.speed != nullptr) {
      TryMoreReplicas();
      TryLooserSlo();
    }
    if (need_.compute > 0) TryLessCompute();
    TryIsolation();
    TryWithoutRestrictions();
    TryOneMoreGpu();
    if (found_.empty()) return LastResort();
    constexpr size_t kNamed = 3;
    std::string text;
    for (size_t i = 0; i < found_.size() && i < kNamed; ++i)
      text += (i == 0 ? "" : "; or ") + found_[i];
    return text;
  }

 private:
  bool Fits(const Workload& changed) const {
    const ReplicaNeed need = NeedOf(changed, need_.replica, catalog_, source_);
    return solver_.WouldFit(layout_.placed, need);
  }

  // The smallest piece that holds it: "1g.10gb".
  std::string SmallestPiece(const ReplicaNeed& need) const {
    const Option* least = nullptr;
    std::string name = "a GPU";
    for (size_t v = 0; v < views_.size(); ++v) {
      const Candidates found = CandidatesOn(views_[v], need, catalog_);
      for (const Option& option : found.options) {
        if (least != nullptr && option.memory >= least->memory) continue;
        if (option.mechanism != Mechanism::kMig) continue;
        name = views_[v].geometry->profile(option.profile).name;
        best_ = option;
        least = &best_;
      }
    }
    return name;
  }

  void TryPrecision() {
    static constexpr const char* kSmaller[] = {"fp8", "int4"};
    for (const char* precision : kSmaller) {
      Workload changed = *need_.workload;
      changed.model->precision = precision;
      const ReplicaNeed need = NeedOf(changed, 0, catalog_, source_);
      if (need.least >= need_.least || !Fits(changed)) continue;
      found_.push_back(fmt::format("precision {} needs {} and fits {}", precision,
                                   FormatBytes(need.least), SmallestPiece(need)));
      return;
    }
  }

  void TryContext() {
    Workload changed = *need_.workload;
    for (int context = need_.workload->model->context / 2; context >= 1024; context /= 2) {
      changed.model->context = context;
      if (!Fits(changed)) continue;
      found_.push_back(fmt::format("context {} fits", context));
      return;
    }
  }

  void TryConcurrency() {
    Workload changed = *need_.workload;
    for (int concurrency = need_.workload->model->concurrency / 2; concurrency >= 1;
         concurrency /= 2) {
      changed.model->concurrency = concurrency;
      if (!Fits(changed)) continue;
      found_.push_back(fmt::format("concurrency {} fits", concurrency));
      return;
    }
  }

  // What would fit is the size of some piece, so those are all that need trying, the largest first.
  void TryLessMemory() {
    std::map<uint64_t, std::string> sizes;
    for (const GpuView& view : views_) {
      sizes.emplace(view.free_undivided.value, view.name());
      if (!view.geometry) continue;
      for (const MigProfile& profile : view.geometry->profiles()) {
        if (profile.variant == MigVariant::kPlain)
          sizes.emplace(profile.memory.value, profile.name);
      }
    }
    for (auto size = sizes.rbegin(); size != sizes.rend(); ++size) {
      if (size->first >= need_.least.value) continue;
      Workload changed = *need_.workload;
      changed.memory = Share<Bytes>{Bytes{size->first}, Bytes{size->first}};
      if (!Fits(changed)) continue;
      found_.push_back(fmt::format("{} less fits {} ({})",
                                   FormatBytes(need_.least - Bytes{size->first}), size->second,
                                   FormatBytes(Bytes{size->first})));
      return;
    }
  }

  // Then what is above its request is not reserved for it.
  void TryPreemptible() {
    Workload changed = *need_.workload;
    changed.preemptible = true;
    if (need_.reserved > need_.least && Fits(changed)) {
      found_.push_back(
          fmt::format("with a memory limit of {}, or preemptible: true", FormatBytes(need_.least)));
    }
  }

  void TryLessCompute() {
    Workload changed = *need_.workload;
    changed.compute.reset();
    if (Fits(changed)) {
      found_.push_back(
          fmt::format("with less than {} of the SMs it fits", FormatPercent(need_.compute)));
    }
  }

  // Each then gets less.
  void TryMoreReplicas() {
    if (need_.workload->by_traffic.replicas) return;  // as many as it takes already
    Workload changed = *need_.workload;
    for (int times = 2; times <= 64; times *= 2) {
      changed.replicas = need_.workload->replicas * times;
      if (!Fits(changed)) continue;
      found_.push_back(fmt::format("replicas: {}, or none stated, so that the plan chooses them",
                                   changed.replicas));
      return;
    }
  }

  // One of its objectives, or all of them.
  void TryLooserSlo() {
    constexpr int kObjectives = 4;
    for (int which = 0; which <= kObjectives; ++which) {
      for (const double times : {2.0, 3.0, 5.0, 10.0, 20.0, 50.0, 100.0}) {
        Workload changed = *need_.workload;
        // More replicas can be had, if only one bears anything.
        if (changed.by_traffic.replicas) changed.replicas = 1000;
        if (!Loosen(which, times, &*changed.slo)) break;
        if (!Fits(changed)) continue;
        found_.push_back(fmt::format("slo: {}", Speed::ObjectiveText(*changed.slo)));
        return;
      }
    }
  }

  // False when that one is not promised.
  static bool Loosen(int which, double times, Slo* slo) {
    std::optional<Duration>* const times_of[] = {&slo->ttft_p50, &slo->ttft_p99, &slo->latency_p99};
    bool any = false;
    for (int i = 0; i < 3; ++i) {
      std::optional<Duration>& one = *times_of[i];
      if (!one || (which != i && which != 4)) continue;
      one = Duration(static_cast<int64_t>(static_cast<double>(one->count()) * times));
      any = true;
    }
    if (slo->tokens_per_second && (which == 3 || which == 4)) {
      *slo->tokens_per_second /= times;
      any = true;
    }
    return any;
  }

  void TryIsolation() {
    const IsolationAsk& asked = need_.workload->isolation;
    Workload changed = *need_.workload;
    changed.isolation = {"process", {Guarantee::kCooperative, Guarantee::kCooperative}, false};
    const bool weaker = asked.axes.Satisfies(changed.isolation.axes) &&
                        (asked.axes != changed.isolation.axes || asked.low_jitter);
    if (weaker && Fits(changed)) {
      found_.push_back("isolation: process");
      return;
    }
    changed.isolation = {"none", {}, false};
    if ((asked.axes != Guarantees{} || asked.low_jitter) && Fits(changed)) {
      found_.push_back("isolation: none");
    }
  }

  void TryWithoutRestrictions() {
    Workload changed = *need_.workload;
    if (!changed.gpu.empty()) {
      changed.gpu.clear();
      if (Fits(changed)) found_.push_back(fmt::format("without gpu: {}", need_.workload->gpu));
    }
    changed = *need_.workload;
    if (changed.mechanism == Mechanism::kVgpu) {
      TryOtherVgpus();
      return;
    }
    if (!changed.profile.empty() && !need_.whole_slice) {
      changed.profile.clear();
      if (Fits(changed))
        found_.push_back(fmt::format("without profile: {}", need_.workload->profile));
    } else if (need_.whole_slice) {
      TryOtherProfiles();
    }
    changed = *need_.workload;
    if (changed.mechanism) {
      changed.mechanism.reset();
      if (Fits(changed)) {
        found_.push_back(
            fmt::format("without mechanism: {}", MechanismName(*need_.workload->mechanism)));
      }
    }
  }

  // A virtual machine takes a vGPU and nothing else: another type, or one among other sizes.
  void TryOtherVgpus() {
    Workload changed = *need_.workload;
    if (!changed.profile.empty() && changed.memory) {
      changed.profile.clear();
      if (Fits(changed)) {
        found_.push_back(fmt::format("without profile: {}", need_.workload->profile));
        return;
      }
    }
    changed = *need_.workload;
    if (!changed.vgpu) changed.vgpu.emplace();
    changed.vgpu->mixed_sizes = !changed.vgpu->mixed_sizes;
    if (Fits(changed)) {
      found_.push_back(fmt::format("vgpu: {{mixed_sizes: {}}}", changed.vgpu->mixed_sizes));
    }
  }

  // The nearest by memory of those that would fit.
  void TryOtherProfiles() {
    std::set<std::pair<uint64_t, std::string>> tried;  // by how far
    const auto wanted = ParseMigProfileName(need_.workload->profile);
    if (!wanted) return;
    const uint64_t gigabytes = static_cast<uint64_t>(wanted->gigabytes);
    for (const GpuView& view : views_) {
      if (!view.geometry) continue;
      for (const MigProfile& profile : view.geometry->profiles()) {
        const uint64_t has = (profile.memory.value >> 30) + 1;
        if (profile.variant != MigVariant::kPlain || profile.name == need_.workload->profile)
          continue;
        tried.emplace(has > gigabytes ? has - gigabytes : gigabytes - has, profile.name);
      }
    }
    for (const auto& [distance, profile] : tried) {
      Workload changed = *need_.workload;
      changed.profile = profile;
      if (!Fits(changed)) continue;
      found_.push_back("profile: " + profile);
      return;
    }
  }

  void TryOneMoreGpu() {
    std::set<std::string> tried;
    for (const GpuView& view : views_) {
      const std::string& model = view.gpu->model.empty() ? view.gpu->name : view.gpu->model;
      if (!view.unusable.empty() || !tried.insert(model).second) continue;
      Gpu fresh = *view.gpu;
      fresh.uuid += "+";
      fresh.mig_instances.clear();
      fresh.processes.clear();
      GpuView more = view;
      more.gpu = &fresh;
      more.foreign = {};
      more.removable.clear();
      more.foreign_processes.clear();
      more.free_undivided = UsableMemory(fresh);
      more.compute_promised = 0;
      more.free_unknown.clear();
      more.no_whole.clear();
      if (!more.geometry && view.Find(Mechanism::kMig) != nullptr &&
          view.Find(Mechanism::kMig)->available) {
        if (Result<MigGeometry> geometry = MigGeometry::Make(fresh.mig_profiles)) {
          more.geometry = *std::move(geometry);
        }
      }
      if (!solver_.WouldFit(layout_.placed, need_, &more)) continue;
      found_.push_back("one more " + model);
      return;
    }
  }

  // The smallest GPU of the catalog that would hold it.
  std::string LastResort() const {
    if (need_.speed != nullptr) {
      Workload changed = *need_.workload;
      changed.slo.reset();
      if (Fits(changed)) return "a looser slo, less traffic, or a faster GPU";
    }
    const CatalogGpu* smallest = nullptr;
    for (const CatalogGpu& gpu : catalog_.gpus()) {
      if (!gpu.memory || *gpu.memory < need_.least_per_gpu()) continue;
      if (need_.workload->mechanism == Mechanism::kMig && !gpu.mig_capable) continue;
      if (smallest == nullptr || *gpu.memory < *smallest->memory) smallest = &gpu;
    }
    if (smallest == nullptr) {
      return fmt::format(
          "no single GPU in the catalog has {}; divide it over more GPUs (gpus: 2 or more)",
          FormatBytes(need_.least_per_gpu()));
    }
    const int gpus = std::max(1, need_.workload->gpus);
    return gpus > 1 ? fmt::format("{} free GPUs such as {} ({})", gpus, smallest->key,
                                  FormatBytes(*smallest->memory))
                    : fmt::format("a free GPU such as {} ({})", smallest->key,
                                  FormatBytes(*smallest->memory));
  }

  const ReplicaNeed& need_;
  const NodeLayout& layout_;
  const LayoutSolver& solver_;
  const std::vector<GpuView>& views_;
  const Catalog& catalog_;
  const SpeedSource& source_;
  mutable Option best_;
  std::vector<std::string> found_;
};

}  // namespace

Unplaced ExplainUnplaced(const ReplicaNeed& need, const NodeLayout& layout,
                         const LayoutSolver& solver, const std::vector<GpuView>& views,
                         const Catalog& catalog, const SpeedSource& source) {
  return {need.workload->name, need.replica, ReasonFor(need, layout, solver, views),
          Remedies(need, layout, solver, views, catalog, source).Find()};
}

}  // namespace tranche::planning
