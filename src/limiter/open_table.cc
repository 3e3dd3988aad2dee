#include "limiter/open_table.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <unistd.h>

#include "abi/table_socket.h"
#include "limiter/libc.h"

namespace tranche::limiter {
namespace {

// For a broker that answers no more; one that works needs microseconds.
constexpr timeval kAnswer = {5, 0};
constexpr int64_t kTryAgain = 20000000;

// A socket's name has 107 characters at most; a longer path goes by a descriptor of the place,
// which is then the caller's to close.
bool Address(const char* path, sockaddr_un* address, int* place) {
  memset(address, 0, sizeof(*address));
  address->sun_family = AF_UNIX;
  const size_t length = strlen(path);
  if (length < sizeof(address->sun_path)) {
    memcpy(address->sun_path, path, length);
    return true;
  }
  *place = open(path, O_PATH | O_CLOEXEC | O_NOFOLLOW);
  if (*place < 0) return false;
  constexpr char kFolder[] = "/proc/self/fd/";
  memcpy(address->sun_path, kFolder, sizeof(kFolder));
  char digits[16];
  int count = 0;
  for (int rest = *place; rest != 0 || count == 0; rest /= 10)
    digits[count++] = static_cast<char>('0' + rest % 10);
  for (int i = 0; i < count; ++i)
    address->sun_path[sizeof(kFolder) - 1 + i] = digits[count - 1 - i];
  return true;
}

// -1, with errno.
int Receive(int connection) {
  TrancheTableAnswer answer = {EPIPE};
  iovec data = {&answer, sizeof(answer)};
  alignas(cmsghdr) char beside[CMSG_SPACE(sizeof(int))];
  msghdr message = {};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = beside;
  message.msg_controllen = sizeof(beside);
  ssize_t got;
  do {
    got = recvmsg(connection, &message, MSG_CMSG_CLOEXEC);
  } while (got < 0 && errno == EINTR);
  if (got < 0) return -1;
  int table = -1;
  const cmsghdr* part = CMSG_FIRSTHDR(&message);
  if (part != nullptr && part->cmsg_level == SOL_SOCKET && part->cmsg_type == SCM_RIGHTS &&
      part->cmsg_len == CMSG_LEN(sizeof(int)))
    memcpy(&table, CMSG_DATA(part), sizeof(table));
  if (got == static_cast<ssize_t>(sizeof(answer)) && answer.error == 0 && table >= 0) return table;
  if (table >= 0) close(table);
  errno = answer.error != 0 ? answer.error : EPROTO;
  return -1;
}

int AskBroker(const char* path) {
  sockaddr_un address;
  int place = -1;
  if (!Address(path, &address, &place)) return -1;
  int table = -1;
  const int connection = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
  if (connection >= 0) {
    setsockopt(connection, SOL_SOCKET, SO_SNDTIMEO, &kAnswer, sizeof(kAnswer));
    setsockopt(connection, SOL_SOCKET, SO_RCVTIMEO, &kAnswer, sizeof(kAnswer));
    int connected;
    do {
      connected = connect(connection, reinterpret_cast<sockaddr*>(&address), sizeof(address));
    } while (connected != 0 && errno == EINTR);
    if (connected == 0) table = Receive(connection);
  }
  const int why = errno;
  if (connection >= 0) close(connection);
  if (place >= 0) close(place);
  errno = why;
  return table;
}

// Nobody listens there now: the one who did is gone, and the next may come.
bool MayComeBack(int error) {
  return error == ECONNREFUSED || error == ECONNRESET || error == EPIPE || error == ENOENT;
}

}  // namespace

int OpenTable(const char* path, bool write, int64_t until) {
  for (;;) {
    int table = open(path, (write ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOFOLLOW);
    if (table >= 0) return table;
    // A path without anything behind it never was a broker's.
    if (errno != ENXIO) return -1;
    table = AskBroker(path);
    if (table >= 0 || !MayComeBack(errno)) return table;
    const int why = errno;
    const int64_t now = libc::Now();
    if (now >= until) {
      errno = why;
      return -1;
    }
    uint32_t nobody = 0;
    libc::FutexWaitUntil(&nobody, 0, now + kTryAgain);
  }
}

}  // namespace tranche::limiter
