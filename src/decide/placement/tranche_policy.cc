#include "decide/placement/tranche_policy.h"

#include <algorithm>
#include <cmath>
#include <optional>

namespace tranche::placement {
namespace {

// Scores are whole numbers: differences below 20 milli-GPU are noise, and packing by order of nodes
// is worth more than them.
constexpr float kQuantum = 20;
constexpr float kRounding = 0.9f;

// Whether workloads come and go, or only come: how many depart for each that is placed.
class Churn {
 public:
  void Placed() { ++placed_; }
  void Departed() { ++departed_; }
  // True when on() changed.
  bool Arrived() {
    if (++arrived_ < kWindow) return false;
    const double now = placed_ > 0 ? std::min(1.0, departed_ / static_cast<double>(placed_)) : 0;
    estimate_ = 0.7 * estimate_ + 0.3 * now;
    arrived_ = placed_ = departed_ = 0;
    const bool before = on_;
    on_ = on_ ? estimate_ > 0.10 : estimate_ > 0.14;
    return on_ != before;
  }
  bool on() const { return on_; }

 private:
  static constexpr int kWindow = 250;
  int arrived_ = 0;
  int placed_ = 0;
  int departed_ = 0;
  double estimate_ = 0;
  bool on_ = false;
};

class TranchePolicy final : public Policy {
 public:
  TranchePolicy(const Cluster& cluster, TrancheOptions options)
      : options_(std::move(options)),
        types_(cluster.types()),
        counts_(cluster.type_counts()),
        mix_(options_.mix),
        worths_(static_cast<size_t>(cluster.size())) {
    mix_.Know(options_.known);
    Appraise();
  }

  int Score(const Node& node, int index, const TaskClass& task) override {
    return Points(Best(node, index, task).milli);
  }
  GpuSet ChooseGpus(const Node& node, int index, const TaskClass& task) override {
    return Best(node, index, task).gpus;
  }

  bool breaks_ties() const override { return churn_.on(); }
  int TieBreak(const Node& node, int index, const TaskClass& task) override {
    const Fragmentation& fragmentation = valuation_->fragmentation();
    Node after = node;
    after.cpu_free -= task.request.cpu_milli;
    const GpuSet gpus = ChooseGpus(node, index, task);
    for (size_t g = 0; g < node.gpus; ++g) {
      if ((gpus >> g & 1) == 0) continue;
      after.gpu_free[g] = static_cast<int16_t>(node.gpu_free[g] - task.request.gpu_milli);
    }
    return static_cast<int>(
        std::floor((fragmentation.OfNode(node) - fragmentation.OfNode(after)) / kQuantum));
  }

  void Arrived(const TaskClass& task) override {
    if (churn_.Arrived()) ++epoch_;
    if (!options_.learns) return;
    mix_.Add(task);
    if (mix_.worth_taking()) Appraise();
  }
  void Placed(const TaskClass&) override { churn_.Placed(); }
  void Departed(const TaskClass&) override { churn_.Departed(); }
  uint64_t epoch() const override { return epoch_; }

 private:
  struct Kept {
    uint64_t state = 0;
    uint64_t appraisal = 0;
    Valuation::Worth worth;
  };

  static int Points(float milli) {
    return static_cast<int>(std::floor(milli / kQuantum + kRounding));
  }

  void Appraise() {
    valuation_.emplace(types_, counts_, mix_.Take(), options_.valuation);
    ++appraisal_;
    ++epoch_;
  }

  Valuation::Gain Best(const Node& node, int index, const TaskClass& task) {
    Kept& kept = worths_[static_cast<size_t>(index)];
    if (kept.state != node.state || kept.appraisal != appraisal_) {
      kept = {node.state, appraisal_, valuation_->Of(node)};
    }
    return valuation_->Best(node, kept.worth, task.request, churn_.on());
  }

  TrancheOptions options_;
  std::vector<NodeShape> types_;
  std::vector<int> counts_;
  Mix mix_;
  Churn churn_;
  std::optional<Valuation> valuation_;
  uint64_t appraisal_ = 0;
  uint64_t epoch_ = 0;
  std::vector<Kept> worths_;
};

}  // namespace

std::unique_ptr<Policy> MakeTranchePolicy(const Cluster& cluster, TrancheOptions options) {
  return std::make_unique<TranchePolicy>(cluster, std::move(options));
}

}  // namespace tranche::placement
