#include "decide/advice/advice.h"

#include <fmt/format.h>

#include <algorithm>

#include "decide/advice/facts.h"

namespace tranche {
namespace {

using advice::AnswerTo;
using advice::Facts;
using advice::FactsOf;
using advice::Fill;

// Clients of one MPS server through CUDA 13.0; later ones allow 60.
constexpr uint64_t kMpsClients = 48;

struct Taken {
  const AdviceAnswer* answer = nullptr;
  AdviceStep step;
};

// The answer that holds, with its texts filled in.
Result<Taken> Take(const AdviceQuestion& question, const Facts& facts) {
  const std::string word = AnswerTo(question.name, facts);
  Taken taken;
  taken.answer = question.Find(word);
  if (taken.answer == nullptr) {
    return Fail(
        ErrorCode::kInvalid,
        word.empty()
            ? fmt::format("the rules ask '{}', and nothing here can answer it", question.name)
            : fmt::format("the rules have no answer '{}' to '{}'", word, question.name));
  }
  taken.step.name = question.name;
  taken.step.question = Fill(question.ask, facts.words);
  taken.step.answer = word;
  taken.step.because = Fill(taken.answer->because, facts.words);
  taken.step.source = question.source;
  taken.step.trapped = question.trap && !taken.answer->rejects.empty();
  return taken;
}

bool Rejects(const AdviceAnswer& answer, Mechanism mechanism) {
  return std::find(answer.rejects.begin(), answer.rejects.end(), mechanism) != answer.rejects.end();
}

// How many such workloads one GPU holds.
std::optional<int> TenantsPerGpu(Mechanism mechanism, const Facts& facts) {
  if (mechanism == Mechanism::kExclusive) return 1;
  if (mechanism == Mechanism::kMig)
    return facts.slice != nullptr ? std::optional(facts.slice->max_instances) : std::nullopt;
  if (!facts.need || !facts.whole || facts.need->value == 0) return std::nullopt;
  const uint64_t by_memory = facts.whole->value / facts.need->value;
  return static_cast<int>(std::min(by_memory, mechanism == Mechanism::kMps ? kMpsClients : 1000));
}

// What its slice needs where the engine is told to keep to it.
std::optional<Bytes> MemoryIn(Mechanism mechanism, const Facts& facts) {
  if (mechanism == Mechanism::kMig && facts.slice != nullptr)
    return advice::NeedIn(*facts.ask, facts.slice->memory);
  return facts.need;
}

std::vector<std::string> NotesOn(Mechanism mechanism, const Facts& facts) {
  std::vector<std::string> notes;
  if (mechanism == Mechanism::kMig && facts.slice == nullptr)
    notes.emplace_back("which profile: say how much it needs (--memory or --model)");
  if (mechanism == Mechanism::kMig && facts.slice != nullptr) {
    for (const MigProfile& other : facts.ask->gpu->mig_profiles) {
      const bool wide =
          other.variant == MigVariant::kPlain &&
          other.compute_slices < facts.slice->compute_slices &&
          other.max_instances > facts.slice->max_instances &&
          advice::NeedIn(*facts.ask, other.memory).value_or(Bytes{~0ull}) <= other.memory &&
          !facts.ask->sm_utilization;
      if (wide) {
        notes.push_back(fmt::format(
            "{} holds it too, {} times per GPU instead of {}, with {} SMs instead of {}: cheaper "
            "and slower",
            other.name, other.max_instances, facts.slice->max_instances, other.sm_count,
            facts.slice->sm_count));
      }
    }
  }
  if (mechanism == Mechanism::kTimeSlicing && facts.need && facts.whole) {
    notes.push_back(fmt::format(
        "nothing keeps a tenant to its {}: tell each engine (vLLM: --gpu-memory-utilization "
        "{:.2f})",
        FormatBytes(*facts.need),
        static_cast<double>(facts.need->value) / static_cast<double>(facts.whole->value)));
  }
  if (mechanism == Mechanism::kExclusive && facts.gpus == 1 && facts.need && facts.whole &&
      facts.need->value < facts.whole->value / 2) {
    notes.push_back(fmt::format("it leaves {} of the memory unused; a smaller GPU may do",
                                FormatPercent(1 - static_cast<double>(facts.need->value) /
                                                      static_cast<double>(facts.whole->value))));
  }
  return notes;
}

}  // namespace

Result<Advice> Advise(const AdviceAsk& ask, const AdviceRules& rules) {
  const Facts facts = FactsOf(ask, rules);
  Advice result;
  result.gpus = facts.gpus;
  std::vector<AdviceRejection> out;
  const auto is_out = [&out](Mechanism mechanism) {
    return std::any_of(out.begin(), out.end(), [mechanism](const AdviceRejection& rejection) {
      return rejection.mechanism == mechanism;
    });
  };

  const AdviceQuestion* question = &rules.questions().front();
  const AdviceAnswer* last = nullptr;
  while (question != nullptr) {
    auto taken = Take(*question, facts);
    if (!taken) return tl::unexpected<Error>(taken.error());
    for (const Mechanism mechanism : taken->answer->rejects) {
      if (!is_out(mechanism)) out.push_back({mechanism, taken->step.because, question->name});
    }
    result.path.push_back(std::move(taken->step));
    last = taken->answer;
    question = rules.Find(last->then);
  }
  for (const Mechanism mechanism : last->choose) {
    if (is_out(mechanism)) continue;
    result.mechanism = mechanism;
    break;
  }
  for (const Mechanism mechanism : kAllMechanisms) {
    if (result.mechanism == mechanism) continue;
    const auto found = std::find_if(out.begin(), out.end(), [&](const AdviceRejection& rejection) {
      return rejection.mechanism == mechanism;
    });
    if (found != out.end()) {
      result.rejected.push_back(*found);
    } else {
      const char* name = result.mechanism ? MechanismName(*result.mechanism) : "nothing";
      result.rejected.push_back(
          {mechanism,
           mechanism == Mechanism::kExclusive
               ? fmt::format("would do, at the price of a whole GPU; {} does with a part", name)
               : fmt::format("would do; {} comes first here ({})", name,
                             result.path.back().because),
           ""});
    }
  }
  if (!result.mechanism) return result;
  result.spot = ask.interruptible && !ask.latency_slo;
  result.billing_because = rules.Billing(result.spot).because;
  result.accept = rules.LeafOf(*result.mechanism).accept;
  result.memory = MemoryIn(*result.mechanism, facts);
  result.tenants_per_gpu = TenantsPerGpu(*result.mechanism, facts);
  if (*result.mechanism == Mechanism::kMig && facts.slice != nullptr)
    result.profile = facts.slice->name;
  result.notes = NotesOn(*result.mechanism, facts);
  return result;
}

Result<std::vector<AdviceStep>> ReasonsAgainst(const AdviceAsk& ask, const AdviceRules& rules,
                                               Mechanism mechanism) {
  const Facts facts = FactsOf(ask, rules);
  std::vector<AdviceStep> reasons;
  for (const AdviceQuestion& question : rules.questions()) {
    auto taken = Take(question, facts);
    if (!taken) return tl::unexpected<Error>(taken.error());
    if (Rejects(*taken->answer, mechanism)) reasons.push_back(std::move(taken->step));
  }
  return reasons;
}

}  // namespace tranche
