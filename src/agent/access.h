#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace tranche {

// Who is at the other end of a connection, as the kernel says.
struct Peer {
  pid_t pid = 0;
  uid_t uid = 0;
  gid_t gid = 0;
  std::vector<gid_t> groups;  // supplementary ones
};

// SO_PEERCRED and SO_PEERGROUPS of a connected unix socket.
Result<Peer> PeerOf(int socket);

// Who may do what. The socket's mode already keeps others out; this holds also when somebody opens
// it wider. Reading and changing need root, the daemon's own user, or membership of the group
// `tranche`.
class Access {
 public:
  // `group`: nullopt where the machine has no such group.
  Access(uid_t daemon_uid, std::optional<gid_t> group) : daemon_uid_(daemon_uid), group_(group) {}

  Status MayRead(const Peer& peer) const;
  Status MayChange(const Peer& peer) const;
  std::optional<gid_t> group() const { return group_; }

 private:
  bool IsMember(const Peer& peer) const;

  uid_t daemon_uid_;
  std::optional<gid_t> group_;
};

std::optional<gid_t> FindGroup(const std::string& name);

}  // namespace tranche
