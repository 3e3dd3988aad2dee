#include "base/port.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

namespace tranche {
namespace {

constexpr int kLastPort = 65535;

bool CanListen(int port, uint32_t address) {
  const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  // As servers do, so that a port in TIME_WAIT counts as free.
  const int yes = 1;
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
  sockaddr_in where = {};
  where.sin_family = AF_INET;
  where.sin_port = htons(static_cast<uint16_t>(port));
  where.sin_addr.s_addr = htonl(address);
  const bool can =
      bind(fd, reinterpret_cast<sockaddr*>(&where), sizeof where) == 0 && listen(fd, 1) == 0;
  close(fd);
  return can;
}

}  // namespace

bool IsPortFree(int port) {
  return port > 0 && port <= kLastPort && CanListen(port, INADDR_LOOPBACK) &&
         CanListen(port, INADDR_ANY);
}

Result<int> FindFreePort(int first, const std::set<int>& taken) {
  for (int port = first; port > 0 && port <= kLastPort; ++port) {
    if (!taken.contains(port) && IsPortFree(port)) return port;
  }
  return Fail(ErrorCode::kFailed, fmt::format("no TCP port from {} up is free", first));
}

}  // namespace tranche
