#pragma once

#include <string>
#include <tl/expected.hpp>
#include <utility>

namespace tranche {

// What kind of thing went wrong: one value per way a caller may react. The CLI turns each into the
// exit code beside it; the API into a status and the name below.
enum class ErrorCode {
  kFailed,       // 1: tried and did not work
  kDoesNotFit,   // 3: a valid request that no GPU at hand can hold
  kStale,        // 4: the machine moved since the plan was made
  kPartial,      // 5: apply stopped part-way and undoing failed as well
  kBusy,         // 6: someone is in the way
  kInvalid,      // 64: usage or bad input
  kNotFound,     // 64: names something that does not exist
  kUnsupported,  // 1: this machine or driver cannot do it
  kUnavailable,  // 69: no driver, or no daemon
  kPermission,   // 77: the caller may not
  kInterrupted,  // 130
};

// An error as a value. `message` says what failed and why, without a final stop; `hint` says what
// the user can do about it, or is empty.
struct Error {
  ErrorCode code = ErrorCode::kFailed;
  std::string message;
  std::string hint = {};

  bool operator==(const Error&) const = default;
};

template <typename T>
using Result = tl::expected<T, Error>;
using Status = Result<void>;

inline tl::unexpected<Error> Fail(ErrorCode code, std::string message, std::string hint = {}) {
  return tl::unexpected<Error>(Error{code, std::move(message), std::move(hint)});
}

// Passes an error on with what was being done when it happened: "reading a.json: no such file".
inline tl::unexpected<Error> FailedWhile(std::string doing, Error error) {
  error.message = std::move(doing) + ": " + error.message;
  return tl::unexpected<Error>(std::move(error));
}

// The name of a code in JSON ("does_not_fit") and the process exit code it stands for.
const char* ErrorCodeName(ErrorCode code);
int ExitCodeOf(ErrorCode code);

}  // namespace tranche
