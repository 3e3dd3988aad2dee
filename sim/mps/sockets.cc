#include "sim/mps/sockets.h"

#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>

namespace tranche::sim::mps {
namespace {

constexpr char kName[] = "/control";

sockaddr_un AddressOf(const std::string& directory) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  (directory + kName).copy(address.sun_path, sizeof(address.sun_path) - 1);
  return address;
}

}  // namespace

bool FitsSocket(const std::string& directory) {
  return directory.size() + sizeof(kName) <= sizeof(sockaddr_un::sun_path);
}

Sockets::~Sockets() { Keep({}); }

bool Sockets::Keep(const std::vector<std::string>& directories) {
  if (first_.empty() && !directories.empty()) first_ = directories.front();
  std::vector<int> gone;
  for (const auto& [fd, directory] : listening_) {
    if (std::find(directories.begin(), directories.end(), directory) == directories.end())
      gone.push_back(fd);
  }
  for (const int fd : gone) Close(fd);
  bool all = true;
  for (const std::string& directory : directories) {
    const auto is_open = [&](const auto& one) { return one.second == directory; };
    if (std::any_of(listening_.begin(), listening_.end(), is_open)) continue;
    all = Open(directory) && all;
  }
  return all;
}

bool Sockets::Open(const std::string& directory) {
  if (!FitsSocket(directory)) return false;
  mkdir(directory.c_str(), 0755);
  const sockaddr_un address = AddressOf(directory);
  unlink(address.sun_path);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  const bool open = fd >= 0 &&
                    bind(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0 &&
                    listen(fd, 64) == 0;
  if (!open) {
    if (fd >= 0) close(fd);
    return false;
  }
  // Programs of other users connect as well, and are told what they may.
  chmod(address.sun_path, 0777);
  listening_[fd] = directory;
  return true;
}

void Sockets::Close(int fd) {
  const std::string directory = listening_[fd];
  listening_.erase(fd);
  close(fd);
  unlink(AddressOf(directory).sun_path);
  if (directory == first_) return;
  // A server's directory goes with the last one in it, and the daemon's is not its own.
  rmdir(directory.c_str());
  const std::string outer = directory.substr(0, directory.rfind('/'));
  if (outer != first_) rmdir(outer.c_str());
}

int ConnectTo(const std::string& directory) {
  if (!FitsSocket(directory)) return -1;
  const sockaddr_un address = AddressOf(directory);
  const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return -1;
  if (connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0) return fd;
  close(fd);
  return -1;
}

std::optional<std::string> Ask(const std::string& directory, const std::string& request) {
  const int fd = ConnectTo(directory);
  if (fd < 0) return std::nullopt;
  std::optional<std::string> answer;
  if (send(fd, request.data(), request.size(), MSG_NOSIGNAL) ==
          static_cast<ssize_t>(request.size()) &&
      shutdown(fd, SHUT_WR) == 0) {
    answer.emplace();
    char some[512];
    for (ssize_t n; (n = read(fd, some, sizeof(some))) > 0;)
      answer->append(some, static_cast<size_t>(n));
  }
  close(fd);
  return answer;
}

}  // namespace tranche::sim::mps
