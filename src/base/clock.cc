#include "base/clock.h"

#include <fmt/format.h>

#include <ctime>
#include <thread>

namespace tranche {

Time SystemClock::Now() { return std::chrono::system_clock::now(); }

Duration SystemClock::Monotonic() { return std::chrono::steady_clock::now().time_since_epoch(); }

void SystemClock::Sleep(Duration duration) { std::this_thread::sleep_for(duration); }

Time ManualClock::Now() {
  std::lock_guard lock(mutex_);
  return now_;
}

Duration ManualClock::Monotonic() {
  std::lock_guard lock(mutex_);
  return monotonic_;
}

void ManualClock::Advance(Duration duration) {
  std::lock_guard lock(mutex_);
  now_ += duration;
  monotonic_ += duration;
}

std::string FormatTime(Time time) {
  const auto millis = std::chrono::floor<std::chrono::milliseconds>(time.time_since_epoch());
  const auto seconds = std::chrono::floor<std::chrono::seconds>(millis);
  const std::time_t stamp = seconds.count();
  std::tm parts{};
  gmtime_r(&stamp, &parts);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", parts.tm_year + 1900,
                     parts.tm_mon + 1, parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec,
                     (millis - seconds).count());
}

Result<Time> ParseTime(const std::string& text) {
  std::tm parts{};
  const char* rest = strptime(text.c_str(), "%Y-%m-%dT%H:%M:%S", &parts);
  int millis = 0;
  int used = 0;
  if (rest == nullptr || std::sscanf(rest, ".%3dZ%n", &millis, &used) != 1 || rest[used] != '\0' ||
      used == 0) {
    return Fail(ErrorCode::kInvalid, fmt::format("'{}' is not a time", text),
                "write it as 2026-11-21T02:13:00.000Z");
  }
  return Time(std::chrono::seconds(timegm(&parts)) + std::chrono::milliseconds(millis));
}

}  // namespace tranche
