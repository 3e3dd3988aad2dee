#include "base/units.h"

#include <fmt/format.h>

#include <array>
#include <charconv>
#include <cmath>
#include <optional>

namespace tranche {
namespace {

struct Unit {
  std::string_view name;
  double factor;
};

constexpr std::array<Unit, 11> kByteUnits = {{{"B", 1},
                                              {"KiB", 0x1p10},
                                              {"MiB", 0x1p20},
                                              {"GiB", 0x1p30},
                                              {"TiB", 0x1p40},
                                              {"kB", 1e3},
                                              {"KB", 1e3},
                                              {"MB", 1e6},
                                              {"GB", 1e9},
                                              {"TB", 1e12},
                                              {"Gi", 0x1p30}}};

constexpr std::array<Unit, 7> kTimeUnits = {
    {{"ns", 1}, {"us", 1e3}, {"ms", 1e6}, {"s", 1e9}, {"m", 60e9}, {"h", 3600e9}, {"d", 86400e9}}};

std::string_view Trim(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

// Takes a plain decimal number (no sign, no exponent, no "inf") from the front of `text`.
std::optional<double> TakeNumber(std::string_view& text) {
  const size_t end = text.find_first_not_of("0123456789.");
  const std::string_view digits = text.substr(0, end);
  if (digits.empty() || digits == ".") return std::nullopt;
  double value = 0;
  const auto [rest, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value,
                                             std::chars_format::fixed);
  if (error != std::errc() || rest != digits.data() + digits.size()) return std::nullopt;
  text.remove_prefix(digits.size());
  return value;
}

std::string TrimZeros(std::string number) {
  if (number.find('.') == std::string::npos) return number;
  while (number.back() == '0') number.pop_back();
  if (number.back() == '.') number.pop_back();
  return number;
}

}  // namespace

Bytes GiBCeil(double n) { return {static_cast<uint64_t>(std::ceil(n * 0x1p30))}; }

Result<Bytes> ParseBytes(std::string_view text) {
  std::string_view rest = Trim(text);
  const std::optional<double> number = TakeNumber(rest);
  rest = Trim(rest);
  if (!number) {
    return Fail(ErrorCode::kInvalid, fmt::format("'{}' is not a size", text),
                "write a number and a unit, such as 10GiB or 512MiB");
  }
  if (rest.empty()) {
    return Fail(ErrorCode::kInvalid, fmt::format("size '{}' has no unit", text),
                fmt::format("write {}GiB or {}MiB", Trim(text), Trim(text)));
  }
  for (const Unit& unit : kByteUnits) {
    if (unit.name != rest) continue;
    const double bytes = *number * unit.factor;
    // 2^60 is a million times the largest GPU; beyond it the text is a mistake, and doubles lose
    // bytes.
    if (bytes > 0x1p60) {
      return Fail(ErrorCode::kInvalid, fmt::format("size '{}' is larger than any machine", text));
    }
    return Bytes{static_cast<uint64_t>(std::llround(bytes))};
  }
  return Fail(ErrorCode::kInvalid, fmt::format("'{}' is not a unit of size", rest),
              "use B, KiB, MiB, GiB or TiB (GB is decimal)");
}

Result<Fraction> ParseFraction(std::string_view text) {
  std::string_view rest = Trim(text);
  const std::optional<double> number = TakeNumber(rest);
  rest = Trim(rest);
  if (!number || (!rest.empty() && rest != "%")) {
    return Fail(ErrorCode::kInvalid, fmt::format("'{}' is not a share", text),
                "write a percentage such as 30%, or a fraction such as 0.3");
  }
  const double value = rest == "%" ? *number / 100 : *number;
  if (value <= 0 || value > 1) {
    return Fail(ErrorCode::kInvalid, fmt::format("share '{}' is outside 0 to 100% of a GPU", text),
                rest.empty() && value > 1 && value <= 100
                    ? fmt::format("did you mean {}%?", *number)
                    : "for more than one GPU use gpus: N");
  }
  return Fraction{value};
}

Result<Duration> ParseDuration(std::string_view text) {
  std::string_view rest = Trim(text);
  double total = 0;
  bool any = false;
  while (!rest.empty()) {
    const std::optional<double> number = TakeNumber(rest);
    const size_t end = rest.find_first_of("0123456789. ");
    const std::string_view name = rest.substr(0, end);
    const Unit* unit = nullptr;
    for (const Unit& candidate : kTimeUnits) {
      if (candidate.name == name) unit = &candidate;
    }
    if (!number || unit == nullptr) {
      return Fail(ErrorCode::kInvalid, fmt::format("'{}' is not a duration", text),
                  "write a number and a unit, such as 300ms, 90s, 15m or 8h");
    }
    total += *number * unit->factor;
    any = true;
    rest = Trim(rest.substr(name.size()));
  }
  if (!any)
    return Fail(ErrorCode::kInvalid, "a duration is missing", "write 300ms, 90s, 15m or 8h");
  if (total > 9e18) {
    return Fail(ErrorCode::kInvalid, fmt::format("duration '{}' is longer than 280 years", text));
  }
  return Duration(static_cast<int64_t>(std::llround(total)));
}

std::string FormatBytes(Bytes bytes) {
  static constexpr std::array<Unit, 5> kBinary = {
      {{"TiB", 0x1p40}, {"GiB", 0x1p30}, {"MiB", 0x1p20}, {"KiB", 0x1p10}, {"B", 1}}};
  for (const Unit& unit : kBinary) {
    if (static_cast<double>(bytes.value) >= unit.factor || unit.factor == 1) {
      const double amount = static_cast<double>(bytes.value) / unit.factor;
      return fmt::format("{} {}", TrimZeros(fmt::format("{:.2f}", amount)), unit.name);
    }
  }
  return "0 B";
}

std::string FormatBytesExact(Bytes bytes) {
  static constexpr std::array<std::pair<const char*, int>, 4> kShifts = {
      {{"TiB", 40}, {"GiB", 30}, {"MiB", 20}, {"KiB", 10}}};
  for (const auto& [name, shift] : kShifts) {
    if (bytes.value != 0 && bytes.value % (uint64_t{1} << shift) == 0) {
      return fmt::format("{}{}", bytes.value >> shift, name);
    }
  }
  return fmt::format("{}B", bytes.value);
}

std::string FormatPercent(double fraction) {
  const double percent = fraction * 100;
  return TrimZeros(fmt::format("{:.{}f}", percent, percent < 10 ? 1 : 0)) + "%";
}

std::string FormatDuration(Duration duration) {
  int64_t left = duration.count();
  if (left == 0) return "0s";
  std::string text;
  if (left < 0) {
    text = "-";
    left = -left;
  }
  static constexpr std::array<std::pair<const char*, int64_t>, 7> kSteps = {{{"d", 86400000000000},
                                                                             {"h", 3600000000000},
                                                                             {"m", 60000000000},
                                                                             {"s", 1000000000},
                                                                             {"ms", 1000000},
                                                                             {"us", 1000},
                                                                             {"ns", 1}}};
  // Two units tell a person enough, and two are exact for everything the parser's users write.
  int shown = 0;
  for (const auto& [name, size] : kSteps) {
    if (left < size) continue;
    text += fmt::format("{}{}", left / size, name);
    left %= size;
    if (++shown == 2) break;
  }
  return text;
}

std::string FormatMoney(double amount, std::string_view currency) {
  return fmt::format("{:.2f} {}", amount, currency);
}

}  // namespace tranche
