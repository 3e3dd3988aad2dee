#include "decide/placement/published.h"

#include <algorithm>
#include <cmath>
#include <optional>

#include "decide/placement/fragmentation.h"
#include "decide/placement/random.h"

namespace tranche::placement {
namespace {

constexpr int kMostCpuMilli = 128000;  // the largest node of the published cluster
constexpr int kMostGpuMilli = 8000;

class TightestGpuPolicy : public Policy {
 public:
  GpuSet ChooseGpus(const Node& node, int, const TaskClass& task) override {
    return TightestGpus(node, task.request);
  }
};

class RandomPolicy final : public Policy {
 public:
  explicit RandomPolicy(uint64_t seed) : random_(seed) {}

  int Score(const Node&, int, const TaskClass&) override { return 0; }
  bool picks_at_random() const override { return true; }
  int Draw(int count) override {
    return static_cast<int>(random_.Below(static_cast<uint64_t>(count)));
  }
  GpuSet ChooseGpus(const Node& node, int, const TaskClass& task) override {
    const Request& request = task.request;
    if (request.gpus != 1 || request.whole()) return TightestGpus(node, request);
    int chosen = Draw(CountWithFree(node, request.gpu_milli));
    for (int g = 0; g < node.gpus; ++g) {
      if (node.gpu_free[static_cast<size_t>(g)] < request.gpu_milli) continue;
      if (chosen-- == 0) return static_cast<GpuSet>(1u << g);
    }
    return 0;
  }

 private:
  Random random_;
};

class BestFitPolicy final : public TightestGpuPolicy {
 public:
  int Score(const Node& node, int, const TaskClass& task) override {
    const double cpu = static_cast<double>(node.cpu_free - task.request.cpu_milli) / kMostCpuMilli;
    const double gpu =
        static_cast<double>(node.free_milli() - task.request.total_milli()) / kMostGpuMilli;
    return static_cast<int>((1.0 - 0.5 * cpu - 0.5 * gpu) * 100.0);
  }
};

class DotProductPolicy final : public TightestGpuPolicy {
 public:
  int Score(const Node& node, int, const TaskClass& task) override {
    const double cpu =
        static_cast<double>(node.cpu_free) / kMostCpuMilli * task.request.cpu_milli / kMostCpuMilli;
    const double gpu = static_cast<double>(node.free_milli()) / kMostGpuMilli *
                       task.request.total_milli() / kMostGpuMilli;
    return static_cast<int>(100.0 * (1.0 - (cpu + gpu) / 2));
  }
};

class ClusteringPolicy final : public TightestGpuPolicy {
 public:
  bool looks_beyond_state() const override { return true; }
  int Score(const Node& node, int, const TaskClass& task) override {
    const Request& request = task.request;
    if (request.cpu_only()) return 0;
    const size_t kind = request.whole() ? static_cast<size_t>(request.gpus) : 0;
    const int kinds = static_cast<int>(
        std::count_if(node.running.begin(), node.running.end(), [](int n) { return n > 0; }));
    int base = 0;  // among others
    if (node.running[kind] > 0) {
      base = kinds == 1 ? 75 : 50;  // among its own kind only, or too
    } else if (kinds == 0) {
      base = 25;  // where nothing runs
    }
    return base + 25 * (kMostGpuMilli - node.free_milli()) / kMostGpuMilli;
  }
};

class PackingPolicy final : public TightestGpuPolicy {
 public:
  int Score(const Node& node, int, const TaskClass& task) override {
    const Request& request = task.request;
    if (request.cpu_only()) return 0;
    if (request.mig != 0) return OfInstance(node, request);
    const int untouched = CountWithFree(node, kGpuMilli);
    if (untouched == node.gpus) return std::max(100 / 3 - untouched, untouched);
    const GpuSet chosen = TightestGpus(node, request);
    int opened = 0;
    int free_percent = 0;
    for (size_t g = 0; g < node.gpus; ++g) {
      if ((chosen >> g & 1) == 0) continue;
      opened += node.gpu_free[g] == kGpuMilli ? 1 : 0;
      free_percent += node.gpu_free[g] * 100 / kGpuMilli;
    }
    if (opened > 0) return std::max(100 / 2 - opened, 100 / 3);
    return std::max(100 - free_percent / 10, 100 / 2);
  }

