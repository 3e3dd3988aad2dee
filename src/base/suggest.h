#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace tranche {

// Levenshtein distance with adjacent transpositions counted as one edit.
int EditDistance(std::string_view a, std::string_view b);

// The candidate that the user most likely meant by `word`, or "" when none is near enough (more
// than a third of the word would have to change). Case is ignored.
std::string Suggest(std::string_view word, const std::vector<std::string>& candidates);

// "did you mean 'mistral-7b'?", or "" when nothing is near.
std::string DidYouMean(std::string_view word, const std::vector<std::string>& candidates);

}  // namespace tranche
