#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <tuple>
#include <utility>
#include <vector>

#include "decide/fleet/linear_program.h"
#include "decide/fleet/problem.h"

namespace tranche::fleet {

// The linear program over ways to use a GPU. Rows: each class is placed or left out; instances of a
// shape are no more than the layouts have; GPUs of a kind no more than there are. Columns: a layout
// of a kind; items of a class in instances of a shape; whole GPUs for a class; a load of tenants
// that share a GPU, of which only those that are worth it are ever made; items left out.
//
// With whole numbers of GPUs in every use, what remains is a transport of items to instances, which
// has whole answers. So only uses are ever rounded; and before them tallies: how many GPUs of a
// kind are divided, how many are shared by one circle, and by how many of a class. A tally that is
// bound is not got round by yet another load.
class Master {
 public:
  explicit Master(const Problem& problem);

  // A way to use GPUs, or a tally of such, that a solution must have a whole number of.
  struct Use {
    int column = 0;
    int kind = 0;
    int gpus = 1;         // 0: a tally
    int layout = -1;      // a divided one
    int item_class = -1;  // a whole one; with `way`
    int way = 0;
    std::vector<Used::Content> contents;  // a shared one
  };
  const std::vector<Use>& uses() const { return uses_; }

  // Solves for all loads there are, not only those in it so far. False when no solution is within
  // the bounds of the uses.
  enum class Loads {
    kQuickly,  // looks for loads for a short while: what it costs may be a little less
    kAll,      // longer, so that little is left unproven
  };
  bool Solve(Loads loads);
  // Whether any item may share a GPU.
  bool shares() const { return !circles_.empty(); }
  // Whether a load was ever left aside because it is a use already, whose bound forbids more of it,
  // or not looked for to the end. Then not all there is was looked at.
  bool passed_over() const { return passed_over_; }
  // What it would cost, items left out included at `left_out_price` each, of the last Solve; and
  // what no solution within the bounds is below.
  double cost() const { return program_.objective(); }
  double bound() const { return bound_; }
  double value(size_t use) const { return program_.value(uses_[use].column); }
  double left_out() const;

  void SetBounds(size_t use, double lower, double upper);

  // From now on leaving out costs nothing, but no more than `most` may be.
  void AllowLeftOut(int64_t most);

  // The answer with so many of each use, its bound unset.
  Answer AnswerOf(const std::vector<int64_t>& counts) const;

  int64_t left_out_price() const { return left_out_price_; }
  // Work so far, in steps of the simplex algorithm; looking for loads counts likewise.
  int64_t steps() const { return program_.steps() + load_nodes_ / kNodesPerStep; }

 private:
  // Those who may share a GPU of a kind.
  struct Circle {
    int row = 0;                            // tallies its loads
    std::vector<Used::Content> candidates;  // all of each class
    std::vector<int> rows;                  // tally the items of each of them
  };

  static constexpr int64_t kNodesPerStep = 40;

  bool AddLoads(int64_t nodes);  // whether any was worth it
  bool AddLoad(int kind, const Circle& circle, const std::vector<int64_t>& counts);
  int AddTally(int kind);  // returns its row

  const Problem& problem_;
  LinearProgram program_;
  std::vector<Use> uses_;
  std::vector<int> demand_rows_;                   // of each class
  std::vector<int> count_rows_;                    // of each kind
  std::map<std::pair<int, int>, Circle> circles_;  // by kind and number
  std::set<std::pair<int, std::vector<std::tuple<int, int, int64_t>>>> loads_;  // that are uses
  bool passed_over_ = false;
  int64_t load_nodes_ = 0;
  int left_out_column_ = 0;  // of all classes together
  int64_t left_out_price_ = 0;
  double bound_ = 0;
  double not_proven_ = 0;  // what loads that were not looked for could save at most
};

}  // namespace tranche::fleet
