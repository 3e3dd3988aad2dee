#pragma once

#include <cstdint>
#include <memory>
#include <vector>

namespace tranche::fleet {

// A linear program that is minimised, again after every change from where it stood: the adapter of
// the solver (Clp). Columns and rows are named by their index, in the order in which they were
// added. Deterministic. Not safe from several threads.
class LinearProgram {
 public:
  struct Entry {
    int row = 0;
    double value = 0;
  };

  LinearProgram();
  ~LinearProgram();
  LinearProgram(LinearProgram&&) noexcept;
  LinearProgram& operator=(LinearProgram&&) noexcept;

  static constexpr double kInfinity = 1e30;

  int AddRow(double lower, double upper);
  int AddColumn(double cost, double lower, double upper, const std::vector<Entry>& entries);
  void SetBounds(int column, double lower, double upper);
  void SetCost(int column, double cost);

  int columns() const;
  double lower(int column) const;
  double upper(int column) const;

  // False when no solution is within the bounds, or the solver gave up; then the rest says nothing.
  bool Solve();
  double objective() const;
  double value(int column) const;
  // What one more of the row's right side would cost.
  double price(int row) const;
  // Simplex steps since the beginning, and one for each Solve: by which work is measured.
  int64_t steps() const { return steps_; }

 private:
  struct Model;
  std::unique_ptr<Model> model_;
  int64_t steps_ = 0;
};

}  // namespace tranche::fleet
