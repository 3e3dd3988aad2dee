#include "face/cli/number_options.h"

#include <fmt/format.h>

#include <charconv>
#include <cmath>

namespace tranche {
namespace {

std::optional<double> NumberOf(const std::string& text) {
  double value = 0;
  const char* end = text.data() + text.size();
  const auto [stop, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || stop != end || !std::isfinite(value)) return std::nullopt;
  return value;
}

}  // namespace

void NumberOptions::Add(const std::string& mistake, const std::string& hint) {
  if (mistakes_.empty()) hint_ = hint;
  mistakes_.push_back(mistake);
}

std::optional<double> NumberOptions::Positive(const char* option, const std::string& text,
                                              double most) {
  if (text.empty()) return std::nullopt;
  const auto value = NumberOf(text);
  if (!value) {
    Add(fmt::format("{} '{}' is not a number", option, text), "write a plain number, such as 2.01");
  } else if (*value <= 0) {
    Add(fmt::format("{} {} is not above 0", option, text),
        "leave it out when it is not known: 0 would be a claim");
  } else if (*value > most) {
    Add(fmt::format("{} {} is more than {:.6g}", option, text, most), "check the unit");
  } else {
    return value;
  }
  return std::nullopt;
}

std::optional<int> NumberOptions::Count(const char* option, const std::string& text, int most) {
  if (text.empty()) return std::nullopt;
  const auto value = NumberOf(text);
  if (value && *value >= 1 && *value <= most && std::floor(*value) == *value)
    return static_cast<int>(*value);
  Add(fmt::format("{} '{}' is not a whole number from 1 to {}", option, text, most));
  return std::nullopt;
}

std::optional<double> NumberOptions::Share(const char* option, const std::string& text) {
  if (text.empty()) return std::nullopt;
  const auto share = ParseFraction(text);
  if (share) return share->value;
  Add(fmt::format("{}: {}", option, share.error().message), "write 0.85 or 85%");
  return std::nullopt;
}

std::optional<Bytes> NumberOptions::Size(const char* option, const std::string& text) {
  if (text.empty()) return std::nullopt;
  const auto bytes = ParseBytes(text);
  if (bytes && bytes->value > 0) return *bytes;
  if (bytes) {
    Add(fmt::format("{} {} is nothing", option, text), "say how much is needed");
  } else {
    Add(fmt::format("{}: {}", option, bytes.error().message), bytes.error().hint);
  }
  return std::nullopt;
}

std::optional<Duration> NumberOptions::Time(const char* option, const std::string& text) {
  if (text.empty()) return std::nullopt;
  const auto duration = ParseDuration(text);
  if (duration && duration->count() > 0) return *duration;
  if (duration) {
    Add(fmt::format("{} {} cannot be kept by anything", option, text), "write 50ms or 2s");
  } else {
    Add(fmt::format("{}: {}", option, duration.error().message), duration.error().hint);
  }
  return std::nullopt;
}

void NumberOptions::Require(const char* option, const std::string& text,
                            const std::string& example) {
  if (text.empty())
    Add(fmt::format("{} is missing", option), fmt::format("{} {}", option, example));
}

Status NumberOptions::status() const {
  if (mistakes_.empty()) return {};
  return Fail(ErrorCode::kInvalid, fmt::format("{}", fmt::join(mistakes_, "\n")), hint_);
}

}  // namespace tranche
