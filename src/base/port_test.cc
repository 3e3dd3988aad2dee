#include "base/port.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

namespace tranche {
namespace {

TEST(PortTest, AListenedPortIsNotFree) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in where = {};
  where.sin_family = AF_INET;
  where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(bind(fd, reinterpret_cast<sockaddr*>(&where), sizeof where), 0);
  ASSERT_EQ(listen(fd, 1), 0);
  socklen_t size = sizeof where;
  ASSERT_EQ(getsockname(fd, reinterpret_cast<sockaddr*>(&where), &size), 0);
  const int port = ntohs(where.sin_port);
  EXPECT_FALSE(IsPortFree(port));
  const auto next = FindFreePort(port);
  ASSERT_TRUE(next);
  EXPECT_GT(*next, port);
  const auto after = FindFreePort(port, {*next});
  ASSERT_TRUE(after);
  EXPECT_GT(*after, *next);
  close(fd);
}

TEST(PortTest, PastTheLastPortThereIsNone) {
  EXPECT_FALSE(FindFreePort(65536));
  EXPECT_FALSE(FindFreePort(65535, {65535}));
  EXPECT_FALSE(IsPortFree(0));
}

}  // namespace
}  // namespace tranche
