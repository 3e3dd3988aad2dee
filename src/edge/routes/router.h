#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "model/status.h"

namespace tranche {

// One replica behind a route.
struct RouteBackend {
  std::string host = "127.0.0.1";  // an address, not a name
  int port = 0;
  bool up = false;  // only these get requests

  bool operator==(const RouteBackend&) const = default;
};

// A path and what answers below it: with `/phi`, a request for `/phi/v1/models` reaches a backend
// as `/v1/models`, with the header `X-Forwarded-Prefix: /phi`. `/phi` itself reaches it as `/`;
// `/philosophy` is another path. Requests go to the backend with the fewest of them under way. With
// no backend up the answer is 503 with a JSON error that names the workload.
struct Route {
  std::string path;  // "/phi"; "/" takes everything that no other route takes
  std::string workload;
  std::vector<RouteBackend> backends;

  bool operator==(const Route&) const = default;
};

// kInvalid, naming what is wrong: paths that are not `/` or `/name[/name...]` of letters, digits,
// '.', '_', '-' and '~', reserved ones (`/healthz`), two routes of one path, hosts that are not
// addresses, ports out of range.
Status CheckRoutes(const std::vector<Route>& routes);

// The reverse proxy in front of the workloads, on 127.0.0.1. GET /healthz answers 200 while it
// runs. It streams: answers are passed on byte by byte as they come, requests may take an hour.
//
// It is no part of the daemon: it keeps serving while the daemon restarts, and is found again by
// the next Router of the same directory. All methods are safe from any thread and exclude each
// other.
class Router {
 public:
  virtual ~Router() = default;

  // Makes these the routes: starts the proxy when it does not run, else reloads it without dropping
  // a request. Returns when requests are answered by the new configuration. On failure the earlier
  // one stays in force, and the error says why. The same routes again cost nothing.
  virtual Status Configure(const std::vector<Route>& routes) = 0;

  // Starts it again (with the last configuration) when it has died, at growing intervals when it
  // keeps dying. Cheap while it runs; for a timer. The error says why it is not running.
  virtual Status Supervise() = 0;

  // What is true now. `url` is there as soon as a port was chosen.
  virtual RouterStatus GetStatus() = 0;

  // Lets it finish the requests under way for at most `grace`, then ends it. OK when it does not
  // run.
  virtual Status Stop(Duration grace) = 0;
};

struct RouterOptions {
  std::string
      directory;  // its own, absolute: configuration, pid, logs, temporary files; made when missing
  // Listened on when free, else the next free one; kept ever after (in `directory`), so that URLs
  // last.
  int port = 8080;
  std::string program;  // of nginx; "" = looked for in PATH, /usr/sbin, /usr/local/sbin
};

// Does not start anything. Finds an nginx that an earlier Router of that directory left running.
// kUnavailable when there is no nginx program, with what to install.
Result<std::unique_ptr<Router>> MakeNginxRouter(RouterOptions options,
                                                std::shared_ptr<Clock> clock);

}  // namespace tranche
