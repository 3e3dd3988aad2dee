#include "edge/broker/handshake_watch.h"

#include <fstream>
#include <sstream>

#include "base/process.h"

namespace tranche {
namespace {

// So long a process may be on the driver's list and in no table.
constexpr Duration kPatience = std::chrono::milliseconds(150);
constexpr int kDeepest = 256;  // of a chain of parents

std::string ProcFile(const std::string& root, int pid, const char* name) {
  return root + (root.ends_with('/') ? "" : "/") + "proc/" + std::to_string(pid) + "/" + name;
}

// Its memory goes first when a process ends; what it holds of a GPU goes last.
bool IsEnding(const std::string& root, int pid) {
  std::ifstream file(ProcFile(root, pid, "statm"));
  uint64_t pages = 0;
  return !(file >> pages) || pages == 0;
}

// As the process sees its own pid, which differs in a pid namespace.
int OwnPid(const std::string& root, int pid) {
  std::ifstream file(ProcFile(root, pid, "status"));
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("NSpid:", 0) != 0) continue;
    std::istringstream words(line.substr(6));
    int innermost = pid;
    for (int one; words >> one;) innermost = one;
    return innermost;
  }
  return pid;
}

}  // namespace

std::vector<GpuProcess> HandshakeWatch::Look(const std::string& gpu_uuid,
                                             const std::vector<GpuProcess>& processes,
                                             const std::set<int>& members, Duration now) {
  std::vector<GpuProcess> found;
  std::map<int, Duration> seen;
  const std::map<int, Duration>& before = seen_[gpu_uuid];
  for (const GpuProcess& process : processes) {
    // What only draws is under no limiter.
    if (process.graphics || members.count(OwnPid(root_, process.pid)) != 0) continue;
    if (IsEnding(root_, process.pid)) continue;
    const auto first = before.find(process.pid);
    seen.emplace(process.pid, first != before.end() ? first->second : now);
    if (first != before.end() && now - first->second >= kPatience) found.push_back(process);
  }
  seen_[gpu_uuid] = std::move(seen);
  return found;
}

bool DescendsFrom(int pid, int ancestor, const std::string& root) {
  for (int depth = 0; depth < kDeepest && pid > 1; ++depth) {
    if (pid == ancestor) return true;
    const auto stat = ReadProcessStat(pid, root);
    if (!stat) return false;
    pid = stat->parent;
  }
  return false;
}

}  // namespace tranche
