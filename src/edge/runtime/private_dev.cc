#include "edge/runtime/private_dev.h"

#include <errno.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <filesystem>
#include <fstream>

namespace tranche {
namespace {

namespace fs = std::filesystem;

// The descriptor of the machine's /dev while it is covered; any number free in a child will do.
constexpr int kOldDev = 900;

constexpr std::array kHarmlessNodes = {"null", "zero", "full", "random", "urandom", "tty", "log"};
constexpr std::array kHarmlessDirectories = {"pts", "shm", "mqueue", "hugepages"};
constexpr std::array<std::array<const char*, 2>, 6> kLinks = {{{"/proc/self/fd", "/dev/fd"},
                                                               {"/proc/self/fd/0", "/dev/stdin"},
                                                               {"/proc/self/fd/1", "/dev/stdout"},
                                                               {"/proc/self/fd/2", "/dev/stderr"},
                                                               {"pts/ptmx", "/dev/ptmx"},
                                                               {"/proc/kcore", "/dev/core"}}};
// Without these no CUDA program starts, whatever its GPU.
constexpr std::array kCommonNodes = {"nvidiactl", "nvidia-uvm", "nvidia-uvm-tools"};

std::string Under(const std::string& root, const std::string& path) {
  return root.ends_with('/') ? root + path : root + "/" + path;
}

bool Exists(const std::string& path) {
  std::error_code ignored;
  return fs::exists(path, ignored);
}

// The minor number in a file like "DeviceFileMinor: 12\nDeviceFileMode: 292\n".
Result<int> CapabilityMinor(const std::string& file) {
  constexpr std::string_view kKey = "DeviceFileMinor:";
  std::ifstream in(file);
  for (std::string line; std::getline(in, line);) {
    if (!line.starts_with(kKey)) continue;
    const size_t begin = line.find_first_not_of(' ', kKey.size());
    int minor = -1;
    if (begin != std::string::npos) {
      std::from_chars(line.data() + begin, line.data() + line.size(), minor);
    }
    if (minor >= 0) return minor;
  }
  return Fail(ErrorCode::kUnsupported,
              fmt::format("{} does not tell the node of the instance", file));
}

}  // namespace

Result<std::vector<std::string>> GrantedNodes(const std::string& root,
                                              const std::vector<DeviceGrant>& grants) {
  std::vector<std::string> nodes(kCommonNodes.begin(), kCommonNodes.end());
  for (const DeviceGrant& grant : grants) {
    nodes.push_back(fmt::format("nvidia{}", grant.gpu_minor));
    if (!grant.gpu_instance) continue;
    const std::string instance =
        Under(root, fmt::format("proc/driver/nvidia/capabilities/gpu{}/mig/gi{}", grant.gpu_minor,
                                *grant.gpu_instance));
    std::vector<std::string> files = {instance + "/access"};
    if (grant.compute_instance)
      files.push_back(fmt::format("{}/ci{}/access", instance, *grant.compute_instance));
    for (const std::string& file : files) {
      const auto minor = CapabilityMinor(file);
      if (!minor) return tl::unexpected(minor.error());
      nodes.push_back(fmt::format("nvidia-caps/nvidia-cap{}", *minor));
    }
  }
  std::erase_if(nodes,
                [&](const std::string& node) { return !Exists(Under(root, "dev/" + node)); });
  return nodes;
}

bool HasDeviceNodes(const std::string& root) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(Under(root, "dev"), error)) {
    if (entry.path().filename().string().starts_with("nvidia")) return true;
  }
  return false;
}

PrivateDev::PrivateDev(const std::string& root, const std::vector<std::string>& gpu_nodes)
    : old_dev_(Under(root, "dev")) {
  const auto add = [this](const std::string& name, bool directory) {
    entries_.push_back(
        {"/dev/" + name, fmt::format("/proc/self/fd/{}/{}", kOldDev, name), directory});
  };
  // On another root (a test's) there are only GPU nodes; the rest comes from the machine's own
  // /dev, which then is what the descriptor is opened on, and the GPU nodes are named in full.
  const bool other_root = old_dev_ != "/dev";
  for (const char* name : kHarmlessNodes) {
    if (Exists(std::string("/dev/") + name)) add(name, false);
  }
  for (const char* name : kHarmlessDirectories) {
    if (Exists(std::string("/dev/") + name)) add(name, true);
  }
  for (const std::string& node : gpu_nodes) {
    const std::string parent = fs::path("/dev/" + node).parent_path();
    if (parent != "/dev" &&
        std::find(directories_.begin(), directories_.end(), parent) == directories_.end()) {
      directories_.push_back(parent);
    }
    add(node, false);
    if (other_root) entries_.back().source = old_dev_ + "/" + node;
  }
}

int PrivateDev::Enter() const {
  if (unshare(CLONE_NEWNS) != 0) return errno;
  // Slave: what is mounted on the machine later appears here, but nothing goes back.
  if (mount(nullptr, "/", nullptr, MS_SLAVE | MS_REC, nullptr) != 0) return errno;
  const int old_dev = open("/dev", O_PATH | O_DIRECTORY | O_CLOEXEC);
  if (old_dev < 0 || dup3(old_dev, kOldDev, O_CLOEXEC) < 0) return errno;
  if (mount("tranche", "/dev", "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=0755,size=64k") != 0)
    return errno;
  for (const std::string& directory : directories_) {
    if (mkdir(directory.c_str(), 0755) != 0 && errno != EEXIST) return errno;
  }
  for (const Entry& entry : entries_) {
    if (entry.directory) {
      if (mkdir(entry.name.c_str(), 0755) != 0) return errno;
    } else {
      const int fd = open(entry.name.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
      if (fd < 0) return errno;
      close(fd);
    }
    if (mount(entry.source.c_str(), entry.name.c_str(), nullptr, MS_BIND | MS_REC, nullptr) != 0)
      return errno;
  }
  for (const auto& [target, link] : kLinks) {
    if (symlink(target, link) != 0) return errno;
  }
  close(kOldDev);
  close(old_dev);
  return 0;
}

}  // namespace tranche
