#pragma once

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

namespace tranche {

// An HTTP server of a few lines for tests: `answer` gets the head of a request and returns all that
// is sent back. "" closes the connection at once. One thread per connection.
class TestServer {
 public:
  using Answer = std::function<std::string(const std::string& head)>;

  explicit TestServer(Answer answer, int port = 0) : answer_(std::move(answer)) {
    listener_ = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    const int yes = 1;
    setsockopt(listener_, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    sockaddr_in where = {};
    where.sin_family = AF_INET;
    where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    where.sin_port = htons(static_cast<uint16_t>(port));
    listening_ = bind(listener_, reinterpret_cast<sockaddr*>(&where), sizeof where) == 0 &&
                 listen(listener_, 128) == 0;
    socklen_t size = sizeof where;
    getsockname(listener_, reinterpret_cast<sockaddr*>(&where), &size);
    port_ = ntohs(where.sin_port);
    for (int i = 0; i < 8; ++i) threads_.emplace_back([this] { Accept(); });
  }
  TestServer(const TestServer&) = delete;
  TestServer& operator=(const TestServer&) = delete;
  ~TestServer() {
    stop_ = true;
    for (auto& thread : threads_) thread.join();
    close(listener_);
  }

  int port() const { return port_; }
  bool listening() const { return listening_; }
  int requests() const { return requests_; }

  static std::string Http(int status, const std::string& body) {
    return "HTTP/1.1 " + std::to_string(status) +
           " X\r\nContent-Length: " + std::to_string(body.size()) +
           "\r\nConnection: close\r\n\r\n" + body;
  }

 private:
  void Accept() {
    while (!stop_) {
      pollfd wait = {listener_, POLLIN, 0};
      if (poll(&wait, 1, 20) != 1) continue;
      const int fd = accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
      if (fd >= 0) Serve(fd);
    }
  }
  void Serve(int fd) {
    std::string head;
    char buffer[4096];
    while (head.find("\r\n\r\n") == std::string::npos) {
      pollfd wait = {fd, POLLIN, 0};
      if (stop_) break;
      if (poll(&wait, 1, 20) != 1) continue;
      const ssize_t got = recv(fd, buffer, sizeof buffer, 0);
      if (got <= 0) break;
      head.append(buffer, static_cast<size_t>(got));
    }
    if (!head.empty()) {
      ++requests_;
      const std::string answer = answer_(head);
      for (size_t at = 0; at < answer.size();) {
        const ssize_t sent = send(fd, answer.data() + at, answer.size() - at, MSG_NOSIGNAL);
        if (sent <= 0) break;
        at += static_cast<size_t>(sent);
      }
    }
    close(fd);
  }

  Answer answer_;
  int listener_ = -1;
  bool listening_ = false;
  int port_ = 0;
  std::atomic<bool> stop_ = false;
  std::atomic<int> requests_ = 0;
  std::vector<std::thread> threads_;
};

}  // namespace tranche
