#include "edge/broker/brokered_tables.h"

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <filesystem>
#include <random>
#include <set>

#include "base/subprocess.h"
namespace tranche {
namespace {

constexpr int kBacklog = 16;
constexpr std::chrono::seconds kTryAgain{1};
// A broker needs microseconds; one that does not answer in this time is replaced.
constexpr timeval kAnswer{2, 0};
constexpr timeval kForEver{0, 0};
constexpr int kNames = 100;
constexpr std::string_view kUnknown = "XXXXXX";

Descriptor Copy(const Descriptor& of) { return Descriptor(fcntl(of.get(), F_DUPFD_CLOEXEC, 0)); }

Descriptor NewSocket(int flags = 0) {
  return Descriptor(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | flags, 0));
}

void SetPatience(const Descriptor& socket, const timeval& time) {
  setsockopt(socket.get(), SOL_SOCKET, SO_RCVTIMEO, &time, sizeof(time));
  setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &time, sizeof(time));
}

std::string RandomName(size_t letters) {
  constexpr std::string_view kLetters =
      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
  std::random_device random;
  std::uniform_int_distribution<size_t> one(0, kLetters.size() - 1);
  std::string name;
  while (name.size() < letters) name += kLetters[one(random)];
  return name;
}

tl::unexpected<Error> Answered(int error, const std::string& what) {
  errno = error;
  return CannotDo(what);
}

}  // namespace

BrokeredTables::BrokeredTables(std::string folder, std::function<Result<std::string>()> program)
    : folder_(std::move(folder)), program_(std::move(program)), listener_([this] { Listen(); }) {}

BrokeredTables::~BrokeredTables() {
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
    if (watched_) shutdown(watched_->get(), SHUT_RDWR);
  }
  changed_.notify_all();
  listener_.join();
}

void BrokeredTables::TellOfDeaths(std::function<void(const std::string& path)> died) {
  const std::lock_guard lock(died_mutex_);
  died_ = std::move(died);
}

Status BrokeredTables::Start(const std::string& path) {
  const auto program = program_();
  if (!program) return tl::unexpected<Error>(program.error());
  std::error_code error;
  std::filesystem::create_directories(folder_, error);
  if (error) return Fail(ErrorCode::kFailed, "cannot make " + folder_ + ": " + error.message());
  const Descriptor listener = NewSocket(SOCK_NONBLOCK);
  const std::string next = path + ".new";
  unlink(next.c_str());
  // Nobody can connect to it before it listens; then the broker need not be ready yet.
  if (!listener || !SocketAddress(next).Bind(listener.get()) || chmod(next.c_str(), 0600) != 0 ||
      listen(listener.get(), kBacklog) != 0 || rename(next.c_str(), path.c_str()) != 0)
    return CannotDo("listen on " + path);
  SpawnOptions options;
  options.argv = {*program, path};
  options.standard_input = listener.get();
  const auto broker = Spawn(options);
  if (!broker) return tl::unexpected<Error>(broker.error());
  broker_ = *broker;
  return {};
}

void BrokeredTables::Disconnect() {
  connection_.Close();
  if (watched_) shutdown(watched_->get(), SHUT_RDWR);
  watched_.reset();
  if (broker_.pid == 0) return;
  kill(broker_.pid, SIGKILL);
  waitpid(broker_.pid, nullptr, 0);
  broker_ = {};
}

Status BrokeredTables::Connect() {
  if (connection_) return {};
  const std::string path = folder_ + "/" + kBrokerSocket;
  Descriptor connection = NewSocket(), watched = NewSocket();
  SetPatience(connection, kAnswer);
  SetPatience(watched, kAnswer);
  if (!SocketAddress(path).Connect(connection.get())) {
    if (Status started = Start(path); !started) return started;
    if (!SocketAddress(path).Connect(connection.get())) return CannotDo("connect to " + path);
  }
  Descriptor none;
  if (!SocketAddress(path).Connect(watched.get()) ||
      !SendRequest(watched.get(), {TableWish::kWatch, {}}, -1) ||
      ReceiveAnswer(watched.get(), &none) != 0) {
    Disconnect();
    return Fail(ErrorCode::kUnavailable, "the broker at " + path + " does not answer");
  }
  SetPatience(watched, kForEver);
  connection_ = std::move(connection);
  watched_ = std::make_shared<Descriptor>(std::move(watched));
  changed_.notify_all();
  return GiveAll();
}

Status BrokeredTables::GiveAll() {
  for (const auto& [path, table] : tables_) {
    Descriptor beside;
    const bool sent =
        SendRequest(connection_.get(), {TableWish::kGive, table.place}, table.memory.get());
    const int error = sent ? ReceiveAnswer(connection_.get(), &beside) : -1;
    if (error == 0 || error == EEXIST) continue;
    Disconnect();
    return Answered(error < 0 ? EPIPE : error, "give " + path + " to a new broker");
  }
  return {};
}

