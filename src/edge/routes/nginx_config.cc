#include "edge/routes/nginx_config.h"

#include <fmt/format.h>

namespace tranche {
namespace {

// @NAME@ is replaced. What matters here and why:
// - Answers and requests are passed on as they come: tokens stream, nothing is written to disk.
// - No connection is kept open for a next request, neither to clients nor to backends: a reload
//   would close it while a request is on its way, and a loopback connection costs nothing beside a
//   model.
// - An old worker ends its requests after a reload, however long they take.
constexpr std::string_view kTemplate = R"(# Written by Tranche. What is changed here is lost.
daemon off;
@USER@worker_processes 2;
pid "@DIRECTORY@/nginx.pid";
error_log "@DIRECTORY@/error.log" error;

events {
  worker_connections 4096;
}

http {
  access_log off;
  server_tokens off;
  default_type application/octet-stream;
  tcp_nodelay on;
  keepalive_timeout 0;
  client_max_body_size 256m;
  client_body_buffer_size 1m;
  client_body_temp_path "@DIRECTORY@/tmp/body";
  proxy_temp_path "@DIRECTORY@/tmp/proxy";
  fastcgi_temp_path "@DIRECTORY@/tmp/fastcgi";
  scgi_temp_path "@DIRECTORY@/tmp/scgi";
  uwsgi_temp_path "@DIRECTORY@/tmp/uwsgi";

  proxy_http_version 1.1;
  proxy_buffering off;
  proxy_request_buffering off;
  proxy_connect_timeout 2s;
  proxy_send_timeout 1h;
  proxy_read_timeout 1h;
  proxy_next_upstream error timeout;
  map $http_upgrade $tranche_connection {
    default upgrade;
    "" close;
  }
@UPSTREAMS@
  server {
    listen 127.0.0.1:@PORT@;
    location = /healthz {
      default_type application/json;
      return 200 '{"status":"ok","config":"@DIGEST@"}\n';
    }
@LOCATIONS@  }
}
)";

constexpr std::string_view kUpstream = R"(
  # @WORKLOAD@
  upstream @NAME@ {
    zone @NAME@ 64k;
    least_conn;
@SERVERS@  }
)";

// A path takes itself and what is below it, and is taken off before the backend sees it.
constexpr std::string_view kLocation = R"(
    # @WORKLOAD@
    location @MATCH@ {
      error_page 502 504 = @@NAME@;
      proxy_set_header Host $http_host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection $tranche_connection;
      proxy_set_header X-Real-IP $remote_addr;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;
      proxy_set_header X-Forwarded-Proto $scheme;
      proxy_set_header X-Forwarded-Prefix @PATH@;
      proxy_pass http://@NAME@/;
    }
)";

constexpr std::string_view kDownLocation = R"(
    # @WORKLOAD@: nothing is up
    location @MATCH@ {
      default_type application/json;
      add_header Retry-After 1 always;
      return 503 '@ERROR@\n';
    }
)";

constexpr std::string_view kNoRoute = R"(
    location / {
      default_type application/json;
      return 404 '{"error":{"message":"no workload has a route for this path","type":"not_found_error","code":"no_route"}}\n';
    }
)";

std::string Replace(std::string_view text,
                    const std::vector<std::pair<std::string_view, std::string>>& values) {
  std::string result(text);
  for (const auto& [name, value] : values) {
    const std::string key = fmt::format("@{}@", name);
    for (size_t at = 0; (at = result.find(key, at)) != std::string::npos; at += value.size()) {
      result.replace(at, key.size(), value);
    }
  }
  return result;
}

std::string ErrorText(const Route& route) {
  return fmt::format(
      R"({{"error":{{"message":"no replica of workload {} is up","type":"server_error",)"
      R"("code":"unavailable","workload":"{}"}}}})",
      route.workload, route.workload);
}

std::string Address(const RouteBackend& backend) {
  const bool v6 = backend.host.find(':') != std::string::npos;
  return fmt::format("{}{}{}:{}", v6 ? "[" : "", backend.host, v6 ? "]" : "", backend.port);
}

// The `server` lines of what is up.
std::string Servers(const Route& route) {
  std::string servers;
  for (const RouteBackend& backend : route.backends) {
    // One failure takes a backend out for a moment only: the health checks judge it, with more
    // patience.
    if (backend.up)
      servers += fmt::format("    server {} max_fails=1 fail_timeout=2s;\n", Address(backend));
  }
  return servers;
}

// How nginx's `location` names it: exactly, and everything below.
std::vector<std::string> Matches(const std::string& path) {
  if (path == "/") return {"/"};
  return {"= " + path, path + "/"};
}

uint64_t Fnv1a(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return hash;
}

std::string Render(const NginxSettings& settings, const std::vector<Route>& routes,
                   const std::string& digest) {
  std::string upstreams, locations;
  bool has_root = false;
  for (size_t i = 0; i < routes.size(); ++i) {
    const Route& route = routes[i];
    has_root = has_root || route.path == "/";
    const std::string servers = Servers(route);
    const std::vector<std::pair<std::string_view, std::string>> values = {
        {"NAME", fmt::format("route_{}", i)},
        {"WORKLOAD", route.workload},
        {"SERVERS", servers},
        {"PATH", route.path},
        {"ERROR", ErrorText(route)}};
    if (!servers.empty()) upstreams += Replace(kUpstream, values);
    for (const std::string& match : Matches(route.path)) {
      auto with_match = values;
      with_match.emplace_back("MATCH", match);
      locations += Replace(servers.empty() ? kDownLocation : kLocation, with_match);
    }
    if (!servers.empty()) {
      // Where a request ends that no backend took, or answered in an hour.
      auto with_match = values;
      with_match.emplace_back("MATCH", fmt::format("@route_{}", i));
      locations += Replace(kDownLocation, with_match);
    }
  }
  if (!has_root) locations += kNoRoute;
  return Replace(kTemplate, {{"DIRECTORY", settings.directory},
                             {"USER", settings.as_root ? "user nobody nogroup;\n" : ""},
                             {"PORT", std::to_string(settings.port)},
                             {"UPSTREAMS", upstreams},
                             {"LOCATIONS", locations},
                             {"DIGEST", digest}});
}

}  // namespace

std::string RoutesDigest(const NginxSettings& settings, const std::vector<Route>& routes) {
  return fmt::format("{:016x}", Fnv1a(Render(settings, routes, "")));
}

std::string NginxConfig(const NginxSettings& settings, const std::vector<Route>& routes) {
  return Render(settings, routes, RoutesDigest(settings, routes));
}

}  // namespace tranche
