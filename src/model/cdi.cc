#include "model/cdi.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "base/json.h"

namespace tranche {
namespace {

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
std::string LowestVersion(const std::string& name, const Json& edits) {
  if (edits.contains("netDevices")) return "1.1.0";
  if (edits.contains("additionalGids") || edits.contains("additionalGIDs") ||
      edits.contains("intelRdt"))
    return "0.7.0";
  if ((name.front() >= '0' && name.front() <= '9') || AnyHas(edits, "deviceNodes", "hostPath"))
    return "0.5.0";
  if (AnyHas(edits, "mounts", "type")) return "0.4.0";
  return "0.3.0";
}

Json MountOf(const CdiMount& mount) {
  return {{"hostPath", mount.host_path},
          {"containerPath", mount.container_path},
          {"options", {mount.writable ? "rw" : "ro", "nosuid", "nodev", "rbind", "rprivate"}}};
}

Result<Json> EditsOf(const CdiDevice& device) {
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
  return edits;
}

}  // namespace

Result<std::string> PrintCdi(const std::vector<CdiDevice>& devices) {
  Json list = Json::array();
  std::string version;
  for (const CdiDevice& device : devices) {
    auto edits = EditsOf(device);
    if (!edits) return tl::unexpected(edits.error());
    // They are of one length, and so in the order of their text.
    version = std::max(version, LowestVersion(device.name, *edits));
    list.push_back({{"name", device.name}, {"containerEdits", std::move(*edits)}});
  }
  return PrintJson({{"cdiVersion", version}, {"kind", kCdiKind}, {"devices", std::move(list)}});
}

}  // namespace tranche
