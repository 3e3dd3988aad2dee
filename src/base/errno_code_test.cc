#include "base/errno_code.h"

#include <gtest/gtest.h>

namespace tranche {
namespace {

TEST(ErrnoCode, SaysWhatItMeansToWhoeverAsked) {
  for (const int error : {ENOENT, ENXIO, ENODEV}) EXPECT_EQ(ErrnoCode(error), ErrorCode::kNotFound);
  for (const int error : {EACCES, EPERM, EROFS})
    EXPECT_EQ(ErrnoCode(error), ErrorCode::kPermission);
  for (const int error : {EBUSY, ENOTEMPTY}) EXPECT_EQ(ErrnoCode(error), ErrorCode::kBusy);
  // What a device has no room for is for who wrote an order to it to say.
  for (const int error : {EIO, ENOSPC, EINVAL, 0}) EXPECT_EQ(ErrnoCode(error), ErrorCode::kFailed);
}

}  // namespace
}  // namespace tranche
