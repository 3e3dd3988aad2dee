#include "engine/supervisor.h"

namespace tranche {
namespace {

constexpr Duration kRouterGrace = std::chrono::seconds(5);

}  // namespace

Status Supervisor::RouterAvailable() const {
  return router_ ? Status() : tl::unexpected(router_.error());
}

std::vector<Route> Supervisor::Routes() const {
  std::map<std::string, Route> routes;
  for (const auto& [key, entry] : table_) {
    const std::string& path = entry.launch.workload.route;
    if (path.empty()) continue;
    Route& route = routes[path];
    route.path = path;
    route.workload = key.workload;
    if (!entry.record.port) continue;
    const bool up = !entry.held && entry.record.process && TakesRequests(entry.supervision.state);
    route.backends.push_back({.port = *entry.record.port, .up = up});
  }
  std::vector<Route> list;
  for (auto& [path, route] : routes) list.push_back(std::move(route));
  return list;
}

Status Supervisor::BeginRouting() {
  const std::lock_guard order(route_mutex_);
  routing_ = true;
  return UpdateRoutesLocked();
}

Status Supervisor::UpdateRoutes() {
  const std::lock_guard order(route_mutex_);
  return routing_ ? UpdateRoutesLocked() : Status();
}

Status Supervisor::UpdateRoutesLocked() {
  std::vector<Route> routes;
  {
    const std::lock_guard lock(mutex_);
    routes = Routes();
  }
  if (routed_ == routes) return {};
  if (!routed_ && routes.empty()) return {};
  if (!router_) return tl::unexpected(router_.error());
  if (const Status configured = (*router_)->Configure(routes); !configured) return configured;
  routed_ = std::move(routes);
  return {};
}

Status Supervisor::Unroute() {
  const std::lock_guard order(route_mutex_);
  routing_ = false;
  routed_.reset();
  if (!router_) return {};
  return (*router_)->Stop(kRouterGrace);
}

}  // namespace tranche
