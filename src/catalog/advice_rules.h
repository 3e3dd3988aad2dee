#pragma once

#include <array>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "model/mechanism.h"

namespace tranche {

// One answer that a question may get, and what follows.
struct AdviceAnswer {
  std::string answer;
  std::string because;             // with {words} of kAdviceWords
  std::vector<Mechanism> rejects;  // out from here on, for that reason
  std::string then;                // the next question; "" at a leaf
  std::vector<Mechanism> choose;   // at a leaf: preference among what is left
};

struct AdviceQuestion {
  std::string name;
  std::string ask;     // with {words}
  std::string source;  // spelled out
  bool trap = false;   // guards against what looks right and fails in production
  std::vector<AdviceAnswer> answers;

  const AdviceAnswer* Find(std::string_view answer) const;
};

struct AdviceLimit {
  double value = 0;
  std::string source;
};

struct AdviceLeaf {
  std::string accept;  // what one accepts with the mechanism
  std::string source;
};

// What the texts of the rules may have filled in.
inline constexpr std::array<std::string_view, 23> kAdviceWords = {
    "gpu",     "architecture", "capability",     "gpu_memory",     "memory",  "memory_alone",
    "gpus",    "sm",           "busy_limit",     "training_limit", "context", "concurrency",
    "profile", "slice_memory", "slice_sm",       "most",           "largest", "largest_memory",
    "slo",     "kind",         "most_instances", "batch_limit",    "headroom"};

struct AdviceBilling {
  std::string because;
  std::string source;
};

// The decision tree, as data. Immutable after loading.
class AdviceRules {
 public:
  // The embedded data. Fails only if the build embedded broken YAML, which a test excludes.
  static Result<AdviceRules> Load();
  // Strict: an unknown key, word, source or question, a question that is never reached or comes
  // round again, a mechanism without a leaf is an error; the message lists all of them.
  static Result<AdviceRules> Parse(std::string_view text);

  // In the order of the file; the first is where a walk begins.
  const std::vector<AdviceQuestion>& questions() const { return questions_; }
  // nullptr when there is none of that name.
  const AdviceQuestion* Find(std::string_view name) const;
  const AdviceLeaf& LeafOf(Mechanism mechanism) const {
    return leaves_[static_cast<size_t>(mechanism)];
  }
  const AdviceBilling& Billing(bool spot) const { return spot ? spot_ : on_demand_; }
  // 0 when there is none of that name.
  double Limit(const std::string& name) const;

 private:
  std::vector<AdviceQuestion> questions_;
  std::map<std::string, AdviceLimit> limits_;
  std::array<AdviceLeaf, kAllMechanisms.size()> leaves_;
  AdviceBilling spot_, on_demand_;
};

}  // namespace tranche
