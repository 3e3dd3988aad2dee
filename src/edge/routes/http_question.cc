#include "edge/routes/http_question.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

namespace tranche {
namespace {

constexpr size_t kMaxReceived = 8192;

struct Address {
  sockaddr_storage storage = {};
  socklen_t size = 0;  // 0: not an address
};

Address AddressOf(const std::string& host, int port) {
  Address address;
  auto* v4 = reinterpret_cast<sockaddr_in*>(&address.storage);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&address.storage);
  if (inet_pton(AF_INET, host.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(static_cast<uint16_t>(port));
    address.size = sizeof *v4;
  } else if (inet_pton(AF_INET6, host.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(static_cast<uint16_t>(port));
    address.size = sizeof *v6;
  }
  return address;
}

// The status code of "HTTP/1.1 200 OK...", 0 when it is something else.
int StatusCode(const std::string& text) {
  if (!text.starts_with("HTTP/1.") || text.size() < 12 || text[8] != ' ') return 0;
  int code = 0;
  for (size_t i = 9; i < 12; ++i) {
    if (text[i] < '0' || text[i] > '9') return 0;
    code = code * 10 + (text[i] - '0');
  }
  return code;
}

}  // namespace

HttpQuestion::HttpQuestion(const std::string& host, int port, const std::string& path,
                           Instant deadline)
    : deadline_(deadline),
      to_send_(
          fmt::format("GET {} HTTP/1.1\r\nHost: {}:{}\r\nUser-Agent: tranche\r\nAccept: */*\r\n"
                      "Connection: close\r\n\r\n",
                      path, host, port)) {
  const Address address = AddressOf(host, port);
  if (address.size == 0) {
    Finish(fmt::format("'{}' is not an address", host));
    return;
  }
  fd_ = socket(address.storage.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
  if (fd_ < 0 ||
      (connect(fd_, reinterpret_cast<const sockaddr*>(&address.storage), address.size) != 0 &&
       errno != EINPROGRESS)) {
    Finish(strerror(errno));
  }
}

HttpQuestion::~HttpQuestion() {
  if (fd_ >= 0) close(fd_);
}

short HttpQuestion::events() const { return to_send_.empty() ? POLLIN : POLLOUT; }

void HttpQuestion::Continue() {
  if (answer_) return;
  if (!connected_) {
    pollfd ready = {fd_, POLLOUT, 0};
    if (poll(&ready, 1, 0) == 1) {
      int error = 0;
      socklen_t size = sizeof error;
      getsockopt(fd_, SOL_SOCKET, SO_ERROR, &error, &size);
      if (error != 0) return Finish(strerror(error));
      connected_ = true;
    }
  }
  if (connected_ && !to_send_.empty()) Send();
  if (connected_ && !answer_ && to_send_.empty()) Receive();
  if (!answer_ && std::chrono::steady_clock::now() >= deadline_) {
    Finish(connected_ ? "no answer in time" : "no connection in time");
    answer_->timed_out = true;
  }
}

void HttpQuestion::Send() {
  const ssize_t sent = send(fd_, to_send_.data(), to_send_.size(), MSG_NOSIGNAL);
  if (sent >= 0) {
    to_send_.erase(0, static_cast<size_t>(sent));
  } else if (errno != EAGAIN && errno != EINTR) {
    Finish(strerror(errno));
  }
}

void HttpQuestion::Receive() {
  char buffer[4096];
  while (received_.size() < kMaxReceived) {
    const ssize_t got = recv(fd_, buffer, sizeof buffer, 0);
    if (got > 0) {
      received_.append(buffer, static_cast<size_t>(got));
      continue;
    }
    if (got < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (got < 0 && StatusCode(received_) == 0) return Finish(strerror(errno));
    break;
  }
  Finish("it does not answer in HTTP");
}

void HttpQuestion::Finish(std::string error) {
  HttpAnswer answer;
  answer.connected = connected_;
  answer.status = StatusCode(received_);
  if (answer.status == 0) {
    answer.error = std::move(error);
  } else if (const size_t end = received_.find("\r\n\r\n"); end != std::string::npos) {
    answer.body = received_.substr(end + 4);
  }
  answer_ = std::move(answer);
  if (fd_ >= 0) close(fd_);
  fd_ = -1;
}

HttpAnswer AskHttp(const std::string& host, int port, const std::string& path, Duration timeout) {
  const auto deadline = std::chrono::steady_clock::now() + timeout;
  HttpQuestion question(host, port, path, deadline);
  while (!question.answer()) {
    const auto left =
        std::chrono::ceil<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now())
            .count();
    pollfd wait = {question.fd(), question.events(), 0};
    poll(&wait, 1, static_cast<int>(std::clamp<int64_t>(left, 0, 60000)));
    question.Continue();
  }
  return *question.answer();
}

}  // namespace tranche
