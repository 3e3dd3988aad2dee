#include "sim/root/namespace.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstring>

namespace tranche::sim {
namespace {

Status Broken(const std::string& what, int why) {
  const ErrorCode code =
      why == EPERM || why == EACCES ? ErrorCode::kPermission : ErrorCode::kUnsupported;
  return Fail(code, what + ": " + std::strerror(why),
              "--root wants mount namespaces: root's rights, or user namespaces "
              "(kernel.unprivileged_userns_clone, user.max_user_namespaces, "
              "kernel.apparmor_restrict_unprivileged_userns); without --root programs run with the "
              "simulated libraries alone");
}

Status WriteText(const char* path, const std::string& text) {
  const int fd = open(path, O_WRONLY | O_CLOEXEC);
  const bool done =
      fd >= 0 && write(fd, text.data(), text.size()) == static_cast<ssize_t>(text.size());
  const int why = errno;
  if (fd >= 0) close(fd);
  return done ? Status{} : Broken(std::string("cannot write ") + path, why);
}

Status NewNamespaces() {
  if (unshare(CLONE_NEWNS) == 0) return {};
  if (errno != EPERM) return Broken("cannot make a mount namespace", errno);
  const std::string uid = std::to_string(geteuid()), gid = std::to_string(getegid());
  if (unshare(CLONE_NEWUSER | CLONE_NEWNS) != 0)
    return Broken("cannot make a user and a mount namespace", errno);
  // As oneself: the machine asks for uids.
  if (Status groups = WriteText("/proc/self/setgroups", "deny"); !groups) return groups;
  if (Status map = WriteText("/proc/self/uid_map", uid + " " + uid + " 1"); !map) return map;
  return WriteText("/proc/self/gid_map", gid + " " + gid + " 1");
}

Status Bind(const std::string& from, const std::string& to) {
  if (mount(from.c_str(), to.c_str(), nullptr, MS_BIND | MS_REC, nullptr) == 0) return {};
  return Broken("cannot mount " + from + " on " + to, errno);
}

Status Tmpfs(const std::string& path, const char* options) {
  if (mount("tranche-sim", path.c_str(), "tmpfs", MS_NOSUID, options) == 0) return {};
  return Broken("cannot mount a tmpfs on " + path, errno);
}

bool IsOurs(const std::string& name) { return name.rfind("nvidia", 0) == 0; }

// A folder that shows what it showed, and can be added to: the host's is kept at `aside`, and a
// link to each of its entries takes its place. Links stay what they are.
Status Open(const std::string& folder, const std::string& aside) {
  if (mkdir(aside.c_str(), 0755) != 0 && errno != EEXIST)
    return Broken("cannot create " + aside, errno);
  if (Status kept = Bind(folder, aside); !kept) return kept;
  if (Status covered = Tmpfs(folder, "mode=0755,size=1m"); !covered) return covered;
  DIR* entries = opendir(aside.c_str());
  if (entries == nullptr) return Broken("cannot read " + folder, errno);
  while (const dirent* entry = readdir(entries)) {
    const std::string name = entry->d_name;
    if (name == "." || name == ".." || IsOurs(name)) continue;
    char target[PATH_MAX];
    const ssize_t n = readlink((aside + "/" + name).c_str(), target, sizeof(target));
    const std::string to = n > 0 ? std::string(target, static_cast<size_t>(n)) : aside + "/" + name;
    if (symlink(to.c_str(), (folder + "/" + name).c_str()) != 0) {
      const int why = errno;
      closedir(entries);
      return Broken("cannot link " + folder + "/" + name, why);
    }
  }
  closedir(entries);
  return {};
}

Status Link(const std::string& to, const std::string& path) {
  if (symlink(to.c_str(), path.c_str()) == 0 || errno == EEXIST) return {};
  return Broken("cannot link " + path, errno);
}

// /dev is made anew with the host's nodes mounted one by one: who finds links in place of
// /dev/null or /dev/pts is easily confused.
Status OpenDev(const std::string& root, const std::string& aside) {
  if (mkdir(aside.c_str(), 0755) != 0 && errno != EEXIST)
    return Broken("cannot create " + aside, errno);
  if (Status kept = Bind("/dev", aside); !kept) return kept;
  if (Status covered = Tmpfs("/dev", "mode=0755,size=1m"); !covered) return covered;
  const auto show = [](const std::string& from, const std::string& name) -> Status {
    const std::string to = "/dev/" + name;
    struct stat info;
    if (lstat(from.c_str(), &info) != 0) return {};
    if (S_ISLNK(info.st_mode)) {
      char target[PATH_MAX];
      const ssize_t n = readlink(from.c_str(), target, sizeof(target));
      return n <= 0 ? Status{} : Link(std::string(target, static_cast<size_t>(n)), to);
    }
    if (S_ISDIR(info.st_mode)) {
      mkdir(to.c_str(), 0755);
    } else if (mknod(to.c_str(), info.st_mode, info.st_rdev) == 0) {
      chmod(to.c_str(), info.st_mode & 07777);
      return chown(to.c_str(), info.st_uid, info.st_gid) == 0
                 ? Status{}
                 : Broken("cannot give " + to + " its owner", errno);
    } else {
      const int fd = open(to.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
      if (fd >= 0) close(fd);
    }
    return Bind(from, to);
  };
  for (const std::string& from : {aside, root + "/dev"}) {
    DIR* entries = opendir(from.c_str());
    if (entries == nullptr) return Broken("cannot read " + from, errno);
    Status shown;
    while (const dirent* entry = shown ? readdir(entries) : nullptr) {
      const std::string name = entry->d_name;
      if (name == "." || name == ".." || (IsOurs(name) && from == aside)) continue;
      shown = show(from + "/" + name, name);
    }
    closedir(entries);
    if (!shown) return shown;
  }
  return {};
}

}  // namespace

Status EnterMachine(const std::string& dir, std::vector<std::string>* absent) {
  const std::string root = dir + "/root", aside = root + "/.host";
  if (access((root + "/proc/modules").c_str(), R_OK) != 0)
    return Broken("cannot read " + root + "/proc/modules", errno);
  if (Status made = NewNamespaces(); !made) return made;
  // Slave: what is mounted on the host later appears here, and nothing goes back.
  if (mount(nullptr, "/", nullptr, MS_SLAVE | MS_REC, nullptr) != 0)
    return Broken("cannot make the mounts private", errno);
  // The host's folders are kept in memory that only this namespace has.
  if (mkdir(aside.c_str(), 0755) != 0 && errno != EEXIST)
    return Broken("cannot create " + aside, errno);
  if (Status kept = Tmpfs(aside, "mode=0755,size=1m"); !kept) return kept;

  for (const char* file : {"/proc/modules", "/proc/devices"}) {
    if (access(file, F_OK) != 0) {
      absent->push_back(file);
    } else if (Status bound = Bind(root + file, file); !bound) {
      return bound;
    }
  }
  const struct {
    const char* folder;
    const char* name;
  } folders[] = {{"/proc/driver", "driver"},
                 {"/sys/module", "module"},
                 {"/sys/bus/pci/devices", "pci_devices"},
                 {"/sys/bus/pci/drivers", "pci_drivers"}};
  for (const auto& [folder, name] : folders) {
    if (access(folder, F_OK) != 0) return Broken(std::string("this host has no ") + folder, ENOENT);
    if (Status opened = Open(folder, aside + "/" + name); !opened) return opened;
  }
  for (const char* name : {"nvidia", "nvidia-caps"}) {
    const std::string path = std::string("/proc/driver/") + name;
    if (Status linked = Link(root + path, path); !linked) return linked;
  }
  // Links dangle while a module is not loaded, so that it is not there.
  for (const char* name : {"nvidia", "nvidia_uvm", "nvidia_modeset", "nvidia_drm"}) {
    const std::string path = std::string("/sys/module/") + name;
    if (Status linked = Link(root + path, path); !linked) return linked;
  }
  if (Status linked = Link(root + "/sys/bus/pci/drivers/nvidia", "/sys/bus/pci/drivers/nvidia");
      !linked)
    return linked;
  const std::string bus = root + "/sys/devices/pci0000:00";
  DIR* gpus = opendir(bus.c_str());
  if (gpus == nullptr) return Broken("cannot read " + bus, errno);
  Status linked;
  while (const dirent* entry = linked ? readdir(gpus) : nullptr) {
    const std::string name = entry->d_name;
    if (name != "." && name != "..")
      linked = Link(bus + "/" + name, "/sys/bus/pci/devices/" + name);
  }
  closedir(gpus);
  if (!linked) return linked;
  return OpenDev(root, aside + "/dev");
}

}  // namespace tranche::sim