Result<int> BrokeredTables::Ask(const TableRequest& request, Descriptor* beside) {
  // It may have died since; the next one is asked once.
  for (int attempt = 0; attempt < 2; ++attempt) {
    if (Status connected = Connect(); !connected)
      return FailedWhile("reaching the broker of slices' tables", connected.error());
    const bool sent = SendRequest(connection_.get(), request, -1);
    const int error = sent ? ReceiveAnswer(connection_.get(), beside) : -1;
    if (error >= 0) return error;
    Disconnect();
  }
  return Fail(ErrorCode::kUnavailable, "the broker of slices' tables does not answer");
}

Result<Descriptor> BrokeredTables::Keep(const TablePlace& place, Descriptor memory) {
  Descriptor copy = Copy(memory);
  if (!copy) return CannotDo("keep " + place.path);
  tables_[place.path] = {place, std::move(memory)};
  return copy;
}

Result<Descriptor> BrokeredTables::Make(TablePlace* place) {
  const std::lock_guard lock(mutex_);
  std::error_code error;
  std::filesystem::create_directories(std::filesystem::path(place->path).parent_path(), error);
  if (error) return Fail(ErrorCode::kFailed, "cannot make a folder: " + error.message());
  TablePlace named = *place;
  const bool chosen = place->path.ends_with(kUnknown);
  for (int attempt = 0; attempt < kNames; ++attempt) {
    if (chosen) {
      const size_t letters = kUnknown.size();
      named.path.replace(named.path.size() - letters, letters, RandomName(letters));
    }
    Descriptor memory;
    const auto answer = Ask({TableWish::kMake, named}, &memory);
    if (!answer) return tl::unexpected<Error>(answer.error());
    if (*answer == EEXIST && chosen) continue;
    if (*answer != 0 || !memory) return Answered(*answer, "make " + named.path);
    *place = named;
    return Keep(named, std::move(memory));
  }
  return Fail(ErrorCode::kFailed, "no name is left for " + place->path);
}

Result<Descriptor> BrokeredTables::Open(const TablePlace& place) {
  const std::lock_guard lock(mutex_);
  if (const auto known = tables_.find(place.path); known != tables_.end()) {
    if (known->second.place != place) return NotMadeSo(place);
    Descriptor copy = Copy(known->second.memory);
    if (!copy) return CannotDo("open " + place.path);
    return copy;
  }
  Descriptor memory;
  const auto answer = Ask({TableWish::kOpen, place}, &memory);
  if (!answer) return tl::unexpected<Error>(answer.error());
  if (*answer != 0 || !memory) return Answered(*answer, "open " + place.path);
  struct stat socket {
  }, table{};
  if (lstat(place.path.c_str(), &socket) != 0 || fstat(memory.get(), &table) != 0)
    return CannotDo("open " + place.path);
  if (socket.st_uid != place.owner || table.st_size != static_cast<off_t>(place.bytes))
    return NotMadeSo(place);
  return Keep(place, std::move(memory));
}

void BrokeredTables::Remove(const std::string& path) {
  const std::lock_guard lock(mutex_);
  tables_.erase(path);
  Descriptor none;
  TableRequest request;
  request.wish = TableWish::kRemove;
  request.place.path = path;
  const auto answer = Ask(request, &none);
  // Of no broker's, or of one that is gone.
  if (!answer || *answer != 0) unlink(path.c_str());
}

void BrokeredTables::Listen() {
  std::unique_lock lock(mutex_);
  while (!ending_) {
    if (!watched_) {
      if (tables_.empty())
        changed_.wait(lock);
      else if (!Connect())
        changed_.wait_for(lock, kTryAgain);
      continue;
    }
    const std::shared_ptr<Descriptor> watched = watched_;
    lock.unlock();
    // Many may end at once, and one look finds all that a table has.
    std::set<std::string> paths;
    char path[PATH_MAX];
    ssize_t got = recv(watched->get(), path, sizeof(path) - 1, 0);
    const bool heard = got > 0 || (got < 0 && errno == EINTR);
    for (; got > 0; got = recv(watched->get(), path, sizeof(path) - 1, MSG_DONTWAIT)) {
      path[got] = 0;
      paths.insert(path);
    }
    {
      const std::lock_guard call(died_mutex_);
      for (const std::string& each : paths) {
        if (died_) died_(each);
      }
    }
    lock.lock();
    if (heard) continue;
    // A request may have found out first, and have another broker already.
    if (!ending_ && watched_ == watched) Disconnect();
  }
}

}  // namespace tranche
