#pragma once

#include <cerrno>

#include "base/result.h"

namespace tranche {

// What an errno of the kernel's files about devices and groups means to whoever asked: there is no
// such thing or it says nothing yet, it may not be, it is in use. Anything else is kFailed.
inline ErrorCode ErrnoCode(int error) {
  switch (error) {
    case ENOENT:
    case ENXIO:
    case ENODEV:
      return ErrorCode::kNotFound;
    case EACCES:
    case EPERM:
    case EROFS:
      return ErrorCode::kPermission;
    case EBUSY:
    case ENOTEMPTY:
      return ErrorCode::kBusy;
    default:
      return ErrorCode::kFailed;
  }
}

}  // namespace tranche
