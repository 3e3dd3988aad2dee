#include "edge/runtime/cdi.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <fstream>

#include "base/json.h"
#include "base/yaml.h"

namespace tranche {
namespace {

namespace fs = std::filesystem;

bool IsName(const std::string& name) {
  const auto plain = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
  };
  return !name.empty() && plain(name.front()) && plain(name.back()) &&
         std::all_of(name.begin(), name.end(),
                     [&](char c) { return plain(c) || std::strchr("_.:-", c) != nullptr; });
}

bool AnyHas(const Json& edits, const char* list, const char* key) {
  const auto found = edits.find(list);
  if (found == edits.end() || !found->is_array()) return false;
  return std::any_of(found->begin(), found->end(),
                     [&](const Json& entry) { return entry.is_object() && entry.contains(key); });
}

// Which version first had what the edits say; the kind and the names are ours and plain.
const char* LowestVersion(const std::string& name, const Json& edits) {
  if (edits.contains("netDevices")) return "1.1.0";
  if (edits.contains("additionalGids") || edits.contains("additionalGIDs") ||
      edits.contains("intelRdt"))
    return "0.7.0";
  if ((name.front() >= '0' && name.front() <= '9') || AnyHas(edits, "deviceNodes", "hostPath"))
    return "0.5.0";
  if (AnyHas(edits, "mounts", "type")) return "0.4.0";
  return "0.3.0";
}

// YAML has no types of its own for what matters here: numbers, truth and text.
Json ToJson(const YamlNode& node) {
  if (node.IsMap()) {
    Json map = Json::object();
    for (const auto& [key, value] : node.members) map[key.scalar] = ToJson(value);
    return map;
  }
  if (node.IsSequence()) {
    Json list = Json::array();
    for (const YamlNode& item : node.items) list.push_back(ToJson(item));
    return list;
  }
  const std::string& text = node.scalar;
  const bool digits =
      !text.empty() && text.size() < 10 &&
      std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
  if (node.quoted) return text;
  if (digits) return std::stoll(text);
  if (text == "true" || text == "false") return text == "true";
  return text;
}

Json MountOf(const CdiMount& mount) {
  return {{"hostPath", mount.host_path},
          {"containerPath", mount.container_path},
          {"options", {mount.writable ? "rw" : "ro", "nosuid", "nodev", "rbind", "rprivate"}}};
}

}  // namespace

Result<std::string> PrintCdi(const CdiDevice& device) {
  if (!IsName(device.name))
    return Fail(ErrorCode::kInvalid, fmt::format("'{}' cannot be a device's name", device.name));
  Json edits = Json::object();
  if (!device.driver_edits.empty()) {
    auto parsed = ParseJson(device.driver_edits);
    if (!parsed || !parsed->is_object())
      return Fail(ErrorCode::kInvalid, "what the driver needs is no JSON object");
    edits = std::move(*parsed);
  }
  Json& environment = edits["env"];
  if (!environment.is_array()) environment = Json::array();
  // Whatever the driver's file says of it: the devices are those that are named here.
  for (size_t i = environment.size(); i-- > 0;) {
    const Json& entry = environment[i];
    if (!entry.is_string() || entry.get<std::string>().starts_with("NVIDIA_VISIBLE_DEVICES="))
      environment.erase(i);
  }
  environment.push_back("NVIDIA_VISIBLE_DEVICES=void");
  for (const std::string& variable : device.environment) environment.push_back(variable);
  if (!device.nodes.empty()) {
    Json& nodes = edits["deviceNodes"];
    if (!nodes.is_array()) nodes = Json::array();
    for (const std::string& path : device.nodes) {
      const bool known = std::any_of(nodes.begin(), nodes.end(), [&](const Json& node) {
        return node.is_object() && node.value("path", "") == path;
      });
      if (!known) nodes.push_back({{"path", path}});
    }
  }
  if (!device.mounts.empty()) {
    Json& mounts = edits["mounts"];
    if (!mounts.is_array()) mounts = Json::array();
    for (const CdiMount& mount : device.mounts) mounts.push_back(MountOf(mount));
  }
  return PrintJson({{"cdiVersion", LowestVersion(device.name, edits)},
                    {"kind", kCdiKind},
                    {"devices", {{{"name", device.name}, {"containerEdits", edits}}}}});
}

Result<std::string> DriverEditsOf(const std::string& text, const std::string& file) {
  // JSON is YAML as well.
  const auto root = ParseYaml(text);
  if (!root)
    return Fail(ErrorCode::kInvalid,
                fmt::format("{}:{}: {}", file, root.error().line, root.error().message));
  const YamlNode* edits = root->IsMap() ? root->Find("containerEdits") : nullptr;
  if (edits == nullptr || !edits->IsMap()) return std::string();
  return PrintJsonLine(ToJson(*edits));
}

std::string CdiFile(const std::string& folder, const std::string& name) {
  return fmt::format("{}/tranche.dev-slice-{}.json", folder, name);
}

Status WriteCdi(const std::string& folder, const CdiDevice& device) {
  const auto text = PrintCdi(device);
  if (!text) return tl::unexpected(text.error());
  std::error_code ignored;
  fs::create_directories(folder, ignored);
  const std::string file = CdiFile(folder, device.name);
  // No name that is taken for a device's file while it is being written.
  const std::string temporary = file + ".new";
  errno = 0;
  std::ofstream out(temporary, std::ios::trunc);
  out << *text;
  out.close();
  if (!out || chmod(temporary.c_str(), 0644) != 0 || rename(temporary.c_str(), file.c_str()) != 0) {
    const int why = errno;
    unlink(temporary.c_str());
    return Fail(
        why == EACCES || why == EPERM || why == EROFS ? ErrorCode::kPermission : ErrorCode::kFailed,
        fmt::format("cannot write {}: {}", file, std::strerror(why)),
        "containers get their slice by a CDI file, which podman and docker look for there; "
        "run tranched as root");
  }
  return {};
}

void RemoveCdi(const std::string& folder, const std::string& name) {
  unlink(CdiFile(folder, name).c_str());
}

}  // namespace tranche
