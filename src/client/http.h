#pragma once

#include <functional>
#include <string>

#include "base/result.h"

namespace tranche {

struct HttpRequest {
  std::string method = "GET";
  std::string path;  // with the query
  std::string body;  // JSON; "" = none
};

struct HttpReply {
  long status = 0;
  std::string body;
};

// Called with every complete line of a streamed reply, in order, without its newline.
using LineSink = std::function<void(const std::string& line)>;
// Asked about once a second; true gives up waiting (kInterrupted).
using Interrupted = std::function<bool()>;

// One exchange over a unix socket. Errors are those of the way, not of the answer: kUnavailable
// when nobody listens there, kPermission when this user may not connect. With `sink`, a reply of
// status 200 goes to it line by line instead of into `body`.
Result<HttpReply> ExchangeHttp(const std::string& socket, const HttpRequest& request,
                               const LineSink& sink = {}, const Interrupted& interrupted = {});

}  // namespace tranche
