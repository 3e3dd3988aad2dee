#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "sim/test/scratch.h"
#include "slice.h"
#include "tenant.h"

namespace tranche::limiter_memory {

inline constexpr uint64_t kMiB = uint64_t{1} << 20;
// Of a slice: two contexts on a T4 and some 200 MiB.
inline constexpr uint64_t kLimit = 700 * kMiB;

const sim::MachineSpec& SmallMachine();

// A machine, and tenants on it.
class World {
 public:
  explicit World(const sim::MachineSpec& spec);

  // With a part of each of these GPUs.
  std::unique_ptr<Slice> MakeSlice(const std::vector<uint32_t>& gpus = {0});
  using Variables = std::vector<std::pair<std::string, std::string>>;
  // A process within the slice, of a build of the limiter.
  std::unique_ptr<Tenant> Limited(const Slice& slice, const std::string& library = TRANCHE_SHIM,
                                  const Variables& more = {});
  std::unique_ptr<Tenant> Unlimited(const Variables& more = {});

  // What the processes of a cgroup may hold, by the kernel.
  void LimitGroup(const std::string& cgroup, uint64_t bytes);
  // An MPS server, with limits for each client: bytes (0: none) and percent of the threads.
  void ServeMps(const std::string& pipe, uint64_t bytes, uint32_t percent);
  void ChangeMpsLimit(const std::string& pipe, uint64_t bytes);

  // What all processes hold on a GPU.
  uint64_t Used(uint32_t gpu = 0);
  // From now on Peak() counts.
  void Watch();
  // The most that process held at any instant, and what all others hold; 0 when it took and gave
  // nothing.
  uint64_t Peak(pid_t pid);

 private:
  sim::ScratchDir scratch_;
  std::unique_ptr<sim::Machine> machine_;
  uint64_t context_bytes_ = 0;  // 0: not measured yet
  int slices_ = 0;
};

}  // namespace tranche::limiter_memory
