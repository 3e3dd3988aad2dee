#include "decide/placement/tranche_policy.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <optional>

namespace tranche::placement {
namespace {

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

// Of those who want several GPUs, and of all: how much was refused lately. Where more of the former
// is, whole free GPUs are worth more than their share of the mix says.
class SlotRefusals {
 public:
  void Arrived(const Request& request) { Count(request, &asked_); }
  void Refused(const Request& request) { Count(request, &refused_); }

  // What the bonus for slots of k GPUs is to be multiplied with from now on.
  const std::vector<double>& Update() {
    const double all = asked_.all > 0 ? refused_.all / asked_.all : 0;
    for (size_t k = 2; k < factors_.size(); ++k) {
      if (asked_.by_gpus[k] <= 0) continue;
      const double more = refused_.by_gpus[k] / asked_.by_gpus[k] - all;
      factors_[k] = std::clamp(factors_[k] * std::exp(kStep * more), 1 / kMost, kMost);
    }
    asked_.Fade();
    refused_.Fade();
    return factors_;
  }

 private:
  static constexpr double kStep = 4;
  static constexpr double kMost = 8;  // from here on more of it wins nothing

  struct Sums {
    double all = 0;  // milli-GPU
    std::array<double, kMaxGpusPerNode + 1> by_gpus{};
    void Fade() {
      all /= 2;
      for (double& sum : by_gpus) sum /= 2;
    }
  };

  static void Count(const Request& request, Sums* sums) {
    sums->all += request.total_milli();
    if (request.gpus > 1 && request.whole()) {
      sums->by_gpus[static_cast<size_t>(request.gpus)] += request.total_milli();
    }
  }

  Sums asked_;
  Sums refused_;
  std::vector<double> factors_ = std::vector<double>(kMaxGpusPerNode + 1, 1.0);
};

class TranchePolicy final : public Policy {
 public:
  TranchePolicy(const Cluster& cluster, TrancheOptions options)
      : options_(std::move(options)),
        types_(cluster.types()),
        counts_(cluster.type_counts()),
        kinds_(cluster.kinds()),
        mix_(options_.mix),
        worths_(static_cast<size_t>(cluster.size())) {
    mix_.Know(options_.known);
    known_ = mix_.Take();
    Appraise();
  }

  int Score(const Node& node, int index, const TaskClass& task) override {
    if (task.request.mig != 0) return BestSpot(node, index, task).points;
    return PointsOfGain(Best(node, index, task).milli);
  }
  GpuSet ChooseGpus(const Node& node, int index, const TaskClass& task) override {
    return Best(node, index, task).gpus;
  }

  MigSpot ChooseSpot(const Node& node, int index, const TaskClass& task) override {
    return BestSpot(node, index, task).spot;
  }

  bool breaks_ties() const override { return churn_.on(); }
  int TieBreak(const Node& node, int index, const TaskClass& task) override {
    const Fragmentation& fragmentation = valuation_->fragmentation();
    Node after = node;
    if (task.request.mig != 0) {
      const MigSpot spot = ChooseSpot(node, index, task);
      Take(&after, task.request, static_cast<GpuSet>(1u << spot.gpu), spot.place, 1);
    } else {
      Take(&after, task.request, ChooseGpus(node, index, task), -1, 1);
    }
    return static_cast<int>(
        std::floor((fragmentation.OfNode(node) - fragmentation.OfNode(after)) / kPointMilli));
  }

  void Arrived(const TaskClass& task) override {
    if (churn_.Arrived()) ++epoch_;
    slot_refusals_.Arrived(task.request);
    const bool reprice =
        churn_.on() &&
        ++since_repriced_ >= std::max(kRepricedEvery, static_cast<int>(worths_.size()));
    if (reprice) {
      options_.valuation.slot_factors = slot_refusals_.Update();
      since_repriced_ = 0;
    }
    if (options_.learns) mix_.Add(task);
    if (options_.learns && mix_.worth_taking()) {
      known_ = mix_.Take();
      Appraise();
    } else if (reprice) {
      Appraise();
    }
  }
  void Refused(const TaskClass& task) override { slot_refusals_.Refused(task.request); }
  void Placed(const TaskClass&) override { churn_.Placed(); }
  void Departed(const TaskClass&) override { churn_.Departed(); }
  uint64_t epoch() const override { return epoch_; }

 private:
  // Arrivals; on large clusters more, as new scores take their time to reach all nodes.
  static constexpr int kRepricedEvery = 1000;

  struct Kept {
    uint64_t state = 0;
    uint64_t appraisal = 0;
    Valuation::Worth worth;
  };

  void Appraise() {
    valuation_.emplace(types_, counts_, known_, options_.valuation, kinds_);
    ++appraisal_;
    ++epoch_;
  }

  Valuation::Gain Best(const Node& node, int index, const TaskClass& task) {
    return valuation_->Best(node, WorthOf(node, index), task.request, churn_.on());
  }
  Valuation::MigGain BestSpot(const Node& node, int index, const TaskClass& task) {
    return valuation_->BestSpot(node, WorthOf(node, index), task.request, churn_.on());
  }

  const Valuation::Worth& WorthOf(const Node& node, int index) {
    Kept& kept = worths_[static_cast<size_t>(index)];
    if (kept.state != node.state || kept.appraisal != appraisal_) {
      kept = {node.state, appraisal_, valuation_->Of(node)};
    }
    return kept.worth;
  }

  TrancheOptions options_;
  std::vector<NodeShape> types_;
  std::vector<int> counts_;
  std::vector<MigKind> kinds_;
  Mix mix_;
  std::vector<WeightedRequest> known_;  // of it, when it was last looked at
  Churn churn_;
  SlotRefusals slot_refusals_;
  int since_repriced_ = 0;
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
