#pragma once

#include <array>
#include <string>
#include <string_view>

#include "base/result.h"
#include "catalog/catalog.h"
#include "model/mechanism.h"

namespace tranche {

// What all tenants of a GPU do together through one mechanism, against one tenant alone on it.
struct SharingOverhead {
  double throughput = 1;    // what is counted with
  double from = 1, to = 1;  // the worst and the best that the sources say
  std::string source;
  Confidence confidence = Confidence::kLow;
};

// One per mechanism.
class SharingOverheads {
 public:
  // The embedded data. Fails only if the build embedded broken YAML, which a test excludes.
  static Result<SharingOverheads> Load();
  static Result<SharingOverheads> Parse(std::string_view text);

  const SharingOverhead& Of(Mechanism mechanism) const {
    return all_[static_cast<size_t>(mechanism)];
  }

 private:
  std::array<SharingOverhead, kAllMechanisms.size()> all_;
};

}  // namespace tranche
