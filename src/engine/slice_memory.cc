#include "engine/slice_memory.h"

namespace tranche {
namespace {

// Of a receipt beside the next in which anything was asked for: after 14 such it counts half.
constexpr double kFading = 0.95;

bool AskedFor(const Step& step) {
  if (!step.slice || step.slice->profile.empty()) return false;
  if (step.kind == StepKind::kCreateInstance) return step.by_hand;
  return step.kind == StepKind::kStartReplica && step.change == Change::kCreate &&
         step.slice->mechanism == Mechanism::kMig;
}

}  // namespace

std::map<std::string, double> SlicesSeen(const std::vector<Receipt>& receipts) {
  std::map<std::string, double> seen;
  double weight = 1;
  for (const Receipt& receipt : receipts) {
    bool asked = false;
    for (const StepReceipt& one : receipt.steps) {
      // Also what failed was asked for.
      if (!AskedFor(one.step)) continue;
      seen[one.step.slice->profile] += weight;
      asked = true;
    }
    if (asked) weight *= kFading;
  }
  return seen;
}

}  // namespace tranche
