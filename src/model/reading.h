#pragma once

#include <optional>
#include <string>
#include <utility>

namespace tranche {

// A value read from a machine, or the reason why there is none. Unknown is never 0: in JSON an
// absent reading leaves its key out and puts `unavailable: {key: reason}` beside it.
template <typename T>
class Reading {
 public:
  Reading() = default;
  Reading(T value) : value_(std::move(value)) {}  // NOLINT: reads like the value it is
  static Reading Absent(std::string reason) {
    Reading reading;
    reading.reason_ = std::move(reason);
    return reading;
  }

  explicit operator bool() const { return value_.has_value(); }
  const T& operator*() const { return *value_; }
  const T* operator->() const { return &*value_; }
  T value_or(T other) const { return value_.value_or(std::move(other)); }
  // Why there is no value; meaningless when there is one.
  const std::string& reason() const { return reason_; }

  bool operator==(const Reading&) const = default;

 private:
  std::optional<T> value_;
  std::string reason_ = "not read";
};

}  // namespace tranche
