#include "sim/machine/memory_limits.h"

#include <algorithm>

#include "sim/machine/usage.h"

namespace tranche::sim {
namespace {

bool IsWithin(std::string_view inner, std::string_view outer) {
  if (outer == "/") return true;
  return inner.substr(0, outer.size()) == outer &&
         (inner.size() == outer.size() || inner[outer.size()] == '/');
}

}  // namespace

const MemoryLimit* FindMemoryLimit(const MachineState& state, uint32_t gpu,
                                   std::string_view cgroup) {
  for (const MemoryLimit& limit : state.memory_limits) {
    if (limit.cgroup[0] != 0 && limit.gpu == gpu && limit.cgroup == cgroup) return &limit;
  }
  return nullptr;
}

Rc SetMemoryLimit(MachineState* state, uint32_t gpu, std::string_view cgroup, uint64_t soft_bytes,
                  uint64_t hard_bytes) {
  if (cgroup.empty() || cgroup.size() >= sizeof(MemoryLimit::cgroup)) return Rc::kInvalid;
  auto* limit = const_cast<MemoryLimit*>(FindMemoryLimit(*state, gpu, cgroup));
  const bool gone = soft_bytes == 0 && hard_bytes == kNoLimit;
  if (limit == nullptr && gone) return Rc::kOk;
  if (limit == nullptr) {
    for (MemoryLimit& free : state->memory_limits) {
      if (free.cgroup[0] == 0) limit = &free;
    }
    if (limit == nullptr) return Rc::kInsufficientResources;
  }
  *limit = MemoryLimit{};
  if (gone) return Rc::kOk;
  cgroup.copy(limit->cgroup, cgroup.size());
  limit->gpu = gpu;
  limit->soft_bytes = soft_bytes;
  limit->hard_bytes = hard_bytes;
  return Rc::kOk;
}

uint64_t MemoryUsedIn(const MachineState& state, uint32_t gpu, std::string_view cgroup) {
  uint64_t bytes = 0;
  for (const Context* context : ContextsOn(state, gpu)) {
    const Process* process = FindProcess(state, context->pid);
    const bool counts =
        process != nullptr && process->cgroup[0] != 0 && IsWithin(process->cgroup, cgroup);
    if (counts) bytes += context->memory_bytes - context->unlimited_bytes;
  }
  return bytes;
}

uint64_t MemoryLeftUnderLimits(const MachineState& state, uint32_t gpu, std::string_view cgroup) {
  uint64_t left = kNoLimit;
  if (cgroup.empty()) return left;
  for (const MemoryLimit& limit : state.memory_limits) {
    const bool holds = limit.cgroup[0] != 0 && limit.gpu == gpu && limit.hard_bytes != kNoLimit &&
                       IsWithin(cgroup, limit.cgroup);
    if (!holds) continue;
    const uint64_t used = MemoryUsedIn(state, gpu, limit.cgroup);
    left = std::min(left, limit.hard_bytes > used ? limit.hard_bytes - used : 0);
  }
  return left;
}

}  // namespace tranche::sim
