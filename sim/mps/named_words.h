#pragma once

#include <algorithm>
#include <iterator>
#include <string>
#include <vector>

#include "base/result.h"
#include "sim/mps/values.h"

// Words of protocol 3 in the machine's entries, and about them.
namespace tranche::sim::mps {

template <size_t size>
void Keep(const std::string& text, char (&into)[size]) {
  std::fill(std::begin(into), std::end(into), '\0');
  text.copy(into, size - 1);
}

inline std::string Listed(const std::vector<uint32_t>& pids) {
  Words words;
  for (const uint32_t pid : pids) words.push_back(std::to_string(pid));
  return Join(words, ", ");
}

inline Status NoName(const std::string& what, const std::string& name) {
  return Fail(ErrorCode::kInvalid,
              "'" + name + "' is no name of a " + what + ": 1 to 64 of a-z, 0-9 and _");
}

inline Status TooLong(const std::string& pipe_directory) {
  return Fail(ErrorCode::kInvalid, "The name of the socket in " + pipe_directory + " is too long");
}

}  // namespace tranche::sim::mps
