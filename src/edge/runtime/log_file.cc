#include "edge/runtime/log_file.h"

#include <errno.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

namespace tranche {
namespace {

class File {
 public:
  File(const std::string& path, int flags, mode_t mode = 0)
      : fd_(open(path.c_str(), flags | O_CLOEXEC | O_NOFOLLOW, mode)) {}
  ~File() {
    if (fd_ >= 0) close(fd_);
  }
  int fd() const { return fd_; }

 private:
  int fd_;
};

tl::unexpected<Error> CannotDo(const char* what, const std::string& path) {
  const int error = errno;
  return Fail(error == ENOENT   ? ErrorCode::kNotFound
              : error == EACCES ? ErrorCode::kPermission
                                : ErrorCode::kFailed,
              fmt::format("cannot {} {}: {}", what, path, strerror(error)));
}

// Where the last `lines` lines begin, reading backwards from `size`, but not before `earliest`.
uint64_t StartOfLastLines(int fd, uint64_t size, uint64_t earliest, int lines) {
  char buffer[8192];
  int seen = 0;
  for (uint64_t end = size; end > earliest;) {
    const uint64_t begin = end - std::min<uint64_t>(sizeof buffer, end - earliest);
    const ssize_t got = pread(fd, buffer, end - begin, static_cast<off_t>(begin));
    if (got <= 0) return end;
    for (ssize_t i = got - 1; i >= 0; --i) {
      const uint64_t at = begin + static_cast<uint64_t>(i);
      // The newline at the very end closes the last line; it does not begin another.
      if (buffer[i] == '\n' && at + 1 != size && ++seen == lines) return at + 1;
    }
    end = begin;
  }
  return earliest;
}

}  // namespace

Result<LogText> ReadLog(const std::string& path, int lines, std::optional<uint64_t> from,
                        Bytes max) {
  const File file(path, O_RDONLY);
  struct stat info;
  if (file.fd() < 0 || fstat(file.fd(), &info) != 0) return CannotDo("read", path);
  const auto size = static_cast<uint64_t>(info.st_size);
  LogText result;
  uint64_t start;
  if (from) {
    start = *from <= size ? *from : 0;
  } else {
    start = StartOfLastLines(file.fd(), size, size - std::min(size, max.value), std::max(lines, 0));
    if (lines <= 0) start = size;
  }
  result.text.resize(std::min(size - start, max.value));
  size_t filled = 0;
  while (filled < result.text.size()) {
    const ssize_t got = pread(file.fd(), result.text.data() + filled, result.text.size() - filled,
                              static_cast<off_t>(start + filled));
    if (got < 0) return CannotDo("read", path);
    if (got == 0) break;  // rotated under our eyes
    filled += static_cast<size_t>(got);
  }
  result.text.resize(filled);
  if (from && lines > 0) {
    size_t at = 0;
    for (int i = 0; i < lines && at != std::string::npos; ++i) {
      at = result.text.find('\n', at);
      if (at != std::string::npos) ++at;
    }
    if (at != std::string::npos) result.text.resize(at);
  }
  // Cut by `max`: at a line's end, unless a single line is longer.
  if (start + result.text.size() < size) {
    const size_t newline = result.text.rfind('\n');
    if (newline != std::string::npos) result.text.resize(newline + 1);
  }
  result.next = start + result.text.size();
  return result;
}

Result<bool> RotateLog(const std::string& path, Bytes limit, int keep) {
  const File file(path, O_RDWR);
  struct stat info;
  if (file.fd() < 0 || fstat(file.fd(), &info) != 0) {
    if (errno == ENOENT) return false;
    return CannotDo("rotate", path);
  }
  if (static_cast<uint64_t>(info.st_size) <= limit.value) return false;
  if (keep > 0) {
    for (int i = keep - 1; i >= 1; --i) {
      std::rename(fmt::format("{}.{}", path, i).c_str(), fmt::format("{}.{}", path, i + 1).c_str());
    }
    const std::string target = path + ".1";
    const std::string part = path + ".part";
    unlink(part.c_str());
    const File copy(part, O_WRONLY | O_CREAT | O_EXCL, 0640);
    if (copy.fd() < 0) return CannotDo("write", part);
    if (fchown(copy.fd(), info.st_uid, info.st_gid) != 0) return CannotDo("give away", part);
    // To the end as it is by now, not as it was: the less is between the copy and the truncation,
    // the better.
    ssize_t sent;
    while ((sent = sendfile(copy.fd(), file.fd(), nullptr, size_t{1} << 20)) > 0) {
    }
    if (sent < 0) return CannotDo("copy", path);
    if (std::rename(part.c_str(), target.c_str()) != 0) return CannotDo("rename", part);
  }
  if (ftruncate(file.fd(), 0) != 0) return CannotDo("truncate", path);
  return true;
}

}  // namespace tranche
