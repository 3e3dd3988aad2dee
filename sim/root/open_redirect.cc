#include "sim/root/open_redirect.h"

#include <fcntl.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstddef>
#include <cstring>

namespace tranche::sim {
namespace {

#if defined(__x86_64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_X86_64;
#elif defined(__aarch64__)
constexpr uint32_t kArchitecture = AUDIT_ARCH_AARCH64;
#else
#error "the system calls of this architecture are not known here"
#endif

using Paths = std::vector<std::pair<std::string, std::string>>;

#ifdef SYS_open
constexpr uint32_t kOpen = SYS_open;
#else
constexpr uint32_t kOpen = SYS_openat;
#endif

// openat and open for reading ask the listener; whatever else goes on as ever.
int Install() {
  constexpr auto kNumber = static_cast<uint32_t>(offsetof(seccomp_data, nr));
  constexpr auto kArch = static_cast<uint32_t>(offsetof(seccomp_data, arch));
  constexpr auto argument = [](unsigned number) {
    return static_cast<uint32_t>(offsetof(seccomp_data, args) + number * sizeof(uint64_t));
  };
  constexpr uint32_t kNotReading = O_WRONLY | O_RDWR | O_CREAT | O_PATH | O_DIRECTORY;
  sock_filter program[] = {
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kArch),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kArchitecture, 0, 7),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, kNumber),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 3, 0),
      BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kOpen, 0, 4),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, argument(1)),
      BPF_STMT(BPF_JMP | BPF_JA, 1),
      BPF_STMT(BPF_LD | BPF_W | BPF_ABS, argument(2)),
      BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, kNotReading, 0, 1),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
      BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_USER_NOTIF),
  };
  const sock_fprog filter = {sizeof(program) / sizeof(program[0]), program};
  return static_cast<int>(
      syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_NEW_LISTENER, &filter));
}

// The path that a caller names; "" when it cannot be read.
std::string PathOf(const seccomp_notif& asked) {
  const size_t argument = asked.data.nr == SYS_openat ? 1 : 0;
  const auto address = asked.data.args[argument];
  char text[256] = {};
  // No further than the end of its page: what is behind may not be there.
  const size_t room = std::min<size_t>(sizeof(text) - 1, 4096 - (address & 4095));
  iovec here{text, room};
  iovec there{reinterpret_cast<void*>(address), room};
  const ssize_t n = process_vm_readv(static_cast<pid_t>(asked.pid), &here, 1, &there, 1, 0);
  if (n <= 0) return "";
  std::string path = text;
  // The rest of one that crosses a page.
  if (path.size() == static_cast<size_t>(n) && room < sizeof(text) - 1) {
    here = {text, sizeof(text) - 1 - room};
    std::memset(text, 0, sizeof(text));
    there = {reinterpret_cast<void*>(address + room), here.iov_len};
    if (process_vm_readv(static_cast<pid_t>(asked.pid), &here, 1, &there, 1, 0) > 0) path += text;
  }
  return path;
}

void Answer(int listener, const seccomp_notif& asked, const Paths& paths) {
  seccomp_notif_resp answer{};
  answer.id = asked.id;
  answer.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
  const std::string path = PathOf(asked);
  for (const auto& [from, to] : paths) {
    if (path != from) continue;
    const int fd = open(to.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) break;
    seccomp_notif_addfd added{};
    added.id = asked.id;
    added.flags = SECCOMP_ADDFD_FLAG_SEND;
    added.srcfd = static_cast<uint32_t>(fd);
    added.newfd_flags = asked.data.args[asked.data.nr == SYS_openat ? 2 : 1] & O_CLOEXEC;
    const bool sent = ioctl(listener, SECCOMP_IOCTL_NOTIF_ADDFD, &added) >= 0;
    close(fd);
    if (sent) return;
  }
  ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer);
}

// Until nobody under the filter is left.
void Serve(int listener, const Paths& paths) {
  while (true) {
    pollfd wait{listener, POLLIN, 0};
    if (poll(&wait, 1, -1) < 0 && errno != EINTR) return;
    if ((wait.revents & POLLIN) != 0) {
      seccomp_notif asked{};
      if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &asked) == 0) Answer(listener, asked, paths);
    } else if ((wait.revents & (POLLHUP | POLLERR)) != 0) {
      return;
    }
  }
}

void DropEverythingBut(int kept) {
  const int null = open("/dev/null", O_RDWR | O_CLOEXEC);
  for (int fd = 0; fd < 3; ++fd) dup2(null, fd);
  syscall(SYS_close_range, 3, kept - 1, 0);
  syscall(SYS_close_range, kept + 1, ~0u, 0);
}

// One descriptor through a socket. The message holds it, so that the sender need not wait.
bool SendDescriptor(int socket, int fd) {
  char byte = 0;
  iovec data{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  cmsghdr* header = CMSG_FIRSTHDR(&message);
  header->cmsg_level = SOL_SOCKET;
  header->cmsg_type = SCM_RIGHTS;
  header->cmsg_len = CMSG_LEN(sizeof(int));
  std::memcpy(CMSG_DATA(header), &fd, sizeof(fd));
  return sendmsg(socket, &message, MSG_NOSIGNAL) == 1;
}

int ReceiveDescriptor(int socket) {
  char byte = 0;
  iovec data{&byte, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr message{};
  message.msg_iov = &data;
  message.msg_iovlen = 1;
  message.msg_control = control;
  message.msg_controllen = sizeof(control);
  if (recvmsg(socket, &message, MSG_CMSG_CLOEXEC) != 1) return -1;
  const cmsghdr* header = CMSG_FIRSTHDR(&message);
  int fd = -1;
  if (header != nullptr && header->cmsg_type == SCM_RIGHTS)
    std::memcpy(&fd, CMSG_DATA(header), sizeof(fd));
  return fd;
}

}  // namespace

Status RedirectOpens(const Paths& paths) {
  const auto failed = [](const char* what) {
    return Fail(ErrorCode::kUnsupported, std::string(what) + ": " + std::strerror(errno),
                "a kernel with seccomp user notification (5.14) is needed to show files that its "
                "/proc has not");
  };
  // The one who answers must not be under the filter, so it is there before.
  int channel[2];
  if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, channel) != 0)
    return failed("cannot make a socket");
  const pid_t child = fork();
  if (child < 0) return failed("cannot start a process");
  if (child == 0) {
    if (fork() != 0) _exit(0);
    setsid();
    close(channel[1]);
    const int listener = ReceiveDescriptor(channel[0]);
    if (listener < 0) _exit(1);
    DropEverythingBut(listener);
    Serve(listener, paths);
    _exit(0);
  }
  waitpid(child, nullptr, 0);
  close(channel[0]);
  // Without CAP_SYS_ADMIN the kernel wants this promise.
  int listener = Install();
  if (listener < 0 && errno == EACCES && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0)
    listener = Install();
  if (listener < 0) return failed("cannot watch for files being opened");
  const bool told = SendDescriptor(channel[1], listener);
  close(channel[1]);
  close(listener);
  return told ? Status{} : failed("cannot hand over the watch");
}

}  // namespace tranche::sim
