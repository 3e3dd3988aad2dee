#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "decide/serving/replicas.h"

namespace tranche::serving {
namespace {

constexpr double kTolerance = 1e-9;
constexpr int64_t kNodes = 20000;

// Branch and bound: the ways by price for what they bear, the most of the best first. The rest is
// never cheaper than at the best price of the ways that are left.
class Search {
 public:
  Search(double per_second, const std::vector<Offer>& offers)
      : offers_(offers), slack_(kTolerance * per_second) {
    for (size_t i = 0; i < offers.size(); ++i) {
      if (offers[i].capacity > 0 && offers[i].most > 0) order_.push_back(i);
    }
    std::stable_sort(order_.begin(), order_.end(),
                     [&](size_t a, size_t b) { return Rate(a) < Rate(b); });
    counts_.assign(offers.size(), 0);
  }

  Cover Run(double per_second) {
    best_.price = std::numeric_limits<double>::infinity();
    open_ = std::numeric_limits<double>::infinity();
    Visit(0, per_second, 0);
    if (best_.counts.empty()) return {};
    best_.bound = std::min(best_.price, open_);
    return best_;
  }

 private:
  double Rate(size_t i) const { return offers_[i].price / offers_[i].capacity; }

  // What is left, borne by the cheapest ways that are left, cut as needed.
  double BoundFrom(size_t depth, double left, double price) const {
    for (; depth < order_.size(); ++depth) {
      const Offer& offer = offers_[order_[depth]];
      const double all = offer.capacity * static_cast<double>(offer.most);
      if (all >= left) return price + left * Rate(order_[depth]);
      left -= all;
      price += offer.price * static_cast<double>(offer.most);
    }
    return left <= slack_ ? price : std::numeric_limits<double>::infinity();
  }

  void Visit(size_t depth, double left, double price) {
    if (left <= slack_) {
      if (price < best_.price - kTolerance) {
        best_.price = price;
        best_.counts = counts_;
      }
      return;
    }
    if (depth == order_.size()) return;
    const size_t i = order_[depth];
    const double bound = BoundFrom(depth, left, price);
    if (bound >= best_.price - kTolerance) return;
    if (++nodes_ > kNodes && !best_.counts.empty()) {
      open_ = std::min(open_, bound);
      return;
    }
    const Offer& offer = offers_[i];
    const int64_t most =
        std::min(offer.most, static_cast<int64_t>(std::ceil((left - slack_) / offer.capacity)));
    for (int64_t n = most; n >= 0; --n) {
      const double rest = left - static_cast<double>(n) * offer.capacity;
      const double so_far = price + static_cast<double>(n) * offer.price;
      // With fewer of this way the rest is borne by dearer ones: the bound only grows.
      if (n < most && rest > slack_ &&
          BoundFrom(depth + 1, rest, so_far) >= best_.price - kTolerance) {
        break;
      }
      counts_[i] = n;
      Visit(depth + 1, rest, so_far);
    }
    counts_[i] = 0;
  }

  const std::vector<Offer>& offers_;
  const double slack_;
  std::vector<size_t> order_;
  std::vector<int64_t> counts_;
  int64_t nodes_ = 0;
  double open_ = 0;
  Cover best_;
};

}  // namespace

Cover CheapestCover(double per_second, const std::vector<Offer>& offers) {
  return Search(per_second, offers).Run(per_second);
}

}  // namespace tranche::serving
