#include "base/result.h"

namespace tranche {

const char* ErrorCodeName(ErrorCode code) {
  switch (code) {
    case ErrorCode::kFailed:
      return "failed";
    case ErrorCode::kDoesNotFit:
      return "does_not_fit";
    case ErrorCode::kStale:
      return "stale";
    case ErrorCode::kPartial:
      return "partial";
    case ErrorCode::kBusy:
      return "busy";
    case ErrorCode::kInvalid:
      return "invalid";
    case ErrorCode::kNotFound:
      return "not_found";
    case ErrorCode::kUnsupported:
      return "unsupported";
    case ErrorCode::kUnavailable:
      return "unavailable";
    case ErrorCode::kPermission:
      return "permission";
    case ErrorCode::kInterrupted:
      return "interrupted";
  }
  return "failed";
}

int ExitCodeOf(ErrorCode code) {
  switch (code) {
    case ErrorCode::kFailed:
    case ErrorCode::kUnsupported:
      return 1;
    case ErrorCode::kDoesNotFit:
      return 3;
    case ErrorCode::kStale:
      return 4;
    case ErrorCode::kPartial:
      return 5;
    case ErrorCode::kBusy:
      return 6;
    case ErrorCode::kInvalid:
    case ErrorCode::kNotFound:
      return 64;
    case ErrorCode::kUnavailable:
      return 69;
    case ErrorCode::kPermission:
      return 77;
    case ErrorCode::kInterrupted:
      return 130;
  }
  return 1;
}

}  // namespace tranche
