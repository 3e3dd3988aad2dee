#include "agent/access.h"

#include <fmt/format.h>
#include <grp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace tranche {
namespace {

constexpr const char* kHint =
    "join the group 'tranche' (usermod -aG tranche USER, then log in again), or run as root";

}  // namespace

Result<Peer> PeerOf(int socket) {
  ucred credentials{};
  socklen_t size = sizeof credentials;
  if (getsockopt(socket, SOL_SOCKET, SO_PEERCRED, &credentials, &size) != 0) {
    return Fail(ErrorCode::kPermission,
                fmt::format("cannot tell who is asking: {}", std::strerror(errno)));
  }
  Peer peer{credentials.pid, credentials.uid, credentials.gid, {}};
  // Asked with no room, the kernel says how much is needed.
  socklen_t bytes = 0;
  if (getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, nullptr, &bytes) != 0 && errno == ERANGE) {
    peer.groups.resize(bytes / sizeof(gid_t));
    if (getsockopt(socket, SOL_SOCKET, SO_PEERGROUPS, peer.groups.data(), &bytes) != 0) {
      peer.groups.clear();  // fewer rights, never more
    }
  }
  return peer;
}

bool Access::IsMember(const Peer& peer) const {
  if (peer.uid == 0 || peer.uid == daemon_uid_) return true;
  if (!group_) return false;
  return peer.gid == *group_ ||
         std::find(peer.groups.begin(), peer.groups.end(), *group_) != peer.groups.end();
}

Status Access::MayRead(const Peer& peer) const {
  if (IsMember(peer)) return {};
  return Fail(ErrorCode::kPermission, fmt::format("user {} may not see this machine", peer.uid),
              kHint);
}

Status Access::MayChange(const Peer& peer) const {
  if (IsMember(peer)) return {};
  return Fail(ErrorCode::kPermission, fmt::format("user {} may not change this machine", peer.uid),
              kHint);
}

std::optional<gid_t> FindGroup(const std::string& name) {
  std::vector<char> buffer(1 << 14);
  group entry{};
  group* found = nullptr;
  if (getgrnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found) != 0 ||
      found == nullptr) {
    return std::nullopt;
  }
  return entry.gr_gid;
}

}  // namespace tranche
