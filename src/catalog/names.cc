#include "catalog/names.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <map>

#include "base/suggest.h"

namespace tranche::catalog {
namespace {

// Keys of the entries one of whose words contains `needle`.
std::vector<std::string> Candidates(const std::string& needle,
                                    const std::vector<NameEntry>& entries) {
  std::vector<std::string> keys;
  if (needle.size() < 2) return keys;
  for (const NameEntry& entry : entries) {
    const bool hit =
        std::any_of(entry.words.begin(), entry.words.end(), [&needle](const std::string& word) {
          return NormalizeName(word).find(needle) != std::string::npos;
        });
    if (hit) keys.push_back(entry.words.front());
  }
  return keys;
}

// The first of them; many would say nothing.
std::string FirstFew(const std::vector<std::string>& keys) {
  constexpr size_t kFew = 6;
  if (keys.size() <= kFew) return fmt::format("{}", fmt::join(keys, ", "));
  return fmt::format("{} or {} more", fmt::join(keys.begin(), keys.begin() + kFew, ", "),
                     keys.size() - kFew);
}

std::string NearestKey(std::string_view word, const std::vector<NameEntry>& entries) {
  std::vector<std::string> words;
  std::map<std::string, std::string> key_of;
  for (const NameEntry& entry : entries) {
    for (const std::string& name : entry.words) {
      words.push_back(name);
      key_of.emplace(name, entry.words.front());
    }
  }
  const std::string nearest = Suggest(word, words);
  return nearest.empty() ? "" : key_of.at(nearest);
}

}  // namespace

std::string NormalizeName(std::string_view word) {
  std::string result;
  for (char c : word) {
    if (c == ' ' || c == '-' || c == '_') continue;
    result += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  if (result.size() > 6 && result.starts_with("nvidia")) result.erase(0, 6);
  return result;
}

Result<size_t> LookUp(std::string_view word, const std::vector<NameEntry>& entries,
                      std::string_view what, std::string_view list_command) {
  const std::string wanted = NormalizeName(word);
  for (size_t i = 0; i < entries.size(); ++i) {
    for (const std::string& name : entries[i].words) {
      if (NormalizeName(name) == wanted) return i;
    }
  }
  const std::vector<std::string> candidates = Candidates(wanted, entries);
  if (candidates.size() > 1) {
    return Fail(ErrorCode::kNotFound, fmt::format("'{}' names no single {}", word, what),
                fmt::format("it may mean {}; write which", FirstFew(candidates)));
  }
  const std::string nearest = candidates.empty() ? NearestKey(word, entries) : candidates.front();
  std::string hint = fmt::format("did you mean '{}'?", nearest);
  if (nearest.empty()) hint = fmt::format("`{}` lists all", list_command);
  return Fail(ErrorCode::kNotFound, fmt::format("the catalog has no {} '{}'", what, word), hint);
}

Status CheckUnambiguous(const std::vector<NameEntry>& entries, std::string_view what) {
  std::map<std::string, std::string> owner;
  for (const NameEntry& entry : entries) {
    const std::string& key = entry.words.front();
    for (const std::string& word : entry.words) {
      const auto [found, added] = owner.emplace(NormalizeName(word), key);
      if (!added && found->second != key) {
        return Fail(ErrorCode::kInvalid, fmt::format("the {} name '{}' means both {} and {}", what,
                                                     word, found->second, key));
      }
    }
  }
  return {};
}

}  // namespace tranche::catalog
