#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace tranche::catalog {

// One thing that can be looked up, and the words that mean it. The first word is its key.
struct NameEntry {
  std::vector<std::string> words;
};

// How words are compared: lower case, without spaces, '-', '_' and a leading "nvidia".
std::string NormalizeName(std::string_view word);

// The index of the entry that `word` means. The error (kNotFound) lists the keys that the word may
// mean, or suggests the nearest. `what` and `list_command` are for the message: "GPU", "tranche
// catalog gpus".
Result<size_t> LookUp(std::string_view word, const std::vector<NameEntry>& entries,
                      std::string_view what, std::string_view list_command);
// Two entries that share a word: a mistake in the data.
Status CheckUnambiguous(const std::vector<NameEntry>& entries, std::string_view what);

}  // namespace tranche::catalog
