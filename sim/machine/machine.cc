#include "sim/machine/machine.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <memory>
#include <utility>
#include <vector>

#include "sim/machine/kernel_files.h"
#include "sim/machine/lifecycle.h"
#include "sim/machine/memory_limits.h"
#include "sim/machine/mps.h"
#include "sim/machine/process_table.h"
#include "sim/machine/usage.h"

namespace tranche::sim {
namespace {

constexpr uint64_t kSpecMagic = 0x314345505352544eULL;
constexpr uint64_t kStateMagic = 0x315441545352544eULL;

uint64_t Now(clockid_t clock) {
  timespec t{};
  clock_gettime(clock, &t);
  return static_cast<uint64_t>(t.tv_sec) * 1000000000u + static_cast<uint64_t>(t.tv_nsec);
}

// A test that may not make cgroups says where the process is taken to be.
void PlaceInCgroup(Process* self) {
  const char* cgroup = std::getenv("TRANCHE_SIM_CGROUP");
  if (cgroup == nullptr || *cgroup != '/') return;
  const std::string_view path(cgroup);
  if (path.size() >= sizeof(self->cgroup)) return;
  std::memset(self->cgroup, 0, sizeof(self->cgroup));
  path.copy(self->cgroup, path.size());
}

class Fd {
 public:
  explicit Fd(int fd) : fd_(fd) {}
  ~Fd() {
    if (fd_ >= 0) close(fd_);
  }
  Fd(const Fd&) = delete;
  Fd& operator=(const Fd&) = delete;
  int get() const { return fd_; }
  bool ok() const { return fd_ >= 0; }

 private:
  int fd_;
};

std::string Reason(const std::string& path) { return path + ": " + std::strerror(errno); }

// Maps all of a file of exactly that size.
void* Map(const std::string& path, size_t size, bool writable, std::string* why) {
  Fd fd(open(path.c_str(), (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC));
  struct stat info;
  if (!fd.ok() || fstat(fd.get(), &info) != 0) {
    *why = Reason(path);
    return nullptr;
  }
  if (static_cast<size_t>(info.st_size) != size) {
    *why = path + ": was written by another version of the simulator";
    return nullptr;
  }
  void* at =
      mmap(nullptr, size, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd.get(), 0);
  if (at == MAP_FAILED) {
    *why = Reason(path);
    return nullptr;
  }
  return at;
}

// Writes a file that is either whole or not there, readable by all and, as device nodes are,
// writable by all where `mode` says so.
Status WriteWhole(const std::string& path, const void* data, size_t size, mode_t mode) {
  std::string temporary = path + ".new";
  Fd fd(open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode));
  if (!fd.ok()) return Fail(ErrorCode::kFailed, "creating " + Reason(temporary));
  const char* at = static_cast<const char*>(data);
  while (size > 0) {
    ssize_t n = write(fd.get(), at, size);
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return Fail(ErrorCode::kFailed, "writing " + Reason(temporary));
    at += n;
    size -= static_cast<size_t>(n);
  }
  // Past the umask of whoever creates the machine.
  if (fchmod(fd.get(), mode) != 0 || rename(temporary.c_str(), path.c_str()) != 0) {
    return Fail(ErrorCode::kFailed, "writing " + Reason(path));
  }
  return {};
}

// The lock between processes. A new open file for each transaction, so that libraries and threads
// of one process exclude each other as well and a fork inherits nothing that lasts.
class FileLock {
 public:
  explicit FileLock(const std::string& path) : fd_(open(path.c_str(), O_RDONLY | O_CLOEXEC)) {
    if (!fd_.ok()) return;
    do {
      held_ = flock(fd_.get(), LOCK_EX) == 0;
    } while (!held_ && errno == EINTR);
  }
  ~FileLock() {
    // Explicitly: a child forked meanwhile has the same open file.
    if (held_) flock(fd_.get(), LOCK_UN);
  }
  bool held() const { return held_; }

