#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "base/units.h"

namespace tranche {

// What came back of one GET.
struct HttpAnswer {
  bool connected = false;  // somebody accepted the connection
  int status = 0;          // 0: no HTTP answer
  std::string body;        // its beginning
  std::string error;       // why there is no HTTP answer, for people
  bool timed_out = false;
};

// One GET on a socket that never blocks: ask, poll fd() for events(), Continue, until there is an
// answer. Not thread-safe.
class HttpQuestion {
 public:
  using Instant = std::chrono::steady_clock::time_point;

  HttpQuestion(const std::string& host, int port, const std::string& path, Instant deadline);
  HttpQuestion(const HttpQuestion&) = delete;
  HttpQuestion& operator=(const HttpQuestion&) = delete;
  ~HttpQuestion();

  // -1 once there is an answer.
  int fd() const { return fd_; }
  short events() const;
  Instant deadline() const { return deadline_; }
  // Does what can be done now. Call it when the descriptor is ready or the deadline has passed.
  void Continue();
  const std::optional<HttpAnswer>& answer() const { return answer_; }

 private:
  void Send();
  void Receive();
  void Finish(std::string error);

  Instant deadline_;
  int fd_ = -1;
  bool connected_ = false;
  std::string to_send_;
  std::string received_;
  std::optional<HttpAnswer> answer_;
};

// Asks and waits.
HttpAnswer AskHttp(const std::string& host, int port, const std::string& path, Duration timeout);

}  // namespace tranche