 private:
  // The same order: GPUs in use, free ones of nodes in use, empty nodes.
  static int OfInstance(const Node& node, const Request& request) {
    const size_t g = static_cast<size_t>(TightestSpot(node, request).gpu);
    if (node.mig_gpus[g].slots != 0) return 100 - node.mig_free_milli(g) / 100;
    return CountWithFree(node, kGpuMilli) == node.gpus ? 100 / 3 : 100 / 2;
  }
};

class FgdPolicy final : public Policy {
 public:
  explicit FgdPolicy(const std::vector<WeightedRequest>& mix) : fragmentation_(mix) {}

  int Score(const Node& node, int, const TaskClass& task) override {
    return task.request.mig != 0 ? OfInstance(node, task.request).score
                                 : Evaluate(node, task.request).score;
  }
  GpuSet ChooseGpus(const Node& node, int, const TaskClass& task) override {
    return Evaluate(node, task.request).gpus;
  }
  MigSpot ChooseSpot(const Node& node, int, const TaskClass& task) override {
    return OfInstance(node, task.request).spot;
  }

 private:
  struct Choice {
    int score = 0;
    GpuSet gpus = 0;
    MigSpot spot = {};
  };

  // Every place that would do, by the same measure.
  Choice OfInstance(const Node& node, const Request& request) const {
    const double before = fragmentation_.OfNode(node);
    Choice best;
    for (size_t g = 0; g < node.gpus; ++g) {
      for (size_t place = 0; place < node.mig->places.size(); ++place) {
        if (!Serves(*node.mig, node.mig_gpus[g], place, request.mig) || !node.HasPlace(g, place)) {
          continue;
        }
        Node after = node;
        Take(&after, request, static_cast<GpuSet>(1u << g), static_cast<int>(place), 1);
        const int score = Points(before - fragmentation_.OfNode(after));
        if (best.spot.place >= 0 && score <= best.score) continue;
        best = {
            score, static_cast<GpuSet>(1u << g), {static_cast<int>(g), static_cast<int>(place)}};
      }
    }
    return best;
  }

  static int Points(double lost_less) {
    return static_cast<int>(100.0 / (1.0 + std::exp(-lost_less / kGpuMilli)));
  }

  Choice Evaluate(const Node& node, const Request& request) const {
    const double before = fragmentation_.OfNode(node);
    Node after = node;
    after.cpu_free -= request.cpu_milli;
    if (request.gpus != 1 || request.whole()) {
      const GpuSet gpus = TightestGpus(node, request);
      for (size_t g = 0; g < node.gpus; ++g) {
        if ((gpus >> g & 1) == 0) continue;
        after.gpu_free[g] = static_cast<int16_t>(node.gpu_free[g] - request.gpu_milli);
      }
      return {Points(before - fragmentation_.OfNode(after)), gpus};
    }
    std::optional<Choice> best;
    for (size_t g = 0; g < node.gpus; ++g) {
      const int16_t left = node.gpu_free[g];
      if (left < request.gpu_milli) continue;
      // An equal GPU before it gave the same.
      if (std::find(node.gpu_free.begin(), node.gpu_free.begin() + g, left) !=
          node.gpu_free.begin() + g) {
        continue;
      }
      after.gpu_free[g] = static_cast<int16_t>(left - request.gpu_milli);
      const int score = Points(before - fragmentation_.OfNode(after));
      after.gpu_free[g] = left;
      if (!best || score > best->score) best = Choice{score, static_cast<GpuSet>(1u << g)};
    }
    return best.value_or(Choice{});
  }

  Fragmentation fragmentation_;
};

}  // namespace

std::unique_ptr<Policy> MakeRandomPolicy(uint64_t seed) {
  return std::make_unique<RandomPolicy>(seed);
}
std::unique_ptr<Policy> MakeBestFitPolicy() { return std::make_unique<BestFitPolicy>(); }
std::unique_ptr<Policy> MakeDotProductPolicy() { return std::make_unique<DotProductPolicy>(); }
std::unique_ptr<Policy> MakeClusteringPolicy() { return std::make_unique<ClusteringPolicy>(); }
std::unique_ptr<Policy> MakePackingPolicy() { return std::make_unique<PackingPolicy>(); }
std::unique_ptr<Policy> MakeFgdPolicy(const std::vector<WeightedRequest>& mix) {
  return std::make_unique<FgdPolicy>(mix);
}

}  // namespace tranche::placement
