#include "model/mechanism.h"

#include <string>
#include <vector>

#include "base/suggest.h"

namespace tranche {

const char* MechanismName(Mechanism mechanism) {
  switch (mechanism) {
    case Mechanism::kExclusive:
      return "exclusive";
    case Mechanism::kMig:
      return "mig";
    case Mechanism::kMps:
      return "mps";
    case Mechanism::kTimeSlicing:
      return "time-slicing";
    case Mechanism::kFraction:
      return "fraction";
    case Mechanism::kVgpu:
      return "vgpu";
  }
  return "exclusive";
}

Result<Mechanism> ParseMechanism(std::string_view name) {
  std::vector<std::string> names;
  for (const Mechanism mechanism : kAllMechanisms) {
    if (MechanismName(mechanism) == name) return mechanism;
    names.emplace_back(MechanismName(mechanism));
  }
  const std::string suggestion = DidYouMean(name, names);
  return Fail(
      ErrorCode::kInvalid, "'" + std::string(name) + "' is not a mechanism",
      suggestion.empty() ? "use exclusive, mig, mps, time-slicing, fraction or vgpu" : suggestion);
}

}  // namespace tranche
