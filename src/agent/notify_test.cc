#include "agent/notify.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>

namespace tranche {
namespace {

TEST(Notify, SendsOneDatagram) {
  char pattern[] = "/tmp/notify.XXXXXX";
  ASSERT_NE(mkdtemp(pattern), nullptr);
  const std::string path = std::string(pattern) + "/s";
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path.data(), path.size());
  const int fd = socket(AF_UNIX, SOCK_DGRAM, 0);
  ASSERT_EQ(bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
  NotifyServiceManager(path, "READY=1");
  char buffer[64] = {};
  EXPECT_EQ(recv(fd, buffer, sizeof buffer, MSG_DONTWAIT), 7);
  EXPECT_STREQ(buffer, "READY=1");
  close(fd);
  std::filesystem::remove_all(pattern);
}

TEST(Notify, DoesNothingWhereNobodyListens) {
  NotifyServiceManager("", "READY=1");
  NotifyServiceManager("/nowhere/at/all", "READY=1");
  NotifyServiceManager(std::string(300, 'x'), "READY=1");
}

}  // namespace
}  // namespace tranche
