#pragma once

#include <functional>
#include <vector>

namespace tranche::placement {

struct StockDemand {
  int size = 0;      // 1..capacity
  double count = 0;  // > 0
};

// What a piece really costs where stock of one length is cut into pieces: the dual prices of the
// Gilmore-Gomory linear programme
//     min sum y_p   such that each size is cut often enough,   p over all ways to cut one stock,
// by column generation with a knapsack. In stocks per piece, beside `demands` (sizes distinct): 0
// for a size so small that it fits into what the others leave, 1 for one that uses up a stock.
std::vector<double> CuttingStockPrices(int capacity, const std::vector<StockDemand>& demands);

// The same where a stock is not a length: `alone` is how many of each piece one stock gives when it
// is cut into nothing else (at least 1), and `best_cut` fills in the most valuable cut at given
// prices, pieces of each kind, and returns its value.
std::vector<double> CoveringPrices(const std::vector<double>& counts, const std::vector<int>& alone,
                                   const std::function<double(const std::vector<double>& prices,
                                                              std::vector<double>* cut)>& best_cut);

}  // namespace tranche::placement
