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

}  // namespace

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
  const auto text = PrintCdi({device});
  if (!text) return tl::unexpected(text.error());
  std::error_code no_folder;
  fs::create_directories(folder, no_folder);
  const std::string file = CdiFile(folder, device.name);
  // No name that is taken for a device's file while it is being written.
  const std::string temporary = file + ".new";
  errno = 0;
  std::ofstream out(temporary, std::ios::trunc);
  out << *text;
  out.close();
  if (!out || chmod(temporary.c_str(), 0644) != 0 || rename(temporary.c_str(), file.c_str()) != 0) {
    // Why there is no folder says more than that there is none.
    const int why = no_folder ? no_folder.value() : errno;
    unlink(temporary.c_str());
    return Fail(
        why == EACCES || why == EPERM || why == EROFS ? ErrorCode::kPermission : ErrorCode::kFailed,
        fmt::format("cannot write {}: {}", file, std::strerror(why)),
        "containers get their slice by a CDI file, which podman and docker look for there");
  }
  return {};
}

void RemoveCdi(const std::string& folder, const std::string& name) {
  unlink(CdiFile(folder, name).c_str());
}

}  // namespace tranche
