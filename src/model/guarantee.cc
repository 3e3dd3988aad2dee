#include "model/guarantee.h"

#include <array>

#include "base/suggest.h"

namespace tranche {
namespace {

constexpr std::array<const char*, 5> kNames = {"none", "cooperative", "driver", "kernel",
                                               "hardware"};

}  // namespace

const char* GuaranteeName(Guarantee guarantee) { return kNames[static_cast<size_t>(guarantee)]; }

Result<Guarantee> ParseGuarantee(std::string_view name) {
  for (size_t i = 0; i < kNames.size(); ++i) {
    if (kNames[i] == name) return static_cast<Guarantee>(i);
  }
  const std::string suggestion = DidYouMean(name, {kNames.begin(), kNames.end()});
  return Fail(
      ErrorCode::kInvalid, "'" + std::string(name) + "' is not a guarantee",
      suggestion.empty() ? "use none, cooperative, driver, kernel or hardware" : suggestion);
}

bool Guarantees::Satisfies(const Guarantees& asked) const {
  return memory >= asked.memory && compute >= asked.compute && fault >= asked.fault &&
         access >= asked.access;
}

}  // namespace tranche
