#pragma once

#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "edge/runtime/runtime.h"

namespace tranche {

using Variables = std::map<std::string, std::string>;

// Who a replica runs as, for the variables that say so.
struct UserNames {
  std::string name;  // "" when the user database does not know the uid
  std::string home;
};

// "${PORT}" by the port in every argument and value. kInvalid when a text asks for a port and there
// is none.
Result<std::string> ExpandPort(std::string_view text, std::optional<int> port);
Result<std::vector<std::string>> ExpandPort(const std::vector<std::string>& texts,
                                            std::optional<int> port);

// The whole environment of a replica; see ReplicaLaunch::env for what wins. `inherited` is
// Tranche's own environment, `secrets` comes from env_from. Pure.
Result<Variables> ComposeEnvironment(const ReplicaLaunch& launch, const Variables& inherited,
                                     const UserNames& user, const Variables& secrets);

// NAME=value lines; empty lines and those that begin with '#' are skipped, "export NAME=value" is
// read, too, one pair of quotes around a value is taken off, and nothing is expanded. Mistakes name
// `file` and the line, never its content: it may be a secret.
Result<Variables> ParseEnvFile(std::string_view text, const std::string& file);

// Letters, digits and '_', not beginning with a digit.
bool IsVariableName(std::string_view name);

}  // namespace tranche
