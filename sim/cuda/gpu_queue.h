#pragma once

#include <atomic>
#include <cstdint>
#include <string>

namespace tranche::sim::cuda {

// Where the contexts of all processes of a machine stand in line for one GPU or one MIG device:
// kernels run one at a time, in the order in which they were given. (Real ones take time slices
// where several contexts have work; what all get together is the same.)
struct GpuQueue {
  std::atomic<uint64_t> device;   // 0: nobody's yet
  std::atomic<uint64_t> free_at;  // on the machine's clock: what was given is done then
};

// That of the device, in the machine's folder. nullptr when it cannot be had. Stays for the life of
// the process; any thread.
GpuQueue* FindGpuQueue(const std::string& machine_folder, uint32_t gpu, uint64_t compute_instance);

}  // namespace tranche::sim::cuda
