#include "decide/fleet/local_search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

namespace tranche::fleet {
namespace {

// GPUs in use that an item is tried on, besides those that were just emptied.
constexpr size_t kSample = 8;
constexpr double kLeftOut = 1000;  // GPUs that leaving an item out is as dear as

struct Item {
  int item_class = 0;
  int way = 0;
};

// How many instances of each shape, eight bits for each, the highest of which stays free: so that a
// few subtractions tell whether some are no more than others. What a layout has beyond 127 of one
// shape is not used.
class Counts {
 public:
  Counts() = default;
  explicit Counts(size_t shapes) : words_((shapes + 7) / 8, 0) {}
  explicit Counts(const std::vector<int>& counts) : Counts(counts.size()) {
    for (size_t s = 0; s < counts.size(); ++s) {
      words_[s / 8] |= static_cast<uint64_t>(std::clamp(counts[s], 0, 127)) << (s % 8 * 8);
    }
  }

  void AddOne(int shape) {
    uint64_t& word = words_[WordOf(shape)];
    if ((word / OneOf(shape) & 0x7f) < 0x7f) word += OneOf(shape);
  }
  // Whether `some`, and one more of a shape, are no more than these.
  bool Holds(const Counts& some) const { return Holds(some, words_.size(), 0); }
  bool HoldsOneMore(const Counts& some, int shape) const {
    return Holds(some, WordOf(shape), OneOf(shape));
  }

 private:
  static size_t WordOf(int shape) { return static_cast<size_t>(shape) / 8; }
  static uint64_t OneOf(int shape) { return uint64_t{1} << (static_cast<size_t>(shape) % 8 * 8); }
  bool Holds(const Counts& some, size_t word, uint64_t more) const {
    constexpr uint64_t kFree = 0x8080808080808080;
    const uint64_t* const theirs = some.words_.data();
    const uint64_t* const ours = words_.data();
    for (size_t w = 0, all = words_.size(); w < all; ++w) {
      const uint64_t wanted = theirs[w] + (w == word ? more : 0);
      if ((((ours[w] | kFree) - wanted) & kFree) != kFree) return false;
    }
    return true;
  }

  std::vector<uint64_t> words_;
};

// A GPU in use, or the several of one item.
struct Gpu {
  int kind = 0;
  int gpus = 1;
  Way::Use use = Way::Use::kWhole;
  Counts counts;  // of instances
  Share left;
  int circle = 0;
  double parts = 0;  // of its price that its items are worth
  std::vector<Item> items;
};

class LocalSearch {
 public:
  LocalSearch(const Problem& problem, const Answer& start,
              const std::vector<std::vector<double>>& parts, int64_t work, uint64_t seed,
              int64_t enough)
      : problem_(problem),
        counted_(CountedBy(problem)),
        work_(work),
        enough_(static_cast<double>(enough)),
        random_(seed),
        parts_(parts) {
    for (const GpuKind& kind : problem.kinds) {
      left_.push_back(kind.count);
      dearest_ = std::max(dearest_, static_cast<double>(kind.price));
      layouts_.emplace_back();
      for (const std::vector<int>& layout : kind.layouts) layouts_.back().emplace_back(layout);
    }
    for (size_t c = 0; c < problem.classes.size(); ++c) {
      const ItemClass& item = problem.classes[c];
      on_kind_.emplace_back(problem.kinds.size());
      for (size_t w = 0; w < item.ways.size(); ++w) {
        on_kind_.back()[static_cast<size_t>(item.ways[w].kind)].push_back(static_cast<int>(w));
      }
      size_.push_back(parts[c].empty() ? 0 : *std::min_element(parts[c].begin(), parts[c].end()));
    }
    Load(start);
  }

