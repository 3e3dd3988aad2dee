#include <fmt/format.h>

#include <map>

#include "base/quote.h"
#include "stage/export/formats.h"

namespace tranche::exporting {
namespace {

// Each route with the ports behind it, in the order of the spec.
struct RouteOf {
  std::string path;
  std::string workload;
  std::vector<int> ports;
};

std::vector<RouteOf> RoutesOf(const Replicas& replicas, Exported* out) {
  std::vector<RouteOf> routes;
  for (const Replica& replica : replicas) {
    if (replica.workload->route.empty() || replica.port == 0) {
      if (replica.port != 0) {
        out->notes.push_back(replica.name + " has no route, so it is reached by its port only");
      }
      continue;
    }
    if (routes.empty() || routes.back().workload != replica.workload->name) {
      routes.push_back({replica.workload->route, replica.workload->name, {}});
    }
    routes.back().ports.push_back(replica.port);
  }
  if (routes.empty()) out->notes.push_back("no workload of the plan has a route");
  return routes;
}

}  // namespace

void ExportNginx(const ExportInput& input, const Replicas& replicas, Exported* out) {
  const std::vector<RouteOf> routes = RoutesOf(replicas, out);
  if (routes.empty()) return;
  std::string upstreams, locations;
  for (const RouteOf& route : routes) {
    upstreams += fmt::format("  upstream {} {{\n    least_conn;\n", route.workload);
    for (const int port : route.ports) {
      upstreams += fmt::format("    server 127.0.0.1:{} max_fails=2 fail_timeout=5s;\n", port);
    }
    upstreams += "  }\n";
    const std::string prefix = route.path == "/" ? "" : route.path;
    if (!prefix.empty()) {
      // /phi is as good as /phi/, and /philosophy is something else.
      locations += fmt::format("    location = {} {{ rewrite ^ {}/ last; }}\n", prefix, prefix);
    }
    locations += fmt::format(
        "    location {}/ {{\n      proxy_pass http://{}/;\n"
        "      proxy_set_header Host $host;\n"
        "      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;\n"
        "      proxy_set_header X-Forwarded-Prefix {};\n    }}\n",
        prefix, route.workload, route.path);
  }
  out->files.push_back({"nginx.conf", Header(input, "#") + Comments(out->notes, "#") +
                                          "events {\n  worker_connections 4096;\n}\n\n"
                                          "http {\n"
                                          "  # Answers are streamed, and may take long.\n"
                                          "  proxy_http_version 1.1;\n"
                                          "  proxy_buffering off;\n"
                                          "  proxy_read_timeout 1h;\n"
                                          "  proxy_next_upstream error timeout;\n"
                                          "  client_max_body_size 256m;\n\n" +
                                          upstreams + "\n  server {\n    listen 127.0.0.1:8080;\n" +
                                          locations + "  }\n}\n"});
}

void ExportTraefik(const ExportInput& input, const Replicas& replicas, Exported* out) {
  const std::vector<RouteOf> routes = RoutesOf(replicas, out);
  if (routes.empty()) return;
  std::string routers, middlewares, services;
  for (const RouteOf& route : routes) {
    const bool root = route.path == "/";
    // A prefix of Traefik is one of letters: /phi would match /philosophy too.
    const std::string rule =
        root ? "PathPrefix(`/`)" : fmt::format("Path(`{0}`) || PathPrefix(`{0}/`)", route.path);
    routers +=
        fmt::format("    {0}:\n      rule: {1}\n      service: {0}\n", route.workload, Quote(rule));
    if (!root) {
      routers += fmt::format("      middlewares: [{}-prefix]\n", route.workload);
      middlewares += fmt::format("    {}-prefix:\n      stripPrefix:\n        prefixes: [{}]\n",
                                 route.workload, Quote(route.path));
    }
    services += fmt::format("    {}:\n      loadBalancer:\n        servers:\n", route.workload);
    for (const int port : route.ports) {
      services += fmt::format("          - url: \"http://127.0.0.1:{}\"\n", port);
    }
  }
  std::string text =
      Header(input, "#") + Comments(out->notes, "#") + "http:\n  routers:\n" + routers;
  if (!middlewares.empty()) text += "  middlewares:\n" + middlewares;
  out->files.push_back({"traefik.yaml", text + "  services:\n" + services});
}

}  // namespace tranche::exporting
