#include "stage/inventory/proc.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <pwd.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <vector>

#include "stage/inventory/text.h"

namespace tranche {
namespace {

constexpr size_t kLongestCommand = 4096;

bool IsHex(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); }

// The lines of a text, without their ends.
std::vector<std::string_view> Lines(std::string_view text) {
  std::vector<std::string_view> lines;
  while (!text.empty()) {
    const size_t end = std::min(text.find('\n'), text.size());
    lines.push_back(text.substr(0, end));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return lines;
}

// The value of a "Key:\tvalue" line.
std::string_view Field(std::string_view text, std::string_view key) {
  for (std::string_view line : Lines(text)) {
    if (line.substr(0, key.size()) != key || line.substr(key.size(), 1) != ":") continue;
    line.remove_prefix(key.size() + 1);
    line.remove_prefix(std::min(line.find_first_not_of(" \t"), line.size()));
    return line;
  }
  return {};
}

// Container ids are 64 hex digits, with something else or nothing on both sides. The last one
// counts: a container in a container has its own id further in.
std::string_view LastId(std::string_view path) {
  constexpr size_t kDigits = 64;
  std::string_view found;
  size_t run = 0;
  for (size_t i = 0; i <= path.size(); ++i) {
    if (i < path.size() && IsHex(path[i])) {
      ++run;
      continue;
    }
    if (run == kDigits) found = path.substr(i - kDigits, kDigits);
    run = 0;
  }
  return found;
}

std::string LxcName(std::string_view path) {
  for (const std::string_view prefix : {"/lxc.payload.", "/lxc/"}) {
    const size_t at = path.find(prefix);
    if (at == std::string_view::npos) continue;
    const std::string_view name = path.substr(at + prefix.size());
    return Shortened(Printable(name.substr(0, name.find('/'))), 64);
  }
  return "";
}

std::string UserName(const std::string& root, uint32_t uid) {
  constexpr size_t kLargestPasswd = size_t{4} << 20;
  const std::string name = UserFromPasswd(ReadSmallFile(root + "/etc/passwd", kLargestPasswd), uid);
  if (!name.empty()) return name;
  if (root == "/" || root.empty()) {
    // Users of a directory service are in no file.
    std::vector<char> buffer(size_t{1} << 14);
    passwd entry = {};
    passwd* result = nullptr;
    if (getpwuid_r(uid, &entry, buffer.data(), buffer.size(), &result) == 0 && result != nullptr) {
      return Printable(result->pw_name);
    }
  }
  return std::to_string(uid);
}

}  // namespace

std::string ReadSmallFile(const std::string& path, size_t limit) {
  std::string text;
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) return text;
  char buffer[4096];
  while (text.size() < limit) {
    const ssize_t got = read(fd, buffer, std::min(sizeof(buffer), limit - text.size()));
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) break;
    text.append(buffer, static_cast<size_t>(got));
  }
  close(fd);
  return text;
}

std::string ContainerFromCgroup(std::string_view cgroup) {
  std::string lxc;
  for (const std::string_view line : Lines(cgroup)) {
    // "4:memory:/path" or "0::/path"; a path may hold colons ("system.slice:docker:<id>").
    const size_t first = line.find(':');
    const size_t second = first == std::string_view::npos ? first : line.find(':', first + 1);
    if (second == std::string_view::npos) continue;
    const std::string_view path = line.substr(second + 1);
    const std::string_view id = LastId(path);
    if (!id.empty()) return std::string(id.substr(0, 12));
    if (lxc.empty()) lxc = LxcName(path);
  }
  return lxc;
}

std::string CommandFromCmdline(std::string_view cmdline) {
  while (!cmdline.empty() && cmdline.back() == '\0') cmdline.remove_suffix(1);
  const bool cut = cmdline.size() > kLongestCommand;
  std::string command(cmdline.substr(0, kLongestCommand));
  std::replace(command.begin(), command.end(), '\0', ' ');
  if (cut) {
    // Not in the middle of a character, or what is left of it would look like broken text.
    while (!command.empty() && (static_cast<unsigned char>(command.back()) & 0xc0) == 0x80) {
      command.pop_back();
    }
    if (!command.empty() && (static_cast<unsigned char>(command.back()) & 0x80) != 0) {
      command.pop_back();
    }
  }
  return Printable(command) + (cut ? "..." : "");
}

Reading<uint32_t> UidFromStatus(std::string_view status) {
  const std::string_view field = Field(status, "Uid");
  uint32_t uid = 0;
  const auto [end, error] = std::from_chars(field.data(), field.data() + field.size(), uid);
  if (error != std::errc() || end == field.data()) {
    return Reading<uint32_t>::Absent("the process has ended, or is hidden from this user");
  }
  return uid;
}

std::string UserFromPasswd(std::string_view passwd, uint32_t uid) {
  for (const std::string_view line : Lines(passwd)) {
    const size_t name_end = line.find(':');
    if (name_end == std::string_view::npos || name_end == 0) continue;
    const size_t password_end = line.find(':', name_end + 1);
    if (password_end == std::string_view::npos) continue;
    uint32_t number = 0;
    const char* begin = line.data() + password_end + 1;
    const char* line_end = line.data() + line.size();
    const auto [end, error] = std::from_chars(begin, line_end, number);
    if (error != std::errc() || end == line_end || *end != ':' || number != uid) continue;
    return Shortened(Printable(line.substr(0, name_end)), 64);
  }
  return "";
}

uint64_t EffectiveCapabilities(std::string_view status) {
  const std::string_view field = Field(status, "CapEff");
  uint64_t bits = 0;
  std::from_chars(field.data(), field.data() + field.size(), bits, 16);
  return bits;
}

void Identify(const std::string& root, GpuProcess* process) {
  const std::string folder = fmt::format("{}/proc/{}/", root, process->pid);
  process->uid = UidFromStatus(ReadSmallFile(folder + "status", size_t{1} << 14));
  if (process->uid) process->user = UserName(root, *process->uid);
  process->container = ContainerFromCgroup(ReadSmallFile(folder + "cgroup", size_t{1} << 16));
  std::string command = CommandFromCmdline(ReadSmallFile(folder + "cmdline", kLongestCommand * 2));
  if (command.empty()) {
    // Zombies and processes that wiped their arguments still have a name.
    std::string name = ReadSmallFile(folder + "comm", 256);
    if (!name.empty() && name.back() == '\n') name.pop_back();
    if (!name.empty()) command = "[" + Printable(name) + "]";
  }
  if (command.empty()) command = CommandFromCmdline(process->command);
  process->command = std::move(command);
}

}  // namespace tranche
