#pragma once

#include <functional>
#include <memory>

#include "base/units.h"
#include "face/http/api.h"

namespace tranche {

struct ServerLimits {
  size_t header_bytes = size_t{16} << 10;
  size_t body_bytes = size_t{32} << 20;
  size_t connections = 128;
  Duration request = std::chrono::seconds(30);  // from its first byte to its last
  Duration idle = std::chrono::seconds(60);     // between requests
  Duration write = std::chrono::seconds(30);    // one piece of a reply
};

// HTTP/1.1 over a listening unix socket. One thread moves bytes, four answer what only reads, one
// makes the changes, in the order in which they came.
class Server {
 public:
  // Takes the descriptor; `api` must outlive this.
  Server(const Api& api, int listening, const ServerLimits& limits = {});
  ~Server();

  // Serves until SIGTERM, SIGINT or Stop(). Then takes no more connections, finishes what is being
  // changed, sends the replies that are owed, and returns.
  void Run();
  // From any thread, any number of times.
  void Stop();

 private:
  class Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace tranche
