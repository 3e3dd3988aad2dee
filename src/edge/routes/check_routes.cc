#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <set>
#include <string_view>

#include "edge/routes/router.h"

namespace tranche {
namespace {

constexpr size_t kMaxPath = 200;
constexpr size_t kMaxName = 200;

bool IsPlain(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' ||
         c == '_' || c == '-' || c == '~';
}

// What is wrong with a path, or "". Everything that nginx, a shell or a log could read as more than
// a name is refused rather than quoted.
std::string_view WrongWithPath(std::string_view path) {
  if (path == "/") return {};
  if (!path.starts_with('/')) return "it must begin with '/'";
  if (path.size() > kMaxPath) return "it is longer than 200 characters";
  if (path == "/healthz" || path.starts_with("/healthz/")) return "/healthz is the router's own";
  for (size_t at = 1; at <= path.size();) {
    const size_t end = std::min(path.find('/', at), path.size());
    const std::string_view part = path.substr(at, end - at);
    if (part.empty()) return "it ends in '/' or has an empty part";
    if (part == "." || part == "..") return "'.' and '..' lead elsewhere";
    if (!std::all_of(part.begin(), part.end(), IsPlain)) {
      return "only letters, digits, '.', '_', '-' and '~' may stand between its slashes";
    }
    at = end + 1;
  }
  return {};
}

bool IsAddress(const std::string& host) {
  unsigned char address[16];
  return inet_pton(AF_INET, host.c_str(), address) == 1 ||
         inet_pton(AF_INET6, host.c_str(), address) == 1;
}

Status CheckBackends(const Route& route) {
  for (const RouteBackend& backend : route.backends) {
    if (!IsAddress(backend.host)) {
      return Fail(ErrorCode::kInvalid,
                  fmt::format("the backend '{}' of workload {} is not an IP address", backend.host,
                              route.workload));
    }
    if (backend.port < 1 || backend.port > 65535) {
      return Fail(ErrorCode::kInvalid,
                  fmt::format("the port {} of workload {} is not between 1 and 65535", backend.port,
                              route.workload));
    }
  }
  return {};
}

}  // namespace

Status CheckRoutes(const std::vector<Route>& routes) {
  std::set<std::string> seen;
  for (const Route& route : routes) {
    const std::string& name = route.workload;
    if (name.empty() || name.size() > kMaxName || !std::all_of(name.begin(), name.end(), IsPlain)) {
      return Fail(ErrorCode::kInvalid, fmt::format("'{}' cannot name a workload in a route", name));
    }
    if (const auto wrong = WrongWithPath(route.path); !wrong.empty()) {
      return Fail(ErrorCode::kInvalid,
                  fmt::format("the route '{}' of workload {}: {}", route.path, name, wrong),
                  "write a path such as /phi or /team/phi");
    }
    if (!seen.insert(route.path).second) {
      return Fail(ErrorCode::kInvalid,
                  fmt::format("the route {} is given twice, the second time to workload {}",
                              route.path, name),
                  "every workload needs a path of its own");
    }
    if (auto checked = CheckBackends(route); !checked) return checked;
  }
  return {};
}

}  // namespace tranche
