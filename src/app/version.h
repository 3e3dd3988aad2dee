#pragma once

namespace tranche {

// Of the build: the project's version.
inline constexpr const char* kVersion = TRANCHE_VERSION;

}  // namespace tranche