  Answer Run() {
    std::vector<Gpu> best = gpus_;
    std::vector<int> best_out = out_;
    double current = Objective(), best_cost = Cost();
    while (work_ > 0 && gpus_.size() > 1 && best_cost > enough_ + 1e-6) {
      // What to go back to.
      undo_gpus_.clear();
      undo_count_ = gpus_.size();
      undo_out_ = out_;
      undo_left_ = left_;
      Ruin();
      Recreate();
      const double now = Objective();
      if (now > current + 1e-9) {
        Undo();
        continue;
      }
      current = now;
      const double cost = Cost();
      if (cost < best_cost - 1e-6) {
        best_cost = cost;
        best = gpus_;
        best_out = out_;
      }
    }
    gpus_ = std::move(best);
    out_ = std::move(best_out);
    return Made();
  }

 private:
  size_t Pick(size_t n) { return static_cast<size_t>(random_() % n); }
  double Draw() { return static_cast<double>(random_() >> 11) * 0x1p-53; }

  const GpuKind& KindOf(const Gpu& gpu) const {
    return problem_.kinds[static_cast<size_t>(gpu.kind)];
  }
  const Way& WayOf(const Item& item) const {
    return problem_.classes[static_cast<size_t>(item.item_class)]
        .ways[static_cast<size_t>(item.way)];
  }
  double PartOf(const Item& item) const {
    return parts_[static_cast<size_t>(item.item_class)][static_cast<size_t>(item.way)];
  }

  double CostOf(const Gpu& gpu) const { return static_cast<double>(KindOf(gpu).price) * gpu.gpus; }
  // A GPU is worth keeping by how full it is: of two answers at one cost the one with fuller and
  // emptier GPUs is nearer to one with fewer.
  double WorthOf(const Gpu& gpu) const {
    const double cost = CostOf(gpu);
    if (cost <= 0) return 0;
    const double fill = std::min(1.0, gpu.parts / cost);
    return cost * (1 - 0.25 * fill * fill);
  }
  double Objective() const {
    double sum = kLeftOut * dearest_ * static_cast<double>(out_.size());
    for (const Gpu& gpu : gpus_) sum += WorthOf(gpu);
    return sum;
  }
  double Cost() const {
    double sum = kLeftOut * dearest_ * static_cast<double>(out_.size());
    for (const Gpu& gpu : gpus_) sum += CostOf(gpu);
    return sum;
  }

  Gpu Empty(const Way& way, int gpus) const {
    const GpuKind& kind = problem_.kinds[static_cast<size_t>(way.kind)];
    Gpu gpu;
    gpu.kind = way.kind;
    gpu.gpus = gpus;
    gpu.use = way.use;
    gpu.left = kind.whole();
    if (way.use == Way::Use::kInstance && !kind.layouts.empty()) {
      gpu.counts = Counts(kind.layouts.front().size());
    }
    return gpu;
  }

  bool Fits(const Gpu& gpu, const Way& way, int gpus) {
    --work_;
    if (gpu.kind != way.kind || gpu.use != way.use || gpu.gpus != gpus) return false;
    switch (way.use) {
      case Way::Use::kWhole:
        return gpu.items.empty();
      case Way::Use::kShare:
        return gpu.left.Holds(way.share) && (gpu.items.empty() || gpu.circle == way.circle);
      case Way::Use::kInstanceShare:
        return false;  // only ever in bundles
      case Way::Use::kInstance:
        for (const Counts& layout : layouts_[static_cast<size_t>(gpu.kind)]) {
          if (layout.HoldsOneMore(gpu.counts, way.shape)) return true;
        }
        return false;
    }
    return false;
  }

  void Put(const Item& item, Gpu* gpu) const {
    const Way& way = WayOf(item);
    if (way.use == Way::Use::kInstance) gpu->counts.AddOne(way.shape);
    if (way.use == Way::Use::kShare) {
      gpu->left -= way.share;
      gpu->circle = way.circle;
    }
    gpu->parts += PartOf(item);
    gpu->items.push_back(item);
  }

  void Load(const Answer& start) {
    for (const Used& used : start.used) {
      const Used::Content& first = used.contents.front();
      const Way& way = problem_.classes[static_cast<size_t>(first.item_class)]
                           .ways[static_cast<size_t>(first.way)];
      Gpu gpu = Empty(way, used.gpus);
      for (const Used::Content& content : used.contents) {
        for (int64_t n = 0; n < content.count; ++n) Put({content.item_class, content.way}, &gpu);
      }
      left_[counted_[static_cast<size_t>(gpu.kind)]] -= gpu.gpus;
      gpus_.push_back(std::move(gpu));
    }
    for (size_t c = 0; c < start.left_out.size(); ++c) {
      out_.insert(out_.end(), static_cast<size_t>(start.left_out[c]), static_cast<int>(c));
    }
  }

