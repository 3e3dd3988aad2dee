#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

namespace tranche::sim::mps {

// The sockets `control` in which a daemon is reached, one in each directory.
class Sockets {
 public:
  Sockets() = default;
  ~Sockets();
  Sockets(const Sockets&) = delete;
  Sockets& operator=(const Sockets&) = delete;

  // Makes those that are missing, with their directories, and removes those that are not among
  // them. False: one cannot be made.
  bool Keep(const std::vector<std::string>& directories);
  // By descriptor: its directory.
  const std::map<int, std::string>& listening() const { return listening_; }

 private:
  bool Open(const std::string& directory);
  void Close(int fd);

  std::map<int, std::string> listening_;
  std::string first_;  // the daemon's own, which may have been there before it
};

// An address of a socket has room for 107 characters.
bool FitsSocket(const std::string& directory);

// A connection to the socket in that directory; -1: nobody listens.
int ConnectTo(const std::string& directory);

// Sends a request to the daemon behind a directory; what it answered, or absent when there is none.
std::optional<std::string> Ask(const std::string& directory, const std::string& request);

}  // namespace tranche::sim::mps
