#include "engine/time_zone.h"

#include <fmt/format.h>

#include <cstdint>
#include <fstream>
#include <optional>
#include <sstream>
#include <utility>

#include "model/spec_rules.h"

namespace tranche {
namespace {

constexpr size_t kHeader = 44;
constexpr int64_t kDay = 24 * 60 * 60;

int64_t BigEndian(std::string_view bytes) {
  uint64_t value = (static_cast<unsigned char>(bytes[0]) & 0x80) != 0 ? ~uint64_t{0} : 0;
  for (const char c : bytes) value = value << 8 | static_cast<unsigned char>(c);
  return static_cast<int64_t>(value);
}

struct Counts {
  size_t is_utc = 0, is_standard = 0, leaps = 0, transitions = 0, types = 0, letters = 0;
  size_t Bytes(size_t time_size) const {
    return transitions * time_size + transitions + types * 6 + letters + leaps * (time_size + 4) +
           is_standard + is_utc;
  }
};

std::optional<Counts> CountsAt(std::string_view file, size_t at) {
  if (file.size() < at + kHeader || file.substr(at, 4) != "TZif") return std::nullopt;
  size_t counts[6];
  for (size_t i = 0; i < 6; ++i) {
    const int64_t count = BigEndian(file.substr(at + 20 + 4 * i, 4));
    if (count < 0 || count > 100000) return std::nullopt;
    counts[i] = static_cast<size_t>(count);
  }
  return Counts{counts[0], counts[1], counts[2], counts[3], counts[4], counts[5]};
}

// Days since the epoch of a civil date (proleptic Gregorian).
int64_t DaysOf(int64_t year, int month, int day) {
  year -= month <= 2 ? 1 : 0;
  const int64_t era = (year >= 0 ? year : year - 399) / 400;
  const int64_t of_era = year - era * 400;
  const int64_t of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
  return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

bool IsLeap(int64_t year) { return (year % 4 == 0 && year % 100 != 0) || year % 400 == 0; }

int64_t YearOf(int64_t days) {
  int64_t year = 1970 + days / 366;
  while (DaysOf(year + 1, 1, 1) <= days) ++year;
  while (DaysOf(year, 1, 1) > days) --year;
  return year;
}

// Reads the rule of a TZ variable: "CET-1CEST,M3.5.0,M10.5.0/3".
class Rule {
 public:
  explicit Rule(std::string_view text) : text_(text) {}

  std::optional<int> OffsetAt(int64_t unix_seconds) {
    if (!SkipName()) return std::nullopt;
    const std::optional<int64_t> standard = Clock();
    if (!standard) return std::nullopt;
    const int64_t winter = -*standard;
    if (text_.empty()) return static_cast<int>(winter);
    if (!SkipName()) return std::nullopt;
    int64_t summer = winter + 3600;
    if (!text_.empty() && text_.front() != ',') {
      const std::optional<int64_t> given = Clock();
      if (!given) return std::nullopt;
      summer = -*given;
    }
    const int64_t days =
        unix_seconds >= 0 ? unix_seconds / kDay : -((kDay - 1 - unix_seconds) / kDay);
    const int64_t year = YearOf(days);
    const std::optional<int64_t> begins = Change(year), ends = Change(year);
    if (!begins || !ends) return std::nullopt;
    // Both are by the clock that holds before.
    const int64_t from = *begins - winter, to = *ends - summer;
    const bool in_summer = from < to ? unix_seconds >= from && unix_seconds < to
                                     : unix_seconds >= from || unix_seconds < to;
    return static_cast<int>(in_summer ? summer : winter);
  }

 private:
  bool Take(char c) {
    if (text_.empty() || text_.front() != c) return false;
    text_.remove_prefix(1);
    return true;
  }
  bool SkipName() {
    const size_t before = text_.size();
    if (Take('<')) {
      const size_t end = text_.find('>');
      if (end == std::string_view::npos) return false;
      text_.remove_prefix(end + 1);
      return true;
    }
    while (!text_.empty() && ((text_.front() | 0x20) >= 'a' && (text_.front() | 0x20) <= 'z')) {
      text_.remove_prefix(1);
    }
    return before - text_.size() >= 3;
  }
  std::optional<int> Digits() {
    int value = 0;
    size_t digits = 0;
    while (digits < text_.size() && text_[digits] >= '0' && text_[digits] <= '9' && digits < 4) {
      value = value * 10 + (text_[digits++] - '0');
    }
    text_.remove_prefix(digits);
    if (digits == 0) return std::nullopt;
    return value;
  }
  // [+-]h[h][:mm[:ss]] in seconds.
  std::optional<int64_t> Clock() {
    const bool negative = Take('-');
    if (!negative) (void)Take('+');
    int64_t seconds = 0;
    for (const int unit : {3600, 60, 1}) {
      if (unit != 3600 && !Take(':')) break;
      const std::optional<int> part = Digits();
      if (!part) return std::nullopt;
      seconds += int64_t{*part} * unit;
    }
    return negative ? -seconds : seconds;
  }
  // ",M3.5.0/2", ",J60", ",59": as if local time were UTC.
  std::optional<int64_t> Change(int64_t year) {
    if (!Take(',')) return std::nullopt;
    int64_t day = 0;
    if (Take('M')) {
      const std::optional<int> month = Digits();
      if (!month || *month < 1 || *month > 12 || !Take('.')) return std::nullopt;
      const std::optional<int> week = Digits();
      if (!week || *week < 1 || *week > 5 || !Take('.')) return std::nullopt;
      const std::optional<int> weekday = Digits();  // 0 is Sunday
      if (!weekday || *weekday > 6) return std::nullopt;
      const int64_t first = DaysOf(year, *month, 1);
      const int64_t next = *month == 12 ? DaysOf(year + 1, 1, 1) : DaysOf(year, *month + 1, 1);
      // The epoch was a Thursday.
      const int64_t of_first = ((first + 4) % 7 + 7) % 7;
      day = first + (*weekday - of_first + 7) % 7 + 7 * (*week - 1);
      while (day >= next) day -= 7;
    } else {
      const bool without_leap_day = Take('J');
      const std::optional<int> of_year = Digits();
      if (!of_year || *of_year > 365) return std::nullopt;
      const bool after_february = IsLeap(year) && *of_year >= 60;
      day = DaysOf(year, 1, 1) + *of_year - (without_leap_day ? (after_february ? 0 : 1) : 0);
    }
    int64_t at = 2 * 3600;
    if (Take('/')) {
      const std::optional<int64_t> given = Clock();
      if (!given) return std::nullopt;
      at = *given;
    }
    return day * kDay + at;
  }

  std::string_view text_;
};

}  // namespace

Result<int> OffsetInZoneFile(std::string_view file, int64_t unix_seconds) {
  const auto broken = [] { return Fail(ErrorCode::kFailed, "it is no time zone file"); };
  const std::optional<Counts> first = CountsAt(file, 0);
  if (!first || file[4] < '2') return broken();
  // What follows is the same again with 64 bits, and then the rule.
  const size_t header = kHeader + first->Bytes(4);
  const std::optional<Counts> counts = CountsAt(file, header);
  if (!counts || counts->types == 0) return broken();
  const size_t begin = header + kHeader;
  const size_t end = begin + counts->Bytes(8);
  if (file.size() < end) return broken();
  const auto time = [&](size_t i) { return BigEndian(file.substr(begin + 8 * i, 8)); };
  const size_t indices = begin + 8 * counts->transitions;
  const size_t types = indices + counts->transitions;
  const auto offset_of = [&](size_t type) -> Result<int> {
    if (type >= counts->types) return broken();
    return static_cast<int>(BigEndian(file.substr(types + 6 * type, 4)));
  };
  const size_t n = counts->transitions;
  if (n == 0 || unix_seconds >= time(n - 1)) {
    const size_t newline = file.find('\n', end + 1);
    const bool has_rule = end < file.size() && file[end] == '\n' &&
                          newline != std::string_view::npos && newline > end + 1;
    if (has_rule) {
      const std::optional<int> offset =
          Rule(file.substr(end + 1, newline - end - 1)).OffsetAt(unix_seconds);
      if (!offset) return broken();
      return *offset;
    }
    if (n == 0) return offset_of(0);
  }
  size_t low = 0, high = n;  // the first transition after the instant is in [low, high]
  while (low < high) {
    const size_t middle = (low + high) / 2;
    if (time(middle) <= unix_seconds) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  if (low == 0) return offset_of(0);
  return offset_of(static_cast<unsigned char>(file[indices + low - 1]));
}

ZoneOffset SystemTimeZones(std::string root) {
  return [root = std::move(root)](const std::string& zone, Time at) -> Result<int> {
    if (zone == "UTC") return 0;
    const auto unknown = [&](const std::string& why) {
      return Fail(ErrorCode::kNotFound, fmt::format("time zone {}: {}", zone, why),
                  "use one of /usr/share/zoneinfo (the package tzdata), or UTC");
    };
    if (!IsTimeZone(zone)) return unknown("that is no name of one");
    std::ifstream in(root + "/usr/share/zoneinfo/" + zone, std::ios::binary);
    std::ostringstream text;
    text << in.rdbuf();
    if (!in) return unknown("this machine does not know it");
    const auto seconds = std::chrono::floor<std::chrono::seconds>(at.time_since_epoch()).count();
    const Result<int> offset = OffsetInZoneFile(text.str(), seconds);
    if (!offset) return unknown(offset.error().message);
    return offset;
  };
}

}  // namespace tranche
