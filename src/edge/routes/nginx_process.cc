#include "edge/routes/nginx_process.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace tranche {
namespace {

namespace fs = std::filesystem;

// The command line with blanks between the arguments, which is how nginx itself writes its title.
std::string TitleOf(pid_t pid) {
  // Not through streambuf iterators: they throw where read(2) fails, as it does (ESRCH) for a
  // process that ends between opening and reading.
  std::ostringstream text;
  text << std::ifstream(fmt::format("/proc/{}/cmdline", pid), std::ios::binary).rdbuf();
  std::string title = text.str();
  std::replace(title.begin(), title.end(), '\0', ' ');
  title.erase(title.find_last_not_of(' ') + 1);
  return title;
}

std::vector<ProcessStat> AllNginx() {
  std::vector<ProcessStat> all;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator("/proc", error)) {
    const std::string name = entry.path().filename();
    pid_t pid = 0;
    const auto [end, wrong] = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (wrong != std::errc() || end != name.data() + name.size()) continue;
    const auto stat = ReadProcessStat(pid);
    if (stat && stat->state != 'Z' && stat->command == "nginx") all.push_back(*stat);
  }
  return all;
}

}  // namespace

std::optional<ProcessId> FindMaster(const std::string& directory) {
  for (const ProcessStat& stat : AllNginx()) {
    const bool leads = stat.session == stat.id.pid;
    if (leads && TitleOf(stat.id.pid).ends_with(" -c " + directory + "/nginx.conf")) return stat.id;
  }
  return {};
}

std::vector<NginxWorker> WorkersOf(pid_t master) {
  std::vector<NginxWorker> workers;
  for (const ProcessStat& stat : AllNginx()) {
    if (stat.session != master || stat.id.pid == master) continue;
    workers.push_back({stat.id, TitleOf(stat.id.pid).ends_with("is shutting down")});
  }
  return workers;
}

}  // namespace tranche
