#include <unistd.h>

#include <cstdlib>

#include "engine/engine.h"

namespace tranche {
namespace {

// The variable's value, or `otherwise` when it is unset or no absolute path.
std::string DirectoryFrom(const char* variable, const std::string& otherwise) {
  const char* value = std::getenv(variable);
  return value != nullptr && value[0] == '/' ? value : otherwise;
}

}  // namespace

Paths Paths::FromEnvironment() {
  const std::string chosen = DirectoryFrom("TRANCHE_STATE_DIR", "");
  if (!chosen.empty()) return {chosen, chosen + "/run", chosen + "/etc"};
  if (geteuid() == 0) return {"/var/lib/tranche", "/run/tranche", "/etc/tranche"};

  const std::string home = DirectoryFrom("HOME", "/");
  Paths paths;
  paths.state = DirectoryFrom("XDG_STATE_HOME", home + "/.local/state") + "/tranche";
  const std::string runtime = DirectoryFrom("XDG_RUNTIME_DIR", "");
  paths.run = runtime.empty() ? paths.state + "/run" : runtime + "/tranche";
  paths.config = DirectoryFrom("XDG_CONFIG_HOME", home + "/.config") + "/tranche";
  return paths;
}

}  // namespace tranche
