#include "client/http.h"

#include <curl/curl.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>
#include <memory>

namespace tranche {
namespace {

constexpr size_t kLargestReply = size_t{64} << 20;
constexpr long kConnectSeconds = 5;
constexpr long kAnswerSeconds = 120;  // of everything but streams, which last as long as the work

struct Exchange {
  CURL* curl = nullptr;
  const LineSink* sink = nullptr;
  const Interrupted* interrupted = nullptr;
  HttpReply reply;
  std::string partial_line;
  bool too_large = false;
  bool was_interrupted = false;
};

size_t OnBody(char* data, size_t size, size_t count, void* self) {
  auto& exchange = *static_cast<Exchange*>(self);
  const size_t bytes = size * count;
  long status = 0;
  curl_easy_getinfo(exchange.curl, CURLINFO_RESPONSE_CODE, &status);
  if (*exchange.sink && status == 200) {
    for (size_t i = 0; i < bytes; ++i) {
      if (data[i] != '\n') {
        exchange.partial_line += data[i];
        continue;
      }
      (*exchange.sink)(exchange.partial_line);
      exchange.partial_line.clear();
    }
  } else {
    exchange.reply.body.append(data, bytes);
  }
  exchange.too_large = exchange.reply.body.size() + exchange.partial_line.size() > kLargestReply;
  return exchange.too_large ? 0 : bytes;
}

int OnProgress(void* self, curl_off_t, curl_off_t, curl_off_t, curl_off_t) {
  auto& exchange = *static_cast<Exchange*>(self);
  exchange.was_interrupted = *exchange.interrupted && (*exchange.interrupted)();
  return exchange.was_interrupted ? 1 : 0;
}

Error WhyNot(const Exchange& exchange, CURLcode code, const std::string& socket) {
  long os_error = 0;
  curl_easy_getinfo(exchange.curl, CURLINFO_OS_ERRNO, &os_error);
  if (exchange.was_interrupted) {
    return {ErrorCode::kInterrupted, "interrupted while the daemon works on it",
            "the daemon carries on; 'tranche status' shows where it is"};
  }
  if (exchange.too_large) {
    return {ErrorCode::kFailed, "the daemon's answer is larger than 64 MiB"};
  }
  if (code == CURLE_COULDNT_CONNECT) {
    if (os_error == EACCES || os_error == EPERM) {
      return {
          ErrorCode::kPermission, "no permission to talk to the daemon at " + socket,
          "join the group 'tranche' (usermod -aG tranche USER, then log in again), or run as root"};
    }
    return {
        ErrorCode::kUnavailable,
        "no daemon answers at " + socket +
            (os_error != 0 ? std::string(": ") + std::strerror(static_cast<int>(os_error)) : ""),
        "start one with 'tranched' (systemctl start tranched), or use 'apply --local'"};
  }
  if (code == CURLE_OPERATION_TIMEDOUT) {
    return {ErrorCode::kUnavailable, "the daemon at " + socket + " does not answer in time",
            "see the daemon's log"};
  }
  return {ErrorCode::kUnavailable,
          std::string("the connection to the daemon broke: ") + curl_easy_strerror(code),
          "see the daemon's log; work that had begun is finished or undone when it starts again"};
}

}  // namespace

Result<HttpReply> ExchangeHttp(const std::string& socket, const HttpRequest& request,
                               const LineSink& sink, const Interrupted& interrupted) {
  if (socket.size() >= sizeof(sockaddr_un::sun_path)) {
    return Fail(ErrorCode::kInvalid,
                "the socket's path is longer than the system allows: " + socket,
                "choose a shorter state directory");
  }
  std::unique_ptr<CURL, decltype(&curl_easy_cleanup)> curl(curl_easy_init(), &curl_easy_cleanup);
  if (!curl) return Fail(ErrorCode::kFailed, "cannot set up libcurl");
  Exchange exchange;
  exchange.curl = curl.get();
  exchange.sink = &sink;
  exchange.interrupted = &interrupted;

  const std::string url = "http://localhost" + request.path;
  curl_easy_setopt(curl.get(), CURLOPT_UNIX_SOCKET_PATH, socket.c_str());
  curl_easy_setopt(curl.get(), CURLOPT_URL, url.c_str());
  // A proxy from the environment has no business with a local socket.
  curl_easy_setopt(curl.get(), CURLOPT_PROXY, "");
  curl_easy_setopt(curl.get(), CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(curl.get(), CURLOPT_CUSTOMREQUEST, request.method.c_str());
  curl_easy_setopt(curl.get(), CURLOPT_CONNECTTIMEOUT, kConnectSeconds);
  if (!sink) curl_easy_setopt(curl.get(), CURLOPT_TIMEOUT, kAnswerSeconds);
  curl_easy_setopt(curl.get(), CURLOPT_WRITEFUNCTION, OnBody);
  curl_easy_setopt(curl.get(), CURLOPT_WRITEDATA, &exchange);
  curl_easy_setopt(curl.get(), CURLOPT_NOPROGRESS, 0L);
  curl_easy_setopt(curl.get(), CURLOPT_XFERINFOFUNCTION, OnProgress);
  curl_easy_setopt(curl.get(), CURLOPT_XFERINFODATA, &exchange);

  std::unique_ptr<curl_slist, decltype(&curl_slist_free_all)> headers(nullptr,
                                                                      &curl_slist_free_all);
  headers.reset(curl_slist_append(headers.release(), "Accept: application/json"));
  // Without it, curl waits a second for a "100 Continue" before it sends a body.
  headers.reset(curl_slist_append(headers.release(), "Expect:"));
  if (request.method != "GET") {
    headers.reset(curl_slist_append(headers.release(), "Content-Type: application/json"));
    curl_easy_setopt(curl.get(), CURLOPT_POSTFIELDS, request.body.data());
    curl_easy_setopt(curl.get(), CURLOPT_POSTFIELDSIZE_LARGE,
                     static_cast<curl_off_t>(request.body.size()));
  }
  curl_easy_setopt(curl.get(), CURLOPT_HTTPHEADER, headers.get());

  const CURLcode code = curl_easy_perform(curl.get());
  if (code != CURLE_OK) return tl::unexpected<Error>(WhyNot(exchange, code, socket));
  curl_easy_getinfo(curl.get(), CURLINFO_RESPONSE_CODE, &exchange.reply.status);
  return std::move(exchange.reply);
}

}  // namespace tranche
