#include "edge/broker/table_messages.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <cerrno>
#include <climits>
#include <cstring>
#include <filesystem>

#include "abi/table_socket.h"

namespace tranche {
namespace {

struct Packet {
  uint32_t version;
  uint32_t wish;
  uint64_t bytes;
  uint32_t owner;
  uint32_t read_only;
  char path[PATH_MAX];
};
constexpr uint32_t kVersion = 1;

bool Send(int connection, const void* bytes, size_t size, int beside) {
  iovec data = {const_cast<void*>(bytes), size};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message = {};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  if (beside >= 0) {
    message.msg_control = control;
    message.msg_controllen = sizeof(control);
    cmsghdr* part = CMSG_FIRSTHDR(&message);
    part->cmsg_level = SOL_SOCKET;
    part->cmsg_type = SCM_RIGHTS;
    part->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(part), &beside, sizeof(beside));
  }
  ssize_t sent;
  do {
    sent = sendmsg(connection, &message, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  return sent == static_cast<ssize_t>(size);
}

ssize_t Receive(int connection, void* bytes, size_t size, Descriptor* beside) {
  iovec data = {bytes, size};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message = {};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  ssize_t got;
  do {
    got = recvmsg(connection, &message, MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  if (got <= 0) return got;
  const cmsghdr* part = CMSG_FIRSTHDR(&message);
  if (part != nullptr && part->cmsg_level == SOL_SOCKET && part->cmsg_type == SCM_RIGHTS &&
      part->cmsg_len == CMSG_LEN(sizeof(int))) {
    int number = -1;
    std::memcpy(&number, CMSG_DATA(part), sizeof(number));
    *beside = Descriptor(number);
  }
  return got;
}

}  // namespace

bool SendRequest(int connection, const TableRequest& request, int beside) {
  Packet packet = {};
  if (request.place.path.size() >= sizeof(packet.path)) {
    errno = ENAMETOOLONG;
    return false;
  }
  packet.version = kVersion;
  packet.wish = static_cast<uint32_t>(request.wish);
  packet.bytes = request.place.bytes;
  packet.owner = request.place.owner;
  packet.read_only = request.place.read_only ? 1 : 0;
  request.place.path.copy(packet.path, sizeof(packet.path) - 1);
  return Send(connection, &packet, sizeof(packet), beside);
}

bool ReceiveRequest(int connection, TableRequest* request, Descriptor* beside) {
  Packet packet = {};
  if (Receive(connection, &packet, sizeof(packet), beside) != sizeof(packet)) return false;
  if (packet.version != kVersion || packet.wish < static_cast<uint32_t>(TableWish::kMake) ||
      packet.wish > static_cast<uint32_t>(TableWish::kWatch)) {
    errno = EPROTO;
    return false;
  }
  packet.path[sizeof(packet.path) - 1] = 0;
  request->wish = static_cast<TableWish>(packet.wish);
  request->place = {packet.path, packet.bytes, packet.owner, packet.read_only != 0};
  return true;
}

bool SendAnswer(int connection, int error, int beside) {
  const TrancheTableAnswer answer = {error};
  return Send(connection, &answer, sizeof(answer), beside);
}

int ReceiveAnswer(int connection, Descriptor* beside) {
  TrancheTableAnswer answer = {};
  const bool whole = Receive(connection, &answer, sizeof(answer), beside) == sizeof(answer);
  return whole && answer.error >= 0 ? answer.error : -1;
}

SocketAddress::SocketAddress(const std::string& path) : name_(path) {
  if (path.size() < sizeof(sockaddr_un::sun_path)) return;
  const std::filesystem::path whole(path);
  folder_ = Descriptor(open(whole.parent_path().c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  name_ = "/proc/self/fd/" + std::to_string(folder_.get()) + "/" + whole.filename().string();
}

namespace {

template <typename Call>
bool WithAddress(const std::string& name, const Call& call) {
  sockaddr_un address = {};
  address.sun_family = AF_UNIX;
  if (name.size() >= sizeof(address.sun_path)) {
    errno = ENAMETOOLONG;
    return false;
  }
  name.copy(address.sun_path, sizeof(address.sun_path) - 1);
  return call(reinterpret_cast<const sockaddr*>(&address), sizeof(address)) == 0;
}

}  // namespace

bool SocketAddress::Bind(int socket) const {
  return WithAddress(
      name_, [&](const sockaddr* address, socklen_t size) { return bind(socket, address, size); });
}

bool SocketAddress::Connect(int socket) const {
  return WithAddress(name_, [&](const sockaddr* address, socklen_t size) {
    return connect(socket, address, size);
  });
}

}  // namespace tranche
