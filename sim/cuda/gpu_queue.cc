#include "sim/cuda/gpu_queue.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

namespace tranche::sim::cuda {
namespace {

constexpr size_t kQueues = 256;
constexpr size_t kBytes = kQueues * sizeof(GpuQueue);

GpuQueue* MapQueues(const std::string& folder) {
  const std::string path = folder + "/gpu_queues";
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666);
  if (fd < 0) return nullptr;
  // Whatever umask the first of its processes has, the next may be another user's.
  fchmod(fd, 0666);
  void* memory = MAP_FAILED;
  if (ftruncate(fd, kBytes) == 0)
    memory = mmap(nullptr, kBytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  close(fd);
  return memory == MAP_FAILED ? nullptr : static_cast<GpuQueue*>(memory);
}

}  // namespace

GpuQueue* FindGpuQueue(const std::string& machine_folder, uint32_t gpu, uint64_t compute_instance) {
  static GpuQueue* const queues = MapQueues(machine_folder);
  const uint64_t wanted = (compute_instance << 16 | gpu) + 1;
  for (size_t i = 0; queues != nullptr && i < kQueues; ++i) {
    uint64_t device = 0;
    if (queues[i].device.compare_exchange_strong(device, wanted) || device == wanted)
      return &queues[i];
  }
  return nullptr;
}

}  // namespace tranche::sim::cuda
