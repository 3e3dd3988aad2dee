#pragma once

#include <string>
#include <vector>

#include "edge/routes/router.h"

namespace tranche {

struct NginxSettings {
  std::string directory;  // absolute; where nginx keeps everything
  int port = 8080;
  bool as_root = false;  // the master runs as root: its workers must not
};

// A short digest of what `routes` come to on that port; two configurations that differ have
// different ones.
std::string RoutesDigest(const NginxSettings& settings, const std::vector<Route>& routes);

// The whole configuration. /healthz answers {"status":"ok","config":"DIGEST"}, so that one can tell
// from outside which configuration is in force. `routes` must have passed CheckRoutes. Pure.
std::string NginxConfig(const NginxSettings& settings, const std::vector<Route>& routes);

}  // namespace tranche
