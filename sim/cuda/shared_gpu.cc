#include "sim/cuda/shared_gpu.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <mutex>
#include <utility>

#include "sim/cuda/timeline.h"
#include "sim/machine/process_table.h"

namespace tranche::sim::cuda {
namespace {

constexpr uint64_t kMagic = 0x31454d4954555047;
// How long the work of a killed process stays on the GPU at most, once somebody looks.
constexpr int64_t kLookForDead = 1'000'000;

class KeepErrno {
 public:
  ~KeepErrno() { errno = before_; }

 private:
  const int before_ = errno;
};

// Only what is in use: the rest of an array is as in a new state.
void CopyTime(GpuState* to, const GpuState& from) {
  std::memcpy(static_cast<void*>(to), &from, offsetof(GpuState, context));
  for (uint32_t i = 0; i < from.contexts; ++i) {
    const size_t used =
        offsetof(ContextState, stream) + from.context[i].streams * sizeof(StreamState);
    std::memcpy(static_cast<void*>(&to->context[i]), &from.context[i], used);
  }
}

}  // namespace

SharedGpu::File* SharedGpu::Map(const std::string& folder, const std::string& name, uint32_t sms) {
  const std::string path = folder + "/" + name;
  const std::string draft = path + "." + std::to_string(getpid());
  int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
  const bool made = fd < 0;
  // Whole before others see it.
  if (made) fd = open(draft.c_str(), O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);
  if (fd < 0) return nullptr;
  // Whatever umask the first of its processes has, the next may be another user's.
  if (made && (fchmod(fd, 0666) != 0 || ftruncate(fd, sizeof(File)) != 0)) {
    close(fd);
    return nullptr;
  }
  struct stat info {};
  const bool whole = fstat(fd, &info) == 0 && static_cast<size_t>(info.st_size) == sizeof(File);
  void* memory =
      !whole ? MAP_FAILED : mmap(nullptr, sizeof(File), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  if (memory == MAP_FAILED) return nullptr;
  auto* file = static_cast<File*>(memory);
  if (!made) {
    if (file->magic == kMagic && file->size == sizeof(File)) return file;
    munmap(memory, sizeof(File));
    return nullptr;
  }
  file->magic = kMagic;
  file->size = sizeof(File);
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  pthread_mutex_init(&file->lock, &attributes);
  pthread_mutexattr_destroy(&attributes);
  for (Copy& copy : file->copies) {
    copy = Copy{};
    copy.time.timing.sms = sms;
  }
  const bool first = link(draft.c_str(), path.c_str()) == 0;
  unlink(draft.c_str());
  if (first) return file;
  munmap(memory, sizeof(File));
  return errno == EEXIST ? Map(folder, name, sms) : nullptr;
}

SharedGpu* SharedGpu::Get(const std::string& machine_folder, uint32_t gpu,
                          uint64_t compute_instance, uint32_t sms) {
  static std::mutex mutex;
  static auto* all = new std::map<std::pair<uint32_t, uint64_t>, SharedGpu*>;
  const KeepErrno keep;
  const std::lock_guard<std::mutex> lock(mutex);
  SharedGpu*& found = (*all)[{gpu, compute_instance}];
  if (found != nullptr) return found;
  const std::string folder = machine_folder + "/gpu_time";
  const std::string name = std::to_string(gpu) + "." + std::to_string(compute_instance);
  File* file = Map(folder, name, std::max(sms, 1u));
  if (file != nullptr) found = new SharedGpu(file);
  return found;
}

void SharedGpu::Lock() {
  // Its holder was killed: what it had not made valid is thrown away.
  if (pthread_mutex_lock(&file_->lock) != EOWNERDEAD) return;
  pthread_mutex_consistent(&file_->lock);
  all_stale_ = true;
}

SharedGpu::Copy* SharedGpu::Draft() {
  const uint32_t valid = file_->valid.load(std::memory_order_acquire) & 1;
  const Copy& from = file_->copies[valid];
  Copy* to = &file_->copies[valid ^ 1];
  CopyTime(&to->time, from.time);
  std::copy(from.owner, from.owner + from.time.contexts, to->owner);
  to->looked_for_dead_at = from.looked_for_dead_at;
  return to;
}

// When work was done is written before it is valid that it is; nobody looks before that.
void SharedGpu::Keep(const std::vector<Arbiter::Done>& done) {
  for (const Arbiter::Done& d : done) {
    file_->done_at[d.context][d.stream][d.number % kQueueDepth].store(static_cast<uint64_t>(d.at),
                                                                      std::memory_order_relaxed);
  }
}

void SharedGpu::RemoveTheDead(Copy* draft) {
  GpuState& time = draft->time;
  draft->looked_for_dead_at = time.now;
  const auto self = static_cast<uint32_t>(getpid());
  for (uint32_t i = 0; i < time.contexts; ++i) {
    Owner& owner = draft->owner[i];
    if (owner.pid == 0 || owner.pid == self) continue;
    Process process;
    process.pid = owner.pid;
    process.start_ticks = owner.start_ticks;
    if (IsAlive(process)) continue;
    owner = Owner{};
    Arbiter arbiter(&time, file_->items, &scratch_);
    arbiter.Clear(i);
    arbiter.Update(&done_);
    all_stale_ = true;
  }
}

SharedGpu::Present::Present(SharedGpu* gpu)
    : gpu_((gpu->Lock(), gpu)),
      state_(&(gpu->draft_ = gpu->Draft())->time),
      arbiter_(state_, gpu->file_->items, &gpu->scratch_) {
  const KeepErrno keep;
  gpu_->done_.clear();
  const auto now = static_cast<int64_t>(TimelineNow());
  while (state_->next <= now) arbiter_.AdvanceTo(state_->next, &gpu_->done_);
  arbiter_.AdvanceTo(std::max(now, state_->now), &gpu_->done_);
  if (state_->now - gpu_->draft_->looked_for_dead_at >= kLookForDead)
    gpu_->RemoveTheDead(gpu_->draft_);
}

SharedGpu::Present::~Present() {
  File* file = gpu_->file_;
  gpu_->Keep(gpu_->done_);
  file->valid.store(file->valid.load(std::memory_order_relaxed) ^ 1, std::memory_order_release);
  if (gpu_->all_stale_) {
    for (uint32_t i = 0; i < state_->contexts; ++i) {
      for (uint32_t k = 0; k < state_->context[i].streams; ++k)
        file->done[i][k].store(state_->context[i].stream[k].done, std::memory_order_release);
    }
    gpu_->all_stale_ = false;
  } else {
    for (const Arbiter::Done& d : gpu_->done_)
      file->done[d.context][d.stream].store(d.number, std::memory_order_release);
  }
  pthread_mutex_unlock(&file->lock);
}

uint64_t SharedGpu::Present::Submit(uint32_t slot, uint32_t queue, const WorkItem& item) {
  return arbiter_.Submit(slot, queue, item, &gpu_->done_);
}

const WorkItem* SharedGpu::Present::Outgoing(uint32_t slot, uint32_t queue,
                                             uint64_t* number) const {
  const uint64_t next = state_->context[slot].stream[queue].given + 1;
  if (next <= kQueueDepth) return nullptr;
  *number = next - kQueueDepth;
  return &gpu_->file_
              ->items[(size_t{slot} * kTimedStreams + queue) * kQueueDepth + next % kQueueDepth];
}

// Nothing of the GPU changes by itself before `next`; and alone it would take as long as what is
// left of its own queue.
uint64_t SharedGpu::Present::NotBefore(uint32_t slot, uint32_t queue, uint64_t number) const {
  constexpr int64_t kAskAgain = 100'000;
  const StreamState& s = state_->context[slot].stream[queue];
  if (s.done >= number) return 0;
  const WorkItem* ring = &gpu_->file_->items[(size_t{slot} * kTimedStreams + queue) * kQueueDepth];
  double left = s.left;
  for (uint64_t i = s.done + 2; i <= number; ++i)
    left += static_cast<double>(ring[i % kQueueDepth].duration);
  const int64_t alone = state_->now + static_cast<int64_t>(left);
  if (state_->next == kNothing) return static_cast<uint64_t>(state_->now + kAskAgain);
  return static_cast<uint64_t>(std::max(alone, state_->next));
}

bool SharedGpu::Attach(const Place& place, uint32_t* slot) {
  const KeepErrno keep;
  Process self;
  if (!DescribeProcess(static_cast<uint32_t>(getpid()), &self)) return false;
  Present present(this);
  RemoveTheDead(draft_);
  uint32_t free = 0;
  while (free < present.state_->contexts && draft_->owner[free].pid != 0) ++free;
  if (free == kTimedContexts) return false;
  draft_->owner[free] = {self.pid, self.start_ticks};
  present.arbiter_.Clear(free);
  ContextState& context = present.state_->context[free];
  // Numbers that no slot has.
  if (place.group != 0) context.group = kTimedContexts + static_cast<uint32_t>(place.group);
  context.partition = place.partition;
  context.sm_part = place.sm_part;
  context.below_normal = place.below_normal ? 1 : 0;
  *slot = free;
  return true;
}

void SharedGpu::Detach(uint32_t slot) {
  const KeepErrno keep;
  Present present(this);
  draft_->owner[slot] = Owner{};
  present.arbiter_.Clear(slot);
  present.arbiter_.Update(&done_);
  all_stale_ = true;
}

double SharedGpu::Served(uint32_t slot) {
  const Present present(this);
  return present.state().context[slot].served;
}

std::vector<std::pair<uint32_t, double>> SharedGpu::ServedByProcess() {
  const Present present(this);
  std::vector<std::pair<uint32_t, double>> served;
  for (uint32_t i = 0; i < present.state().contexts; ++i)
    if (draft_->owner[i].pid != 0)
      served.emplace_back(draft_->owner[i].pid, present.state().context[i].served);
  return served;
}

}  // namespace tranche::sim::cuda
