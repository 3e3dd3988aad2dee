#include "decide/fleet/linear_program.h"

#include <coin/Clp_C_Interface.h>

namespace tranche::fleet {

struct LinearProgram::Model {
  Clp_Simplex* clp = Clp_newModel();
  bool solved = false;
  Model() {
    Clp_setLogLevel(clp, 0);
    Clp_dropNames(clp);
    Clp_scaling(clp, 0);  // counts and small prices: it would only cost time
    // Perturbing the costs would help with ties, and make the answer depend on the size of steps.
    Clp_setPerturbation(clp, 100);
  }
  Model(const Model&) = delete;
  Model& operator=(const Model&) = delete;
  ~Model() { Clp_deleteModel(clp); }
};

LinearProgram::LinearProgram() : model_(std::make_unique<Model>()) {}
LinearProgram::~LinearProgram() = default;
LinearProgram::LinearProgram(LinearProgram&&) noexcept = default;
LinearProgram& LinearProgram::operator=(LinearProgram&&) noexcept = default;

int LinearProgram::AddRow(double lower, double upper) {
  const CoinBigIndex starts[] = {0, 0};
  const int nothing = 0;
  const double none = 0;
  Clp_addRows(model_->clp, 1, &lower, &upper, starts, &nothing, &none);
  return Clp_numberRows(model_->clp) - 1;
}

int LinearProgram::AddColumn(double cost, double lower, double upper,
                             const std::vector<Entry>& entries) {
  std::vector<int> rows;
  std::vector<double> values;
  for (const Entry& entry : entries) {
    rows.push_back(entry.row);
    values.push_back(entry.value);
  }
  const CoinBigIndex starts[] = {0, static_cast<CoinBigIndex>(entries.size())};
  Clp_addColumns(model_->clp, 1, &lower, &upper, &cost, starts, rows.data(), values.data());
  return Clp_numberColumns(model_->clp) - 1;
}

void LinearProgram::SetBounds(int column, double lower, double upper) {
  Clp_columnLower(model_->clp)[column] = lower;
  Clp_columnUpper(model_->clp)[column] = upper;
}

void LinearProgram::SetCost(int column, double cost) { Clp_objective(model_->clp)[column] = cost; }

int LinearProgram::columns() const { return Clp_numberColumns(model_->clp); }
double LinearProgram::lower(int column) const { return Clp_columnLower(model_->clp)[column]; }
double LinearProgram::upper(int column) const { return Clp_columnUpper(model_->clp)[column]; }

bool LinearProgram::Solve() {
  // After a change of bounds the last basis is still dual feasible, after a new column primal
  // feasible; Clp's dual simplex copes with either, and starts from it.
  Clp_dual(model_->clp, 0);
  steps_ += Clp_numberIterations(model_->clp) + 1;
  if (Clp_status(model_->clp) == 0) return true;
  if (Clp_status(model_->clp) == 1) return false;
  Clp_primal(model_->clp, 0);
  steps_ += Clp_numberIterations(model_->clp);
  return Clp_status(model_->clp) == 0;
}

double LinearProgram::objective() const { return Clp_objectiveValue(model_->clp); }
double LinearProgram::value(int column) const {
  return Clp_primalColumnSolution(model_->clp)[column];
}
double LinearProgram::price(int row) const { return Clp_dualRowSolution(model_->clp)[row]; }

}  // namespace tranche::fleet
