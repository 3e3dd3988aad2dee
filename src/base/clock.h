#pragma once

#include <chrono>
#include <mutex>
#include <string>

#include "base/units.h"

namespace tranche {

using Time = std::chrono::time_point<std::chrono::system_clock, std::chrono::nanoseconds>;

// Where time comes from. A constructor argument of everything that waits or stamps, so that tests
// own time. All methods are safe from any thread.
class Clock {
 public:
  virtual ~Clock() = default;
  // Wall time, for stamps that people read.
  virtual Time Now() = 0;
  // Never goes back; for intervals.
  virtual Duration Monotonic() = 0;
  virtual void Sleep(Duration duration) = 0;
};

class SystemClock final : public Clock {
 public:
  Time Now() override;
  Duration Monotonic() override;
  void Sleep(Duration duration) override;
};

// Stands still until told; Sleep moves it forward at once.
class ManualClock final : public Clock {
 public:
  explicit ManualClock(Time now = Time(std::chrono::hours(24 * 365 * 50))) : now_(now) {}
  Time Now() override;
  Duration Monotonic() override;
  void Sleep(Duration duration) override { Advance(duration); }
  void Advance(Duration duration);

 private:
  std::mutex mutex_;
  Time now_;               // guarded by mutex_
  Duration monotonic_{0};  // guarded by mutex_
};

// RFC 3339 in UTC with milliseconds: "2026-11-21T02:13:00.000Z". ParseTime reads it back.
std::string FormatTime(Time time);
Result<Time> ParseTime(const std::string& text);

}  // namespace tranche
