#include "edge/runtime/env_file.h"

#include <errno.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

namespace tranche {
namespace {

constexpr size_t kMaxBytes = size_t{1} << 20;
// A child's exit code is an errno, or one of these; errnos end at 133.
constexpr int kNotRegular = 200;
constexpr int kTooLarge = 201;

// Only async-signal-safe calls: the parent may have threads.
[[noreturn]] void ReadInChild(const Credentials& credentials, const char* path, int out) {
  if (const int error = TakeOn(credentials)) _exit(error);
  // Without O_NONBLOCK somebody's FIFO would hold us.
  const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
  if (fd < 0) _exit(errno);
  struct stat file;
  if (fstat(fd, &file) != 0) _exit(errno);
  if (!S_ISREG(file.st_mode)) _exit(kNotRegular);
  char buffer[4096];
  size_t total = 0;
  ssize_t got;
  while ((got = read(fd, buffer, sizeof buffer)) > 0) {
    total += static_cast<size_t>(got);
    if (total > kMaxBytes) _exit(kTooLarge);
    for (ssize_t done = 0; done < got;) {
      const ssize_t wrote = write(out, buffer + done, static_cast<size_t>(got - done));
      if (wrote < 0) _exit(errno);
      done += wrote;
    }
  }
  _exit(got < 0 ? errno : 0);
}

}  // namespace

Result<std::string> ReadFileAs(const Credentials& credentials, const std::string& path) {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) {
    return Fail(ErrorCode::kFailed, fmt::format("cannot read {}: {}", path, strerror(errno)));
  }
  const pid_t child = fork();
  if (child == 0) ReadInChild(credentials, path.c_str(), ends[1]);
  const int fork_error = errno;
  close(ends[1]);
  std::string text;
  if (child > 0) {
    char buffer[4096];
    ssize_t got;
    while ((got = read(ends[0], buffer, sizeof buffer)) > 0 || (got < 0 && errno == EINTR)) {
      if (got > 0) text.append(buffer, static_cast<size_t>(got));
    }
  }
  close(ends[0]);
  if (child < 0) {
    return Fail(ErrorCode::kFailed, fmt::format("cannot read {}: {}", path, strerror(fork_error)));
  }
  int status = 0;
  while (waitpid(child, &status, 0) < 0 && errno == EINTR) {
  }
  const int code = WIFEXITED(status) ? WEXITSTATUS(status) : EIO;
  if (code == 0) return text;
  if (code == kNotRegular)
    return Fail(ErrorCode::kInvalid, fmt::format("{} is not a regular file", path));
  if (code == kTooLarge)
    return Fail(ErrorCode::kInvalid, fmt::format("{} is larger than 1 MiB", path));
  const ErrorCode kind = code == ENOENT || code == ENOTDIR ? ErrorCode::kNotFound
                         : code == EACCES || code == EPERM ? ErrorCode::kPermission
                                                           : ErrorCode::kFailed;
  return Fail(
      kind, fmt::format("cannot read {} as uid {}: {}", path, credentials.uid, strerror(code)),
      kind == ErrorCode::kPermission ? "the user whom the workload runs as must be able to read it"
                                     : "");
}

}  // namespace tranche