  // Before a GPU is changed for the first time in this step.
  void Save(size_t g) {
    if (g >= undo_count_) return;
    for (const auto& [at, gpu] : undo_gpus_) {
      if (at == g) return;
    }
    undo_gpus_.emplace_back(g, gpus_[g]);
  }
  void Undo() {
    gpus_.resize(undo_count_);
    for (auto& [at, gpu] : undo_gpus_) gpus_[at] = std::move(gpu);
    out_ = undo_out_;
    left_ = undo_left_;
  }

  // Empties some GPUs: poorly filled ones more often.
  void Ruin() {
    waiting_.assign(out_.begin(), out_.end());
    out_.clear();
    touched_.clear();
    const size_t some = std::min(gpus_.size(), 2 + Pick(3));
    for (size_t n = 0; n < some; ++n) {
      size_t g = Pick(gpus_.size());
      for (int again = 0; again < 2; ++again) {
        const size_t other = Pick(gpus_.size());
        if (gpus_[other].parts * CostOf(gpus_[g]) < gpus_[g].parts * CostOf(gpus_[other])) {
          g = other;
        }
      }
      if (gpus_[g].items.empty()) continue;
      Save(g);
      Gpu& gpu = gpus_[g];
      for (const Item& item : gpu.items) waiting_.push_back(item.item_class);
      left_[counted_[static_cast<size_t>(gpu.kind)]] += gpu.gpus;
      gpu.items.clear();
      gpu.parts = 0;
      gpu.gpus = 0;  // nobody's
    }
  }

  void Recreate() {
    // The largest first, more or less.
    std::vector<std::pair<double, int>> order;
    const double noise = Draw() < 0.5 ? 0 : 0.4 * Draw();
    for (const int c : waiting_) {
      order.emplace_back(size_[static_cast<size_t>(c)] * (1 - noise * Draw()), c);
    }
    std::stable_sort(order.begin(), order.end(),
                     [](const auto& a, const auto& b) { return a.first > b.first; });
    // How much of a GPU that is in use anyway counts as taken.
    thrift_ = Draw();
    for (const auto& [size, c] : order) PlaceOne(c);
    // GPUs that stayed empty go; the order of the others is of no meaning, but has to be kept for
    // Undo, which takes only those that were there.
    Compact();
  }

  void PlaceOne(int c) {
    const ItemClass& item = problem_.classes[static_cast<size_t>(c)];
    size_t best = gpus_.size();
    int best_way = -1;
    double least = std::numeric_limits<double>::infinity();
    const auto try_on = [&](size_t g) {
      const Gpu& gpu = gpus_[g];
      if (gpu.gpus == 0) return;
      for (const int w : on_kind_[static_cast<size_t>(c)][static_cast<size_t>(gpu.kind)]) {
        if (!Fits(gpu, item.ways[static_cast<size_t>(w)], item.gpus)) continue;
        const double part = parts_[static_cast<size_t>(c)][static_cast<size_t>(w)];
        const double room = CostOf(gpu) - gpu.parts - part;
        const double score = thrift_ * part + (1 - thrift_) * std::max(0.0, room);
        if (score < least) {
          least = score;
          best = g;
          best_way = w;
        }
      }
    };
    if (item.gpus == 1) {
      for (const size_t g : touched_) try_on(g);
      for (size_t n = 0; n < kSample; ++n) try_on(Pick(gpus_.size()));
    }
    if (best_way < 0) {
      // A new one, where a part costs least, more or less.
      for (size_t w = 0; w < item.ways.size(); ++w) {
        const Way& way = item.ways[w];
        --work_;
        if (left_[counted_[static_cast<size_t>(way.kind)]] < item.gpus) continue;
        const double score = parts_[static_cast<size_t>(c)][w] * (1 + 0.15 * Draw());
        if (score >= least || !Fits(Empty(way, item.gpus), way, item.gpus)) continue;
        least = score;
        best_way = static_cast<int>(w);
      }
      if (best_way < 0) {
        out_.push_back(c);
        return;
      }
      const Way& way = item.ways[static_cast<size_t>(best_way)];
      left_[counted_[static_cast<size_t>(way.kind)]] -= item.gpus;
      best = FreePlace();
      gpus_[best] = Empty(way, item.gpus);
      touched_.push_back(best);
    }
    Save(best);
    Put({c, best_way}, &gpus_[best]);
  }

