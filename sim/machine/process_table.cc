#include "sim/machine/process_table.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace tranche::sim {
namespace {

// Reads /proc/PID/stat: the command in parentheses may itself hold spaces and parentheses, so
// fields are counted from the last ')'.
bool ReadStat(uint32_t pid, char* state, uint64_t* start_ticks, char* name, size_t name_size,
              uint32_t* uid) {
  char path[40];
  std::snprintf(path, sizeof(path), "/proc/%u/stat", pid);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  char text[1024];
  ssize_t n = read(fd, text, sizeof(text) - 1);
  struct stat info;
  bool owned = uid == nullptr || fstat(fd, &info) == 0;
  close(fd);
  if (n <= 0 || !owned) return false;
  if (uid != nullptr) *uid = info.st_uid;
  text[n] = 0;
  char* open_paren = std::strchr(text, '(');
  char* close_paren = std::strrchr(text, ')');
  if (open_paren == nullptr || close_paren == nullptr || close_paren[1] == 0) return false;
  *state = close_paren[2];
  if (name != nullptr) {
    size_t length = static_cast<size_t>(close_paren - open_paren - 1);
    if (length >= name_size) length = name_size - 1;
    std::memcpy(name, open_paren + 1, length);
    name[length] = 0;
  }
  // The state is field 3, the start time field 22.
  char* at = close_paren + 2;
  for (int field = 3; field < 22; ++field) {
    at = std::strchr(at, ' ');
    if (at == nullptr) return false;
    ++at;
  }
  *start_ticks = std::strtoull(at, nullptr, 10);
  return true;
}

// The line of the unified hierarchy, "0::/path". Left empty where there is none: such a process is
// under no limit.
void ReadCgroup(uint32_t pid, char* cgroup, size_t size) {
  char path[40];
  std::snprintf(path, sizeof(path), "/proc/%u/cgroup", pid);
  FILE* file = std::fopen(path, "re");
  if (file == nullptr) return;
  char line[512];
  while (std::fgets(line, sizeof(line), file) != nullptr) {
    if (std::strncmp(line, "0::", 3) != 0) continue;
    line[std::strcspn(line, "\n")] = 0;
    std::snprintf(cgroup, size, "%.*s", static_cast<int>(size) - 1, line + 3);
    break;
  }
  std::fclose(file);
}

// Zombies hold no device any more.
bool Runs(char state) { return state != 'Z' && state != 'X' && state != 'x'; }

}  // namespace

bool DescribeProcess(uint32_t pid, Process* process) {
  *process = Process{};
  char state = 0;
  if (!ReadStat(pid, &state, &process->start_ticks, process->name, sizeof(process->name),
                &process->uid)) {
    return false;
  }
  process->pid = pid;
  ReadCgroup(pid, process->cgroup, sizeof(process->cgroup));
  return Runs(state);
}

bool IsAlive(const Process& process) {
  char state = 0;
  uint64_t start = 0;
  return ReadStat(process.pid, &state, &start, nullptr, 0, nullptr) && Runs(state) &&
         start == process.start_ticks;
}

}  // namespace tranche::sim
