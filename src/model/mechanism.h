#pragma once

#include <array>
#include <string_view>

#include "base/result.h"

namespace tranche {

// How a GPU is divided.
enum class Mechanism { kExclusive, kMig, kMps, kTimeSlicing, kFraction, kVgpu };

inline constexpr std::array<Mechanism, 6> kAllMechanisms = {
    Mechanism::kExclusive,   Mechanism::kMig,      Mechanism::kMps,
    Mechanism::kTimeSlicing, Mechanism::kFraction, Mechanism::kVgpu};

const char* MechanismName(Mechanism mechanism);  // "time-slicing"
Result<Mechanism> ParseMechanism(std::string_view name);

}  // namespace tranche
