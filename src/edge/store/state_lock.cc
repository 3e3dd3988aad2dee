#include "edge/store/state_lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <string_view>
#include <utility>

namespace tranche {
namespace {

tl::unexpected<Error> FromErrno(const std::string& doing, int number) {
  const bool denied = number == EACCES || number == EPERM || number == EROFS;
  return Fail(denied ? ErrorCode::kPermission : ErrorCode::kFailed,
              fmt::format("{}: {}", doing, std::strerror(number)),
              denied ? "run as a user who may write there, or set TRANCHE_STATE_DIR" : "");
}

// "pid 4242 (tranched)", from what the holder wrote; it may be just about to write it.
std::string DescribeHolder(int fd) {
  char text[64] = {};
  if (pread(fd, text, sizeof text - 1, 0) <= 0) return "another process";
  const std::string_view line(text, std::strcspn(text, "\n"));
  return line.empty() ? "another process" : fmt::format("pid {}", line);
}

std::string OwnName() {
  const int fd = open("/proc/self/comm", O_RDONLY | O_CLOEXEC);
  char name[32] = {};
  if (fd >= 0 && read(fd, name, sizeof name - 1) < 0) name[0] = '\0';
  if (fd >= 0) close(fd);
  name[std::strcspn(name, "\n")] = '\0';
  return name;
}

}  // namespace

Result<StateLock> StateLock::Acquire(const std::string& directory) {
  std::error_code error;
  std::filesystem::create_directories(directory, error);
  if (error) return FromErrno(fmt::format("making {}", directory), error.value());

  const std::string path = directory + "/lock";
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
  if (fd < 0) return FromErrno(fmt::format("opening {}", path), errno);
  StateLock lock(fd);
  if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
    if (errno != EWOULDBLOCK) return FromErrno(fmt::format("locking {}", path), errno);
    return Fail(ErrorCode::kBusy, fmt::format("{} is in use by {}", directory, DescribeHolder(fd)),
                "ask that daemon (leave out --local), or stop it first");
  }
  const std::string line = fmt::format("{} ({})\n", getpid(), OwnName());
  if (ftruncate(fd, 0) != 0 || pwrite(fd, line.data(), line.size(), 0) < 0) {
    return FromErrno(fmt::format("writing {}", path), errno);
  }
  return lock;
}

StateLock::StateLock(StateLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

StateLock& StateLock::operator=(StateLock&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

StateLock::~StateLock() {
  if (fd_ >= 0) close(fd_);
}

}  // namespace tranche
