#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/units.h"

namespace tranche {

// Reads the values of options that are numbers, and keeps all that is wrong, so that a user hears
// of every mistake at once. An option that was not given (empty text) reads as nothing.
class NumberOptions {
 public:
  // Above 0 and at most `most`.
  std::optional<double> Positive(const char* option, const std::string& text, double most = 1e12);
  std::optional<int> Count(const char* option, const std::string& text, int most);
  // 0.85 or 85%.
  std::optional<double> Share(const char* option, const std::string& text);
  std::optional<Bytes> Size(const char* option, const std::string& text);
  std::optional<Duration> Time(const char* option, const std::string& text);
  // The same values, noting that they must be there.
  void Require(const char* option, const std::string& text, const std::string& example);

  void Add(const std::string& mistake, const std::string& hint = {});
  // kInvalid with all of them, one per line.
  Status status() const;

 private:
  std::vector<std::string> mistakes_;
  std::string hint_;  // of the first
};

}  // namespace tranche
