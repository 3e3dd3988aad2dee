#include "edge/driver/vgpu/sysfs.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "base/errno_code.h"

namespace tranche {
namespace {

namespace fs = std::filesystem;

// Of an order to a driver: these are its word for what it has no room for.
ErrorCode CodeOfOrder(int error) {
  const bool refused = error == EIO || error == ENOSPC || error == ENOMEM;
  return refused ? ErrorCode::kDoesNotFit : ErrnoCode(error);
}

tl::unexpected<Error> Failed(const std::string& what) {
  const int error = errno;
  return Fail(ErrnoCode(error), what + ": " + std::strerror(error));
}

class KernelSysfs final : public Sysfs {
 public:
  explicit KernelSysfs(std::string root) : root_(std::move(root)) {}

  bool Exists(const std::string& path) const override {
    return access(Where(path).c_str(), F_OK) == 0;
  }

  std::vector<std::string> List(const std::string& folder) const override {
    std::vector<std::string> names;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(Where(folder), error))
      names.push_back(entry.path().filename());
    std::sort(names.begin(), names.end());
    return names;
  }

  Result<std::string> Read(const std::string& path) const override {
    const int fd = open(Where(path).c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return Failed("reading " + path);
    std::string text;
    std::array<char, 4096> buffer;
    ssize_t count = 0;
    while ((count = read(fd, buffer.data(), buffer.size())) > 0)
      text.append(buffer.data(), static_cast<size_t>(count));
    if (count < 0) {
      const auto failed = Failed("reading " + path);
      close(fd);
      return failed;
    }
    close(fd);
    text.erase(text.find_last_not_of(" \n\t") + 1);
    return text;
  }

  Status Write(const std::string& path, const std::string& text) override {
    const int fd = open(Where(path).c_str(), O_WRONLY | O_TRUNC | O_CLOEXEC);
    if (fd < 0) return Failed("writing " + path);
    const ssize_t count = write(fd, text.data(), text.size());
    if (count == static_cast<ssize_t>(text.size())) {
      close(fd);
      return {};
    }
    if (count >= 0) errno = EIO;
    const int error = errno;
    close(fd);
    return Fail(CodeOfOrder(error),
                "writing " + text + " to " + path + ": " + std::strerror(error));
  }

  std::string LinkName(const std::string& path) const override {
    std::error_code error;
    return fs::read_symlink(Where(path), error).filename().string();
  }

  std::vector<int> Holders(const std::string& device) const override {
    std::vector<int> pids;
    std::error_code error;
    for (const auto& process : fs::directory_iterator(root_ + "/proc", error)) {
      const std::string name = process.path().filename();
      if (name.find_first_not_of("0123456789") != std::string::npos) continue;
      std::error_code hidden;
      for (const auto& fd : fs::directory_iterator(process.path() / "fd", hidden)) {
        std::error_code gone;
        if (fs::read_symlink(fd.path(), gone) != device) continue;
        pids.push_back(std::stoi(name));
        break;
      }
    }
    std::sort(pids.begin(), pids.end());
    return pids;
  }

 private:
  std::string Where(const std::string& path) const { return root_ + path; }

  const std::string root_;
};

}  // namespace

std::unique_ptr<Sysfs> OpenSysfs(std::string root) {
  while (!root.empty() && root.back() == '/') root.pop_back();
  return std::make_unique<KernelSysfs>(std::move(root));
}

}  // namespace tranche