 private:
  Fd fd_;
  bool held_ = false;
};

void Reap(MachineState* state, uint64_t wall_ns) {
  for (const Process& process : state->processes) {
    if (process.pid != 0 && !IsAlive(process)) RemoveProcess(state, process.pid, wall_ns);
  }
  ReapMps(state);
}

}  // namespace

struct Machine::SpecFile {
  uint64_t magic = kSpecMagic;
  uint64_t size = sizeof(MachineSpec);
  MachineSpec spec;
};

struct Machine::StateFile {
  uint64_t magic = kStateMagic;
  uint64_t size = sizeof(MachineState);
  std::atomic<uint32_t> valid{0};   // which of the copies
  std::atomic<uint32_t> events{0};  // a futex: moves on with every event
  MachineState copies[2];
};

Machine::Machine(std::string dir, Options options)
    : dir_(std::move(dir)), options_(std::move(options)), forced_uid_([] {
        const char* uid = std::getenv("TRANCHE_SIM_UID");
        return uid == nullptr || *uid == 0 ? -1L : std::strtol(uid, nullptr, 10);
      }()) {}

Machine::~Machine() {
  if (spec_file_ != nullptr) munmap(spec_file_, sizeof(SpecFile));
  if (state_file_ != nullptr) munmap(state_file_, sizeof(StateFile));
}

Result<std::unique_ptr<Machine>> Machine::Open(const std::string& dir, Options options) {
  if (!options.monotonic_ns) options.monotonic_ns = [] { return Now(CLOCK_MONOTONIC); };
  if (!options.wall_ns) options.wall_ns = [] { return Now(CLOCK_REALTIME); };
  std::unique_ptr<Machine> machine(new Machine(dir, std::move(options)));
  std::string why;
  void* spec = Map(dir + "/machine.spec", sizeof(SpecFile), false, &why);
  void* state =
      spec == nullptr ? nullptr : Map(dir + "/machine.state", sizeof(StateFile), true, &why);
  machine->spec_file_ = static_cast<SpecFile*>(spec);
  machine->state_file_ = static_cast<StateFile*>(state);
  const char* hint = "make one with `tranche-sim create DIR --gpu MODEL`";
  if (state == nullptr) {
    return Fail(ErrorCode::kUnavailable, "no simulated machine in " + dir + ": " + why, hint);
  }
  const SpecFile& s = *machine->spec_file_;
  if (s.magic != kSpecMagic || s.size != sizeof(MachineSpec) || s.spec.gpu_count > kMaxGpus ||
      machine->state_file_->magic != kStateMagic ||
      machine->state_file_->size != sizeof(MachineState)) {
    return Fail(ErrorCode::kUnavailable, "the simulated machine in " + dir + " is damaged", hint);
  }
  machine->spec_ = &s.spec;
  return machine;
}

Status Machine::Create(const std::string& dir, const MachineSpec& spec) {
  if (mkdir(dir.c_str(), 0755) != 0 && errno != EEXIST) {
    return Fail(ErrorCode::kInvalid, "creating " + Reason(dir));
  }
  if (access((dir + "/machine.state").c_str(), F_OK) == 0) {
    return Fail(ErrorCode::kInvalid, dir + " holds a simulated machine already",
                "name another directory, or remove this one");
  }
  auto spec_file = std::make_unique<SpecFile>();
  spec_file->spec = spec;
  auto state_file = std::make_unique<StateFile>();
  InitialState(spec, &state_file->copies[0]);
  state_file->copies[1] = state_file->copies[0];
  Status status = WriteWhole(dir + "/machine.lock", "", 0, 0644);
  // Any user's process that uses a GPU puts what is known of its time here.
  const std::string times = dir + "/gpu_time";
  if (status &&
      ((mkdir(times.c_str(), 0777) != 0 && errno != EEXIST) || chmod(times.c_str(), 01777) != 0)) {
    status = Fail(ErrorCode::kFailed, "creating " + Reason(times));
  }
  if (status) status = WriteWhole(dir + "/machine.spec", spec_file.get(), sizeof(SpecFile), 0644);
  // Last, because its presence says that there is a machine.
  if (status)
    status = WriteWhole(dir + "/machine.state", state_file.get(), sizeof(StateFile), 0666);
  return status;
}

Rc Machine::Transact(const std::function<Rc(MachineState&)>& change, bool keep) {
  // Looking after the dead is no business of the host process.
  const int before = errno;
  const Rc rc = DoTransact(change, keep);
  errno = before;
  return rc;
}

Rc Machine::DoTransact(const std::function<Rc(MachineState&)>& change, bool keep) {
  std::lock_guard<std::mutex> threads(mutex_);
  FileLock processes(dir_ + "/machine.lock");
  if (!processes.held()) return Rc::kBroken;
  StateFile& file = *state_file_;
  uint32_t valid = file.valid.load(std::memory_order_acquire) & 1;
  MachineState& draft = file.copies[valid ^ 1];
  std::memcpy(&draft, &file.copies[valid], sizeof(MachineState));
  // The draft is thrown away unless `valid` moves, which is the last thing that happens.
  // Before the dead are looked for: what their death does to others is told as well.
  const uint64_t events_before = draft.next_event, boot_before = draft.boot;
  AdvanceTime(*spec_, &draft, MonotonicNs());
  Reap(&draft, WallNs());
  Rc rc = change(draft);
  if (rc != Rc::kOk || !keep) return rc;
  const bool told = draft.next_event != events_before || draft.boot != boot_before;
  file.valid.store(valid ^ 1, std::memory_order_release);
  // The other copy still is what was before; the lock keeps it so.
  if (KernelFilesDiffer(*spec_, file.copies[valid], draft)) WriteKernelFiles(dir_, *spec_, draft);
  if (told) {
    file.events.fetch_add(1, std::memory_order_release);
    syscall(SYS_futex, &file.events, FUTEX_WAKE, INT32_MAX, nullptr, nullptr, 0);
  }
  return rc;
}

Rc Machine::Update(const std::function<Rc(MachineState&)>& change) {
  return Transact(change, true);
}

Rc Machine::Read(const std::function<Rc(const MachineState&)>& look) {
  return Transact([&](MachineState& state) { return look(state); }, false);
}

std::unique_ptr<MachineState> Machine::Snapshot() {
  auto copy = std::make_unique<MachineState>();
  Rc rc = Read([&](const MachineState& state) {
    *copy = state;
    return Rc::kOk;
  });
  return rc == Rc::kOk ? std::move(copy) : nullptr;
}

Rc Machine::CreateContext(const Target& target, ContextKind kind, uint64_t overhead_bytes,
                          const MpsClient& mps, uint64_t* context) {
  Process self;
  if (!DescribeProcess(static_cast<uint32_t>(getpid()), &self)) return Rc::kBroken;
  self.uid = caller().uid;
  PlaceInCgroup(&self);
  return Update([&](MachineState& state) {
    const Rc admitted =
        kind != kMps ? Rc::kOk : AdmitMpsClient(*spec_, state, mps, target, self.uid);
    if (admitted != Rc::kOk) return admitted;
    return sim::CreateContext(*spec_, &state, target, self, kind, overhead_bytes, WallNs(), mps,
                              context);
  });
}

Rc Machine::GetOwnMemory(const Target& target, uint64_t mps_limit, MemoryInfo* info) {
  Process self;
  if (!DescribeProcess(static_cast<uint32_t>(getpid()), &self)) return Rc::kBroken;
  PlaceInCgroup(&self);
  return Read([&](const MachineState& state) {
    const Rc rc = MemoryOf(*spec_, state, target, info);
    if (rc != Rc::kOk) return rc;
    if (mps_limit != kNoLimit) {
      const uint64_t held = MemoryOfMpsClient(state, target.gpu, self.pid);
      info->free = std::min(info->free, mps_limit > held ? mps_limit - held : 0);
    }
    if (target.ci != 0) return rc;  // instances know no limits of cgroups
    info->free = std::min(info->free, MemoryLeftUnderLimits(state, target.gpu, self.cgroup));
    const MemoryLimit* own = FindMemoryLimit(state, target.gpu, self.cgroup);
    if (own != nullptr && own->hard_bytes != kNoLimit) {
      info->total = std::min(info->total, own->hard_bytes);
      info->reserved = 0;
      info->used = MemoryUsedIn(state, target.gpu, self.cgroup);
    }
    return rc;
  });
}

Rc Machine::DestroyContext(uint64_t context) {
  return Update([&](MachineState& state) {
    return sim::DestroyContext(&state, caller().pid, context, WallNs());
  });
}

Rc Machine::Allocate(uint64_t context, uint64_t bytes, bool counted) {
  return Update([&](MachineState& state) {
    return ChangeMemory(*spec_, &state, caller().pid, context, bytes, 0, counted);
  });
}

Rc Machine::Free(uint64_t context, uint64_t bytes, bool counted) {
  return Update([&](MachineState& state) {
    return ChangeMemory(*spec_, &state, caller().pid, context, 0, bytes, counted);
  });
}

Rc Machine::SetLoad(uint64_t context, double sm, double memory) {
  return Update([&](MachineState& state) {
    auto* found = const_cast<Context*>(FindContext(state, context));
    if (found == nullptr || found->pid != caller().pid) return Rc::kNotFound;
    found->load = std::clamp(sm, 0.0, 1.0);
    found->memory_load = std::clamp(memory, 0.0, 1.0);
    return Rc::kOk;
  });
}

Rc Machine::ContextFault(uint64_t context, uint32_t* xid) {
  return Read([&](const MachineState& state) {
    const Context* found = FindContext(state, context);
    if (found == nullptr) return Rc::kNotFound;
    *xid = found->fault_xid;
    return Rc::kOk;
  });
}

Rc Machine::GetMemory(const Target& target, MemoryInfo* info) {
  return Read([&](const MachineState& state) { return MemoryOf(*spec_, state, target, info); });
}

uint32_t Machine::Happenings() const { return state_file_->events.load(std::memory_order_acquire); }

void Machine::WaitForEvent(uint64_t after, uint32_t timeout_ms) {
  uint32_t seen = state_file_->events.load(std::memory_order_acquire);
  bool there = false;
  Read([&](const MachineState& state) {
    there = state.next_event > after + 1;
    return Rc::kOk;
  });
  if (there || timeout_ms == 0) return;
  timespec timeout{timeout_ms / 1000, static_cast<long>(timeout_ms % 1000) * 1000000};
  syscall(SYS_futex, &state_file_->events, FUTEX_WAIT, seen, &timeout, nullptr, 0);
}

Caller Machine::caller() const {
  Caller caller;
  caller.uid = forced_uid_ >= 0 ? static_cast<uint32_t>(forced_uid_) : geteuid();
  caller.pid = static_cast<uint32_t>(getpid());
  return caller;
}

bool Machine::IsPrivileged() const {
  uint32_t uid = caller().uid;
  return uid == 0 || (spec_->owner_is_privileged && uid == spec_->owner_uid);
}

bool Machine::HasMigCapability(const char* name) const {
  if (IsPrivileged()) return true;
  struct stat info;
  if (stat((dir_ + "/capabilities/mig/" + name).c_str(), &info) != 0) return false;
  // By hand, not with access(2): the uid may be a pretended one.
  if (info.st_mode & S_IROTH) return true;
  if (info.st_uid == caller().uid && (info.st_mode & S_IRUSR)) return true;
  if (!(info.st_mode & S_IRGRP)) return false;
  if (info.st_gid == getegid()) return true;
  int count = getgroups(0, nullptr);
  std::vector<gid_t> groups(static_cast<size_t>(std::max(count, 0)));
  count = getgroups(count, groups.data());
  groups.resize(static_cast<size_t>(std::max(count, 0)));
  return std::find(groups.begin(), groups.end(), info.st_gid) != groups.end();
}

}  // namespace tranche::sim
