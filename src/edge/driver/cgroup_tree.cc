#include "edge/driver/cgroup_tree.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/errno_code.h"

namespace tranche {
namespace {

namespace fs = std::filesystem;

tl::unexpected<Error> Failed(const std::string& what) {
  const int error = errno;
  return Fail(ErrnoCode(error), what + ": " + std::strerror(error));
}

// The mount point of the unified hierarchy, by /proc/self/mountinfo: the fifth word of the line
// whose first word after " - " is "cgroup2". "" without one.
std::string FindMount(const std::string& root) {
  std::ifstream file(root + "/proc/self/mountinfo");
  std::string line;
  while (std::getline(file, line)) {
    const size_t dash = line.find(" - cgroup2 ");
    if (dash == std::string::npos) continue;
    std::istringstream words(line.substr(0, dash));
    std::string word;
    for (int i = 0; i < 5; ++i) words >> word;
    // A path with blanks is escaped there; nobody mounts it at such a one.
    if (!word.empty() && word.front() == '/' && word.find('\\') == std::string::npos) return word;
  }
  return "";
}

class MountedTree final : public CgroupTree {
 public:
  MountedTree(std::string root, std::string mount)
      : root_(std::move(root)), mount_(std::move(mount)) {}

  const std::string& mount() const override { return mount_; }

  Status CheckWritable() const override {
    const std::string folder = Where("");
    if (access(folder.c_str(), W_OK) == 0) return {};
    return Failed("making a group in " + folder);
  }

  Status MakeGroup(const std::string& group) override {
    if (mkdir(Where(group).c_str(), 0755) == 0 || errno == EEXIST) return {};
    return Failed("making " + Where(group));
  }

  Status RemoveGroup(const std::string& group) override {
    if (rmdir(Where(group).c_str()) == 0 || errno == ENOENT) return {};
    return Failed("removing " + Where(group));
  }

  std::vector<std::string> GroupsIn(const std::string& group) const override {
    std::vector<std::string> groups;
    std::error_code error;
    for (const auto& entry : fs::directory_iterator(Where(group), error)) {
      if (entry.is_directory(error)) groups.push_back(entry.path().filename());
    }
    return groups;
  }

  Result<std::string> Read(const std::string& group, const std::string& file) const override {
    const std::string path = Where(group) + "/" + file;
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return Failed("reading " + path);
    std::string text;
    std::array<char, 4096> buffer;
    ssize_t count = 0;
    while ((count = read(fd, buffer.data(), buffer.size())) > 0)
      text.append(buffer.data(), static_cast<size_t>(count));
    close(fd);
    if (count < 0) return Failed("reading " + path);
    return text;
  }

  // One write: the kernel takes each as an order of its own.
  Status Write(const std::string& group, const std::string& file,
               const std::string& text) override {
    const std::string path = Where(group) + "/" + file;
    const int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC);
    if (fd < 0) return Failed("writing " + path);
    const ssize_t count = write(fd, text.data(), text.size());
    const int error = errno;
    close(fd);
    errno = error;
    if (count == static_cast<ssize_t>(text.size())) return {};
    return Failed(fmt::format("writing '{}' to {}", text, path));
  }

 private:
  std::string Where(const std::string& group) const {
    return root_ == "/" ? FolderOf(group) : root_ + FolderOf(group);
  }

  const std::string root_;
  const std::string mount_;
};

}  // namespace

Result<std::unique_ptr<CgroupTree>> OpenCgroupTree(const std::string& root) {
  const std::string mount = FindMount(root);
  if (mount.empty()) {
    return Fail(ErrorCode::kUnsupported, "no unified hierarchy of cgroups (v2) is mounted here",
                "mount -t cgroup2 none /sys/fs/cgroup, or boot with it");
  }
  return std::unique_ptr<CgroupTree>(std::make_unique<MountedTree>(root, mount));
}

}  // namespace tranche
