#pragma once

#include <optional>
#include <string>
#include <vector>

#include "decide/advice/advice.h"
#include "face/cli/render/answer.h"

namespace tranche {

// The advice as a tree for people, and as one document for programs. Pure.
struct WhyNot {
  Mechanism mechanism = Mechanism::kExclusive;
  std::vector<AdviceStep> reasons;  // empty: nothing speaks against it
};
Answer ViewAdvice(const AdviceAsk& ask, const Advice& advice, const std::string& need_text,
                  const std::optional<WhyNot>& why_not, bool wide, const Terminal& terminal);

// Every question with every answer, and where each leads.
Answer ViewAdviceRules(const AdviceRules& rules, const Terminal& terminal);

// Why nothing satisfies the ask, for an error.
Error NothingSatisfies(const AdviceAsk& ask, const Advice& advice);

}  // namespace tranche
