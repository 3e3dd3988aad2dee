#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "agent/access.h"
#include "agent/log.h"
#include "catalog/catalog.h"
#include "engine/engine.h"

namespace tranche {

struct ApiRequest {
  std::string method;
  std::string target;  // as received: path and query
  std::string body;
  Peer peer;
};

// Takes one event, a line of JSON.
using EventSink = std::function<void(const std::string& line)>;

struct ApiReply {
  int status = 200;
  std::string content_type = "application/json";
  std::string body;
  std::string allow;  // for 405
  // Set for a reply that lasts: emits its events and returns after the last one. The body is not
  // used.
  std::function<void(const EventSink&)> stream;
};

// What the daemon answers, whatever carries the bytes: routes, permissions, documents. The routes
// are those of api/openapi.yaml. Safe from any thread.
class Api {
 public:
  struct Parts {
    Engine& engine;  // must outlive the Api
    std::shared_ptr<const Catalog> catalog;
    Access access;
    std::string version;
    Log log;
  };
  explicit Api(Parts parts) : parts_(std::move(parts)) {}

  // The request may change the machine, so it waits its turn behind others that do.
  static bool Changes(const std::string& method, const std::string& target);
  ApiReply Handle(const ApiRequest& request) const;

 private:
  Parts parts_;
};

// {method, path} of every route, as in the description.
std::vector<std::pair<std::string, std::string>> ApiRoutes();
// api/openapi.yaml, embedded.
std::string_view OpenApiDocument();

// An error as RFC 9457 problem JSON, with our code and hint.
ApiReply Problem(const Error& error);
ApiReply Problem(int status, const std::string& detail);

}  // namespace tranche
