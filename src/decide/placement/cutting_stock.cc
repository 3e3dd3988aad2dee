#include "decide/placement/cutting_stock.h"

#include <algorithm>
#include <cstddef>

namespace tranche::placement {
namespace {

constexpr double kEpsilon = 1e-9;
constexpr int kMostPivots = 5000;  // hundreds are usual; the prices of the last basis then stand

// The basis of the revised simplex method, as its inverse.
class Basis {
 public:
  // One stock per kind of piece, cut into as many of it as it holds.
  Basis(const std::vector<double>& counts, const std::vector<int>& alone)
      : rows_(counts.size()), inverse_(rows_ * rows_, 0.0), values_(rows_), costs_(rows_, 1.0) {
    for (size_t i = 0; i < rows_; ++i) {
      inverse_[i * rows_ + i] = 1.0 / alone[i];
      values_[i] = counts[i] * inverse_[i * rows_ + i];
    }
  }

  std::vector<double> Duals() const {
    std::vector<double> duals(rows_, 0.0);
    for (size_t i = 0; i < rows_; ++i) {
      if (costs_[i] == 0) continue;
      for (size_t j = 0; j < rows_; ++j) duals[j] += costs_[i] * inverse_[i * rows_ + j];
    }
    return duals;
  }

  // False when nothing would have to leave.
  bool Enter(const std::vector<double>& column, double cost) {
    std::vector<double> change(rows_, 0.0);
    for (size_t i = 0; i < rows_; ++i) {
      for (size_t j = 0; j < rows_; ++j) change[i] += inverse_[i * rows_ + j] * column[j];
    }
    size_t leaves = rows_;
    double least = 0;
    for (size_t i = 0; i < rows_; ++i) {
      if (change[i] <= kEpsilon) continue;
      const double ratio = values_[i] / change[i];
      if (leaves == rows_ || ratio < least - kEpsilon) {
        leaves = i;
        least = ratio;
      }
    }
    if (leaves == rows_) return false;
    const double pivot = change[leaves];
    for (size_t j = 0; j < rows_; ++j) inverse_[leaves * rows_ + j] /= pivot;
    values_[leaves] /= pivot;
    for (size_t i = 0; i < rows_; ++i) {
      if (i == leaves || change[i] == 0) continue;
      for (size_t j = 0; j < rows_; ++j) {
        inverse_[i * rows_ + j] -= change[i] * inverse_[leaves * rows_ + j];
      }
      values_[i] = std::max(0.0, values_[i] - change[i] * values_[leaves]);
    }
    costs_[leaves] = cost;
    return true;
  }

 private:
  size_t rows_;
  std::vector<double> inverse_;
  std::vector<double> values_;
  std::vector<double> costs_;
};

// The most valuable way to cut one stock.
double BestCut(int capacity, const std::vector<StockDemand>& demands,
               const std::vector<double>& prices, std::vector<double>* cut) {
  std::vector<double> value(static_cast<size_t>(capacity) + 1, 0.0);
  std::vector<int> last(static_cast<size_t>(capacity) + 1, -1);
  for (int length = 1; length <= capacity; ++length) {
    const size_t at = static_cast<size_t>(length);
    value[at] = value[at - 1];
    for (size_t i = 0; i < demands.size(); ++i) {
      if (demands[i].size > length) continue;
      const double with = value[static_cast<size_t>(length - demands[i].size)] + prices[i];
      if (with > value[at] + kEpsilon) {
        value[at] = with;
        last[at] = static_cast<int>(i);
      }
    }
  }
  cut->assign(demands.size(), 0.0);
  for (int length = capacity; length > 0;) {
    const int piece = last[static_cast<size_t>(length)];
    if (piece < 0) {
      --length;
      continue;
    }
    (*cut)[static_cast<size_t>(piece)] += 1;
    length -= demands[static_cast<size_t>(piece)].size;
  }
  return value[static_cast<size_t>(capacity)];
}

}  // namespace

std::vector<double> CoveringPrices(
    const std::vector<double>& counts, const std::vector<int>& alone,
    const std::function<double(const std::vector<double>& prices, std::vector<double>* cut)>&
        best_cut) {
  Basis basis(counts, alone);
  std::vector<double> prices = basis.Duals();
  std::vector<double> column;
  for (int pivots = 0; pivots < kMostPivots; ++pivots) {
    // More of a piece than is asked for: enters where its price would be negative.
    const auto lowest = std::min_element(prices.begin(), prices.end());
    if (lowest == prices.end()) break;
    if (*lowest < -kEpsilon) {
      column.assign(prices.size(), 0.0);
      column[static_cast<size_t>(lowest - prices.begin())] = -1;
      if (!basis.Enter(column, 0.0)) break;
    } else {
      if (best_cut(prices, &column) <= 1 + 1e-7) break;
      if (!basis.Enter(column, 1.0)) break;
    }
    prices = basis.Duals();
  }
  for (double& price : prices) price = std::clamp(price, 0.0, 1.0);
  return prices;
}

std::vector<double> CuttingStockPrices(int capacity, const std::vector<StockDemand>& demands) {
  std::vector<double> counts;
  std::vector<int> alone;
  for (const StockDemand& demand : demands) {
    counts.push_back(demand.count);
    alone.push_back(capacity / demand.size);
  }
  return CoveringPrices(counts, alone,
                        [&](const std::vector<double>& prices, std::vector<double>* cut) {
                          return BestCut(capacity, demands, prices, cut);
                        });
}

}  // namespace tranche::placement
