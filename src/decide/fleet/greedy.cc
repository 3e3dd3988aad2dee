#include "decide/fleet/greedy.h"

#include <algorithm>
#include <numeric>

namespace tranche::fleet {
namespace {

// A GPU in use. Divided: how many instances of each shape it holds, and which layouts still hold
// them all.
struct Open {
  int kind = 0;
  Way::Use use = Way::Use::kWhole;
  std::vector<int> counts;
  std::vector<int> layouts;
  Share left;
  int circle = 0;
  Used used;
};

class Greedy {
 public:
  explicit Greedy(const Problem& problem) : problem_(problem), counted_(CountedBy(problem)) {
    for (const GpuKind& kind : problem.kinds) left_.push_back(kind.count);
  }

  Answer Run() {
    Answer answer;
    answer.left_out.assign(problem_.classes.size(), 0);
    for (const int c : Order()) {
      const ItemClass& item = problem_.classes[static_cast<size_t>(c)];
      // A GPU that one item of a class does not fit on holds none of the later ones either.
      size_t first = 0;
      int64_t placed = 0;
      while (placed < item.count && PlaceOne(c, &first)) ++placed;
      answer.left_out[static_cast<size_t>(c)] = item.count - placed;
    }
    for (Open& open : open_) {
      if (open.use == Way::Use::kInstance) open.used.layout = open.layouts.front();
      answer.cost += open.used.gpus * problem_.kinds[static_cast<size_t>(open.kind)].price;
      answer.used.push_back(std::move(open.used));
    }
    return answer;
  }

 private:
  std::vector<int> Order() const {
    std::vector<double> size;
    for (const ItemClass& item : problem_.classes) {
      double least = 0;
      for (size_t w = 0; w < item.ways.size(); ++w) {
        const double part =
            PriceOfPart(problem_.kinds[static_cast<size_t>(item.ways[w].kind)], item.ways[w]) *
            item.gpus;
        if (w == 0 || part < least) least = part;
      }
      size.push_back(least);
    }
    std::vector<int> order(problem_.classes.size());
    std::iota(order.begin(), order.end(), 0);
    std::stable_sort(order.begin(), order.end(), [&](int a, int b) {
      return size[static_cast<size_t>(a)] > size[static_cast<size_t>(b)];
    });
    return order;
  }

  bool PlaceOne(int c, size_t* first) {
    const ItemClass& item = problem_.classes[static_cast<size_t>(c)];
    for (; item.gpus == 1 && *first < open_.size(); ++*first) {
      for (size_t w = 0; w < item.ways.size(); ++w) {
        if (Put(c, static_cast<int>(w), &open_[*first])) return true;
      }
    }
    int best = -1;
    double least = 0;
    for (size_t w = 0; w < item.ways.size(); ++w) {
      const Way& way = item.ways[w];
      const size_t k = static_cast<size_t>(way.kind);
      if (left_[counted_[k]] < item.gpus) continue;
      Open trial = NewOf(way.kind, way.use, item.gpus);
      const double part = PriceOfPart(problem_.kinds[k], way);
      if ((best < 0 || part < least) && Put(c, static_cast<int>(w), &trial)) {
        best = static_cast<int>(w);
        least = part;
      }
    }
    if (best < 0) return false;
    const Way& way = item.ways[static_cast<size_t>(best)];
    open_.push_back(NewOf(way.kind, way.use, item.gpus));
    Put(c, best, &open_.back());
    left_[counted_[static_cast<size_t>(way.kind)]] -= item.gpus;
    return true;
  }

  Open NewOf(int k, Way::Use use, int gpus) const {
    const GpuKind& kind = problem_.kinds[static_cast<size_t>(k)];
    Open open;
    open.kind = k;
    open.use = use;
    open.left = kind.whole();
    open.used.kind = k;
    open.used.gpus = gpus;
    if (use == Way::Use::kInstance && !kind.layouts.empty()) {
      open.counts.assign(kind.layouts.front().size(), 0);
      open.layouts.resize(kind.layouts.size());
      std::iota(open.layouts.begin(), open.layouts.end(), 0);
    }
    return open;
  }

  bool Put(int c, int w, Open* open) const {
    const ItemClass& item = problem_.classes[static_cast<size_t>(c)];
    const Way& way = item.ways[static_cast<size_t>(w)];
    if (way.kind != open->kind || way.use != open->use || item.gpus != open->used.gpus)
      return false;
    const GpuKind& kind = problem_.kinds[static_cast<size_t>(open->kind)];
    switch (way.use) {
      case Way::Use::kWhole:
        if (!open->used.contents.empty()) return false;
        break;
      case Way::Use::kInstance: {
        const size_t shape = static_cast<size_t>(way.shape);
        const int wanted = open->counts[shape] + 1;
        std::vector<int> still;
        for (const int layout : open->layouts) {
          if (kind.layouts[static_cast<size_t>(layout)][shape] >= wanted) still.push_back(layout);
        }
        if (still.empty()) return false;
        open->counts[shape] = wanted;
        open->layouts = std::move(still);
        break;
      }
      case Way::Use::kShare:
        if (!open->used.contents.empty() && open->circle != way.circle) return false;
        if (!open->left.Holds(way.share)) return false;
        open->left -= way.share;
        open->circle = way.circle;
        break;
      case Way::Use::kInstanceShare:
        return false;  // only ever in bundles
    }
    std::vector<Used::Content>& contents = open->used.contents;
    if (!contents.empty() && contents.back().item_class == c && contents.back().way == w) {
      ++contents.back().count;
    } else {
      contents.push_back({c, w, 1});
    }
    return true;
  }

  const Problem& problem_;
  const std::vector<size_t> counted_;
  std::vector<int64_t> left_;  // of each kind
  std::vector<Open> open_;
};

}  // namespace

double PriceOfPart(const GpuKind& kind, const Way& way) {
  const double price = static_cast<double>(kind.price);
  if (way.use == Way::Use::kWhole) return price;
  if (way.use == Way::Use::kShare) {
    return price * std::max(static_cast<double>(way.share.memory) /
                                static_cast<double>(std::max<int64_t>(1, kind.memory)),
                            static_cast<double>(way.share.compute) /
                                static_cast<double>(std::max<int64_t>(1, kind.compute)));
  }
  int most = 0;
  for (const std::vector<int>& layout : kind.layouts) {
    most = std::max(most, layout[static_cast<size_t>(way.shape)]);
  }
  return most == 0 ? price : price / most;
}

Answer FirstFitDecreasing(const Problem& problem) { return Greedy(problem).Run(); }

}  // namespace tranche::fleet