  size_t FreePlace() {
    for (const auto& [at, gpu] : undo_gpus_) {
      if (gpus_[at].gpus == 0) return at;
    }
    gpus_.emplace_back();
    return gpus_.size() - 1;
  }

  // Moves the last into the places of those that are nobody's.
  void Compact() {
    for (size_t g = 0; g < gpus_.size();) {
      if (gpus_[g].gpus != 0) {
        ++g;
        continue;
      }
      const size_t last = gpus_.size() - 1;
      if (g != last) {
        Save(last);
        gpus_[g] = std::move(gpus_[last]);
      }
      gpus_.pop_back();
    }
  }

  Answer Made() const {
    Answer answer;
    answer.left_out.assign(problem_.classes.size(), 0);
    for (const int c : out_) ++answer.left_out[static_cast<size_t>(c)];
    for (const Gpu& gpu : gpus_) {
      const GpuKind& kind = KindOf(gpu);
      Used used;
      used.kind = gpu.kind;
      used.gpus = gpu.gpus;
      if (gpu.use == Way::Use::kInstance) {
        const std::vector<Counts>& layouts = layouts_[static_cast<size_t>(gpu.kind)];
        for (size_t l = 0; l < layouts.size() && used.layout < 0; ++l) {
          if (layouts[l].Holds(gpu.counts)) used.layout = static_cast<int>(l);
        }
      }
      std::vector<Item> items = gpu.items;
      std::sort(items.begin(), items.end(), [](const Item& a, const Item& b) {
        return std::pair(a.item_class, a.way) < std::pair(b.item_class, b.way);
      });
      for (const Item& item : items) {
        std::vector<Used::Content>& contents = used.contents;
        if (!contents.empty() && contents.back().item_class == item.item_class &&
            contents.back().way == item.way) {
          ++contents.back().count;
        } else {
          contents.push_back({item.item_class, item.way, 1});
        }
      }
      answer.cost += kind.price * gpu.gpus;
      answer.used.push_back(std::move(used));
    }
    return answer;
  }

  const Problem& problem_;
  const std::vector<size_t> counted_;
  int64_t work_;
  const double enough_;
  std::mt19937_64 random_;
  double dearest_ = 1;
  double thrift_ = 0.5;
  const std::vector<std::vector<double>>& parts_;       // of each class, by way
  std::vector<std::vector<std::vector<int>>> on_kind_;  // ways of each class, by kind
  std::vector<double> size_;                            // of each class
  std::vector<std::vector<Counts>> layouts_;            // of each kind
  std::vector<int64_t> left_;                           // GPUs of each kind
  std::vector<Gpu> gpus_;
  std::vector<int> out_;      // classes of the items that have no place
  std::vector<int> waiting_;  // likewise, while a step is made
  std::vector<size_t> touched_;
  std::vector<std::pair<size_t, Gpu>> undo_gpus_;
  size_t undo_count_ = 0;
  std::vector<int> undo_out_;
  std::vector<int64_t> undo_left_;
};

}  // namespace

Answer Improve(const Problem& problem, const Answer& start,
               const std::vector<std::vector<double>>& parts, int64_t work, uint64_t seed,
               int64_t enough) {
  Answer answer = LocalSearch(problem, start, parts, work, seed, enough).Run();
  answer.lower_bound = std::min(start.lower_bound, answer.cost);
  return answer;
}

}  // namespace tranche::fleet
