#include "agent/listen.h"

#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>

#include "base/descriptor.h"

namespace tranche {
namespace {

constexpr int kBacklog = 64;

tl::unexpected<Error> Cannot(const std::string& path) {
  const ErrorCode code =
      errno == EACCES || errno == EPERM ? ErrorCode::kPermission : ErrorCode::kFailed;
  return Fail(code, fmt::format("cannot listen on {}: {}", path, std::strerror(errno)),
              "is the folder there, and may this user write to it?");
}

}  // namespace

Result<int> ListenOnSocket(const std::string& path, std::optional<gid_t> group) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.size() >= sizeof address.sun_path) {
    return Fail(ErrorCode::kInvalid,
                fmt::format("the socket's path is longer than the system allows: {}", path),
                "choose a shorter one with --socket");
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  const auto* generic = reinterpret_cast<const sockaddr*>(&address);

  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(path).parent_path(), error);
  Descriptor descriptor(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (descriptor.get() < 0) return Cannot(path);

  struct stat there {};
  if (lstat(path.c_str(), &there) == 0) {
    if (!S_ISSOCK(there.st_mode)) {
      return Fail(ErrorCode::kFailed, fmt::format("{} is there and is not a socket", path),
                  "move it away, or choose another path with --socket");
    }
    Descriptor probe(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    if (connect(probe.get(), generic, sizeof address) == 0) {
      return Fail(ErrorCode::kBusy, fmt::format("a daemon already answers at {}", path),
                  "stop it first, or use another --state-dir");
    }
    unlink(path.c_str());
  }
  // Nobody may connect before the owner and the mode are right: a socket that does not listen
  // refuses.
  if (bind(descriptor.get(), generic, sizeof address) != 0) return Cannot(path);
  if (group && chown(path.c_str(), static_cast<uid_t>(-1), *group) != 0) return Cannot(path);
  if (chmod(path.c_str(), 0660) != 0) return Cannot(path);
  if (listen(descriptor.get(), kBacklog) != 0) return Cannot(path);
  return descriptor.Release();
}

}  // namespace tranche
