#pragma once

#include <cstdint>
#include <string_view>

namespace tranche {

// FNV-1a with 64 bits: the same on every machine, and no secret.
constexpr uint64_t Fnv1a(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

}  // namespace tranche
