#include "edge/runtime/environment.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace tranche {
namespace {

constexpr std::string_view kPortVariable = "${PORT}";
constexpr const char* kDefaultPath = "/usr/local/bin:/usr/bin:/bin";
// What passes from Tranche to its workloads. TRANCHE_SIM_DIR and LD_LIBRARY_PATH lead to the
// simulated machine, or to a driver installed in an unusual place.
constexpr std::array kPassedThrough = {"LANG", "LC_ALL", "TZ", "LD_LIBRARY_PATH",
                                       "TRANCHE_SIM_DIR"};

bool IsNameCharacter(char c) {
  return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
}

std::string_view Trim(std::string_view text) {
  constexpr std::string_view kBlank = " \t\r";
  const size_t begin = text.find_first_not_of(kBlank);
  if (begin == std::string_view::npos) return {};
  return text.substr(begin, text.find_last_not_of(kBlank) - begin + 1);
}

std::string_view Unquote(std::string_view text) {
  const bool quoted =
      text.size() >= 2 && (text[0] == '"' || text[0] == '\'') && text.front() == text.back();
  return quoted ? text.substr(1, text.size() - 2) : text;
}

}  // namespace

bool IsVariableName(std::string_view name) {
  return !name.empty() && !(name[0] >= '0' && name[0] <= '9') &&
         std::all_of(name.begin(), name.end(), IsNameCharacter);
}

Result<std::string> ExpandPort(std::string_view text, std::optional<int> port) {
  std::string expanded;
  for (size_t at = 0; at < text.size();) {
    const size_t found = text.find(kPortVariable, at);
    expanded += text.substr(at, found - at);
    if (found == std::string_view::npos) break;
    if (!port) {
      return Fail(ErrorCode::kInvalid,
                  fmt::format("'{}' asks for a port, but the workload has none", text),
                  "give the workload a `port` or a `route`");
    }
    expanded += std::to_string(*port);
    at = found + kPortVariable.size();
  }
  return expanded;
}

Result<std::vector<std::string>> ExpandPort(const std::vector<std::string>& texts,
                                            std::optional<int> port) {
  std::vector<std::string> expanded;
  for (const std::string& text : texts) {
    auto one = ExpandPort(text, port);
    if (!one) return tl::unexpected(one.error());
    expanded.push_back(std::move(*one));
  }
  return expanded;
}

Result<Variables> ComposeEnvironment(const ReplicaLaunch& launch, const Variables& inherited,
                                     const UserNames& user, const Variables& secrets) {
  Variables all;
  const auto path = inherited.find("PATH");
  all["PATH"] = path != inherited.end() && !path->second.empty() ? path->second : kDefaultPath;
  for (const char* name : kPassedThrough) {
    if (const auto found = inherited.find(name); found != inherited.end())
      all[name] = found->second;
  }
  all["HOME"] = user.home.empty() ? "/" : user.home;
  if (!user.name.empty()) all["USER"] = all["LOGNAME"] = user.name;

  for (const auto& [name, value] : launch.env) {
    if (!IsVariableName(name)) {
      return Fail(ErrorCode::kInvalid, fmt::format("'{}' is not a name for a variable", name),
                  "use letters, digits and '_'");
    }
    auto expanded = ExpandPort(value, launch.port);
    if (!expanded) return tl::unexpected(expanded.error());
    all[name] = std::move(*expanded);
  }
  for (const auto& [name, value] : secrets) all[name] = value;

  all["CUDA_VISIBLE_DEVICES"] = launch.device_uuid;
  // The order of NVML and nvidia-smi, should the program count devices rather than name them.
  all["CUDA_DEVICE_ORDER"] = "PCI_BUS_ID";
  all["NVIDIA_VISIBLE_DEVICES"] = launch.device_uuid.empty() ? "void" : launch.device_uuid;
  if (launch.limiter) {
    const auto folders = all.find("LD_LIBRARY_PATH");
    const bool others = folders != all.end() && !folders->second.empty();
    all["LD_LIBRARY_PATH"] = launch.limiter->folder + (others ? ":" + folders->second : "");
    all["TRANCHE_REAL_LIBCUDA"] = launch.limiter->libcuda;
    all["TRANCHE_SLICE_FILE"] = launch.limiter->tables.front();
    for (const auto& [name, value] : launch.limiter->env) all[name] = value;
  }
  if (launch.port) {
    all["PORT"] = std::to_string(*launch.port);
  } else {
    all.erase("PORT");
  }
  all["TRANCHE_REPLICA"] = launch.mark.Text();
  return all;
}

Result<Variables> ParseEnvFile(std::string_view text, const std::string& file) {
  constexpr std::string_view kExport = "export ";
  Variables variables;
  int line_number = 0;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    std::string_view line = Trim(text.substr(at, end - at));
    at = end + 1;
    ++line_number;
    if (line.empty() || line[0] == '#') continue;
    if (line.starts_with(kExport)) line = Trim(line.substr(kExport.size()));
    const size_t equals = line.find('=');
    const std::string_view name = Trim(line.substr(0, equals));
    if (equals == std::string_view::npos || !IsVariableName(name) ||
        line.find('\0') != std::string_view::npos) {
      return Fail(
          ErrorCode::kInvalid, fmt::format("{}:{}: not a NAME=value line", file, line_number),
          "write one NAME=value per line; its content is not shown here, as it may be a secret");
    }
    variables[std::string(name)] = Unquote(Trim(line.substr(equals + 1)));
  }
  return variables;
}

}  // namespace tranche
