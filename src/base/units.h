#pragma once

#include <chrono>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace tranche {

// An amount of memory. Never signed, never a bare integer in an interface.
struct Bytes {
  uint64_t value = 0;

  auto operator<=>(const Bytes&) const = default;
  constexpr Bytes operator+(Bytes other) const { return {value + other.value}; }
  constexpr Bytes operator*(uint64_t n) const { return {value * n}; }
  constexpr Bytes& operator+=(Bytes other) {
    value += other.value;
    return *this;
  }
  // Saturates at zero: "how much is left" is never negative.
  constexpr Bytes operator-(Bytes other) const {
    return {value > other.value ? value - other.value : 0};
  }
};

constexpr Bytes KiB(uint64_t n) { return {n << 10}; }
constexpr Bytes MiB(uint64_t n) { return {n << 20}; }
constexpr Bytes GiB(uint64_t n) { return {n << 30}; }
// From a computed number of GiB, rounded up to the byte.
Bytes GiBCeil(double n);

// A share of something, 1.0 = all of it. Limits above 1 do not exist; the parser refuses them.
struct Fraction {
  double value = 0;
  auto operator<=>(const Fraction&) const = default;
};

using Duration = std::chrono::nanoseconds;

// "10GiB", "512 MiB", "1.5GiB", "24000000000B"; "80GB" is decimal. A bare number is refused: nobody
// agrees on its unit. The message names the text.
Result<Bytes> ParseBytes(std::string_view text);
// "30%" or "0.3"; 0 < share <= 1.
Result<Fraction> ParseFraction(std::string_view text);
// "300ms", "8h", "1h30m", "90s", "2d".
Result<Duration> ParseDuration(std::string_view text);

// "9.75 GiB", "512 MiB": two decimals at most, trailing zeros dropped.
std::string FormatBytes(Bytes bytes);
// The form ParseBytes reads back exactly: the largest binary unit that divides the amount.
std::string FormatBytesExact(Bytes bytes);
// "12%"; one decimal below 10 %.
std::string FormatPercent(double fraction);
// "300ms", "1h30m".
std::string FormatDuration(Duration duration);
// "2.40 USD".
std::string FormatMoney(double amount, std::string_view currency);

}  // namespace tranche
