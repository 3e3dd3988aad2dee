#include "edge/broker/table_broker.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77
#endif

namespace tranche {
namespace {

constexpr int kBacklog = 128;
constexpr int kLookMilliseconds = 1000;
// How long the tables of a daemon that is gone are kept when nobody uses them either.
constexpr int64_t kLonelySeconds = 3600;

int64_t Seconds() {
  timespec now{};
  clock_gettime(CLOCK_BOOTTIME, &now);
  return now.tv_sec;
}

// 0: nothing is there.
uint64_t InodeAt(const std::string& path) {
  struct stat file {};
  return lstat(path.c_str(), &file) == 0 ? file.st_ino : 0;
}

// Processes share an open file description that they receive, and with it their locks; so each gets
// a new one.
Descriptor Reopen(const Descriptor& memory, bool read_only) {
  const std::string path = "/proc/self/fd/" + std::to_string(memory.get());
  return Descriptor(open(path.c_str(), (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC));
}

Descriptor NewMemory(const TablePlace& place) {
  const std::string name = std::filesystem::path(place.path).filename();
  Descriptor memory(memfd_create(name.c_str(), MFD_CLOEXEC | MFD_ALLOW_SEALING));
  // Whoever has it mapped would be killed if another could make it smaller.
  if (memory && fchmod(memory.get(), 0600) == 0 &&
      ftruncate(memory.get(), static_cast<off_t>(place.bytes)) == 0 &&
      fcntl(memory.get(), F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) == 0)
    return memory;
  return Descriptor();
}

// Of whoever is at the other end; false when that cannot be told.
bool PeerOf(int connection, ucred* peer) {
  socklen_t size = sizeof(*peer);
  return getsockopt(connection, SOL_SOCKET, SO_PEERCRED, peer, &size) == 0;
}

Descriptor PidfdOfPeer(int connection, int pid) {
  int pidfd = -1;
  socklen_t size = sizeof(pidfd);
  if (getsockopt(connection, SOL_SOCKET, SO_PEERPIDFD, &pidfd, &size) == 0)
    return Descriptor(pidfd);
  // Before Linux 6.5. It still waits for its answer, so the pid is its own unless it was killed.
  return Descriptor(pid > 0 ? static_cast<int>(syscall(SYS_pidfd_open, pid, 0)) : -1);
}

}  // namespace

TableBroker::TableBroker(Descriptor listener, std::string path)
    : listener_(std::move(listener)),
      path_(std::move(path)),
      inode_(InodeAt(path_)),
      events_(epoll_create1(EPOLL_CLOEXEC)) {
  Add(listener_.get(), {Source::Kind::kListener, -1, ""});
}

void TableBroker::Add(int descriptor, Source source) {
  epoll_event event = {};
  event.events = EPOLLIN;
  event.data.u64 = ++next_;
  if (epoll_ctl(events_.get(), EPOLL_CTL_ADD, descriptor, &event) == 0)
    sources_.emplace(next_, std::move(source));
}

void TableBroker::Run() {
  while (IsNeeded()) {
    epoll_event ready[32];
    const int count =
        epoll_wait(events_.get(), ready, 32, daemons_.empty() ? kLookMilliseconds : -1);
    for (int i = 0; i < count; ++i) Handle(ready[i].data.u64);
  }
}

bool TableBroker::IsNeeded() {
  if (!daemons_.empty()) {
    lonely_since_ = 0;
    return true;
  }
  // By this the daemon that is to come would find it.
  if (InodeAt(path_) != inode_) return false;
  const bool used = std::any_of(tables_.begin(), tables_.end(),
                                [](const auto& table) { return !table.second.clients.empty(); });
  if (used) {
    lonely_since_ = 0;
    return true;
  }
  const int64_t now = Seconds();
  if (lonely_since_ == 0) lonely_since_ = now;
  // The first one has not come yet, or the last one has only just gone.
  if (tables_.empty()) return now - lonely_since_ < 2;
  return now - lonely_since_ < kLonelySeconds;
}

void TableBroker::Handle(uint64_t number) {
  const auto found = sources_.find(number);
  if (found == sources_.end()) return;
  const Source source = found->second;
  const auto forget = [&] { sources_.erase(number); };
  switch (source.kind) {
    case Source::Kind::kListener:
      return AcceptDaemon();
    case Source::Kind::kDaemon:
      Serve(source.number);
      if (daemons_.count(source.number) == 0) forget();
      return;
    case Source::Kind::kTable:
      if (const auto table = tables_.find(source.path); table != tables_.end())
        HandOut(table->second);
      else
        forget();
      return;
    case Source::Kind::kClient:
      forget();
      return Died(source.path, source.number);
  }
}

void TableBroker::AcceptDaemon() {
  Descriptor connection(accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  ucred peer{};
  if (!connection || !PeerOf(connection.get(), &peer)) return;
  if (peer.uid != geteuid() && peer.uid != 0) {
    SendAnswer(connection.get(), EACCES, -1);
    return;
  }
  const int number = connection.get();
  Add(number, {Source::Kind::kDaemon, number, ""});
  daemons_[number] = {std::move(connection), peer.pid, false};
}

void TableBroker::Serve(int connection) {
  TableRequest request;
  Descriptor with;
  if (!ReceiveRequest(connection, &request, &with)) {
    daemons_.erase(connection);
    return;
  }
  Descriptor beside;
  int error = 0;
  if (request.wish == TableWish::kWatch)
    daemons_[connection].watches = true;
  else if (request.wish == TableWish::kGive)
    error = with ? Make(request.place, std::move(with), &beside) : EBADF;
  else
    error = Answer(request, &beside);
  if (!SendAnswer(connection, error, beside.get())) daemons_.erase(connection);
}

int TableBroker::Answer(const TableRequest& request, Descriptor* beside) {
  const std::string& path = request.place.path;
  if (request.wish == TableWish::kMake) {
    Descriptor memory = NewMemory(request.place);
    return memory ? Make(request.place, std::move(memory), beside) : errno;
  }
  const auto table = tables_.find(path);
  if (table == tables_.end()) return ENOENT;
  if (request.wish == TableWish::kRemove) {
    Remove(path);
    return 0;
  }
  *beside = Reopen(table->second.memory, false);
  return *beside ? 0 : errno;
}

int TableBroker::Make(const TablePlace& place, Descriptor memory, Descriptor* beside) {
  if (tables_.count(place.path) != 0) return EEXIST;
  Table table;
  table.place = place;
  table.memory = std::move(memory);
  *beside = Reopen(table.memory, false);
  if (!*beside) return errno;
  if (const int error = Listen(place, &table.listener); error != 0) return error;
  Add(table.listener.get(), {Source::Kind::kTable, -1, place.path});
  tables_.emplace(place.path, std::move(table));
  return 0;
}

// In one step where there was nothing, or the socket of a broker that is gone.
int TableBroker::Listen(const TablePlace& place, Descriptor* listener) const {
  const std::string next = place.path + ".new";
  const SocketAddress address(next);
  *listener = Descriptor(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  unlink(next.c_str());
  // Nobody can connect to it before it listens.
  if (*listener && address.Bind(listener->get()) && chmod(next.c_str(), 0600) == 0 &&
      (place.owner == geteuid() ||
       lchown(next.c_str(), place.owner, static_cast<gid_t>(-1)) == 0) &&
      listen(listener->get(), kBacklog) == 0 && rename(next.c_str(), place.path.c_str()) == 0)
    return 0;
  const int error = errno;
  unlink(next.c_str());
  return error;
}

void TableBroker::Remove(const std::string& path) {
  tables_.erase(path);
  std::erase_if(sources_, [&](const auto& source) { return source.second.path == path; });
  unlink(path.c_str());
}

void TableBroker::HandOut(Table& table) {
  const Descriptor connection(accept4(table.listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
  ucred peer{};
  if (!connection || !PeerOf(connection.get(), &peer)) return;
  if (peer.uid != table.place.owner && peer.uid != geteuid() && peer.uid != 0) {
    SendAnswer(connection.get(), EACCES, -1);
    return;
  }
  const Descriptor memory = Reopen(table.memory, table.place.read_only);
  const int error = memory ? 0 : errno;
  // Before it has it: whoever dies with it is known.
  if (memory) Follow(table, connection.get(), peer.pid);
  SendAnswer(connection.get(), error, memory.get());
}

void TableBroker::Follow(Table& table, int connection, int pid) {
  const bool known = table.clients.count(pid) != 0;
  const bool daemon = std::any_of(daemons_.begin(), daemons_.end(),
                                  [&](const auto& one) { return one.second.pid == pid; });
  if (known || daemon) return;
  Descriptor pidfd = PidfdOfPeer(connection, pid);
  if (!pidfd) return;
  Add(pidfd.get(), {Source::Kind::kClient, pid, table.place.path});
  table.clients.emplace(pid, std::move(pidfd));
}

void TableBroker::Died(const std::string& path, int pid) {
  const auto table = tables_.find(path);
  if (table == tables_.end()) return;
  table->second.clients.erase(pid);
  for (auto& [number, daemon] : daemons_) {
    // A daemon that does not listen learns of it when it looks next.
    if (daemon.watches) send(number, path.c_str(), path.size() + 1, MSG_NOSIGNAL | MSG_DONTWAIT);
  }
}

}  // namespace tranche
