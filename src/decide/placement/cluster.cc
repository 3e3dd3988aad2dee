#include "decide/placement/cluster.h"

#include <algorithm>
#include <map>

namespace tranche::placement {
namespace {

// SplitMix64's finaliser: every bit of the input reaches every bit of the output.
uint64_t Mixed(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

uint64_t StateOf(const Node& node) {
  uint64_t gpus = 0;  // a sum, so that the order of GPUs does not matter
  for (int g = 0; g < node.gpus; ++g) {
    gpus += Mixed(static_cast<uint64_t>(node.gpu_free[static_cast<size_t>(g)]) + 1);
  }
  if (node.mig != nullptr) {
    for (size_t g = 0; g < node.gpus; ++g) {
      const MigGpu& gpu = node.mig_gpus[g];
      const uint64_t rest = uint64_t{gpu.slots} << 16 | uint64_t{gpu.compute} << 2 |
                            (gpu.fixed ? 2u : 0u) | (gpu.down ? 1u : 0u);
      gpus += 5 * Mixed(rest << 32 | gpu.allowed);
    }
  }
  const uint64_t rest = static_cast<uint64_t>(node.cpu_free) << 20 |
                        static_cast<uint64_t>(node.type) << 1 | (node.up ? 1 : 0);
  return gpus + Mixed(rest) + 3 * Mixed(static_cast<uint64_t>(MemoryInSight(node)));
}

}  // namespace

int64_t MemoryInSight(const Node& node) {
  return std::min(node.memory_free, node.memory_total / 2);
}

int CountWithFree(const Node& node, int milli) {
  int count = 0;
  for (size_t g = 0; g < node.gpus; ++g) count += node.gpu_free[g] >= milli ? 1 : 0;
  return count;
}

bool Fits(const Node& node, const Request& request) {
  if (!node.up || node.cpu_free < request.cpu_milli || node.memory_free < request.memory_mib) {
    return false;
  }
  if (request.gpus == 0) return true;
  if ((request.models >> node.model & 1) == 0) return false;
  if (request.mig != 0) return TightestSpot(node, request).place >= 0;
  return CountWithFree(node, request.gpu_milli) >= request.gpus;
}

bool Node::HasPlace(size_t g, size_t place) const {
  const MigGpu& gpu = mig_gpus[g];
  const MigPlace& wanted = mig->places[place];
  if ((gpu.allowed >> place & 1) == 0 || (gpu.slots & wanted.slots) != 0 || gpu.down) return false;
  // Whoever has a share of it, or all, keeps it from being divided.
  if (gpu.slots == 0 && !gpu.fixed && gpu_free[g] != kGpuMilli) return false;
  return gpu.compute + mig->profiles[static_cast<size_t>(wanted.profile)].compute <= mig->compute;
}

bool Serves(const MigKind& kind, const MigGpu& gpu, size_t place, int id) {
  const MigRoomOfProfile& has = kind.profiles[static_cast<size_t>(kind.places[place].profile)];
  if (has.id == id) return true;
  const int wanted = gpu.fixed ? kind.Find(id) : -1;
  if (wanted < 0) return false;
  const MigRoomOfProfile& wants = kind.profiles[static_cast<size_t>(wanted)];
  return has.compute >= wants.compute && has.slots >= wants.slots;
}

MigSpot TightestSpot(const Node& node, const Request& request) {
  MigSpot best;
  if (node.mig == nullptr) return best;
  const MigKind& kind = *node.mig;
  std::pair<int, int> tightest;  // compute slices taken, and memory slots wasted, negative
  for (size_t g = 0; g < node.gpus; ++g) {
    for (size_t place = 0; place < kind.places.size(); ++place) {
      if (!Serves(kind, node.mig_gpus[g], place, request.mig) || !node.HasPlace(g, place)) continue;
      const int slots = kind.profiles[static_cast<size_t>(kind.places[place].profile)].slots;
      const std::pair now = {static_cast<int>(node.mig_gpus[g].compute), -slots};
      if (best.place >= 0 && now <= tightest) continue;
      tightest = now;
      best = {static_cast<int>(g), static_cast<int>(place)};
    }
  }
  return best;
}

void Take(Node* node, const Request& request, GpuSet gpus, int place, int sign) {
  node->cpu_free -= sign * request.cpu_milli;
  node->memory_free -= sign * request.memory_mib;
  for (size_t g = 0; g < node->gpus; ++g) {
    if ((gpus >> g & 1) == 0) continue;
    if (request.mig == 0) {
      node->gpu_free[g] = static_cast<int16_t>(node->gpu_free[g] - sign * request.gpu_milli);
      continue;
    }
    const MigPlace& at = node->mig->places[static_cast<size_t>(place)];
    MigGpu& gpu = node->mig_gpus[g];
    gpu.slots = static_cast<uint16_t>(sign > 0 ? gpu.slots | at.slots : gpu.slots & ~at.slots);
    gpu.compute = static_cast<uint8_t>(
        gpu.compute + sign * node->mig->profiles[static_cast<size_t>(at.profile)].compute);
    node->gpu_free[g] =
        gpu.slots == 0 && !gpu.fixed && !gpu.down ? static_cast<int16_t>(kGpuMilli) : int16_t{0};
  }
  if (!request.cpu_only()) {
    uint16_t& running = node->running[request.whole() ? static_cast<size_t>(request.gpus) : 0];
    running = static_cast<uint16_t>(running + sign);
  }
}

GpuSet TightestGpus(const Node& node, const Request& request) {
  GpuSet chosen = 0;
  for (int taken = 0; taken < request.gpus; ++taken) {
    int best = -1;
    for (int g = 0; g < node.gpus; ++g) {
      const int left = node.gpu_free[static_cast<size_t>(g)];
      if (left < request.gpu_milli || (chosen >> g & 1) != 0) continue;
      if (best < 0 || left < node.gpu_free[static_cast<size_t>(best)]) best = g;
    }
    if (best < 0) return 0;
    chosen = static_cast<GpuSet>(chosen | 1u << best);
  }
  return chosen;
}

Cluster::Cluster(const std::vector<NodeShape>& nodes, std::vector<MigKind> kinds)
    : kinds_(std::make_shared<const std::vector<MigKind>>(std::move(kinds))) {
  std::map<NodeShape, uint16_t> known;
  nodes_.reserve(nodes.size());
  for (const NodeShape& shape : nodes) {
    const auto [at, fresh] = known.try_emplace(shape, static_cast<uint16_t>(types_.size()));
    if (fresh) {
      types_.push_back(shape);
      type_counts_.push_back(0);
    }
    ++type_counts_[at->second];
    Node node;
    node.cpu_free = node.cpu_total = shape.cpu_milli;
    node.memory_free = node.memory_total = shape.memory_mib;
    node.gpus = static_cast<uint8_t>(shape.gpus);
    node.model = static_cast<uint8_t>(shape.model);
    node.type = at->second;
    std::fill_n(node.gpu_free.begin(), shape.gpus, static_cast<int16_t>(kGpuMilli));
    const size_t model = static_cast<size_t>(shape.model);
    if (model < kinds_->size() && !(*kinds_)[model].places.empty()) node.mig = &(*kinds_)[model];
    node.state = StateOf(node);
    nodes_.push_back(node);
    total_gpu_milli_ += int64_t{kGpuMilli} * shape.gpus;
    total_cpu_milli_ += shape.cpu_milli;
  }
}

void Cluster::Change(int index, const Request& request, GpuSet gpus, int place, int sign) {
  Node& node = nodes_[static_cast<size_t>(index)];
  Take(&node, request, gpus, place, sign);
  node.state = StateOf(node);
  if (request.mig == 0) {
    used_gpu_milli_ += sign * request.total_milli();
  } else {
    // What was asked for, which may be less than the instance that serves it.
    const auto& wanted = node.mig->profiles[static_cast<size_t>(node.mig->Find(request.mig))];
    used_mig_parts_ += sign * kMigParts * wanted.compute / node.mig->compute;
  }
}

void Cluster::Add(int node, const Request& request, GpuSet gpus, int place) {
  Change(node, request, gpus, place, 1);
}

void Cluster::Remove(int node, const Request& request, GpuSet gpus, int place) {
  Change(node, request, gpus, place, -1);
}

void Cluster::SetGpuUp(int index, int gpu, bool up) {
  Node& node = nodes_[static_cast<size_t>(index)];
  const size_t g = static_cast<size_t>(gpu);
  node.mig_gpus[g].down = !up;
  node.gpu_free[g] = static_cast<int16_t>(up && !node.mig_gpus[g].fixed ? kGpuMilli : 0);
  node.state = StateOf(node);
}

void Cluster::FixLayout(int index, int gpu, uint32_t places) {
  Node& node = nodes_[static_cast<size_t>(index)];
  const size_t g = static_cast<size_t>(gpu);
  MigGpu& gpu_now = node.mig_gpus[g];
  const bool divided = gpu_now.fixed || gpu_now.slots != 0;
  gpu_now.allowed = places;
  gpu_now.fixed = places != 0;
  if (places != 0) {
    node.gpu_free[g] = 0;
  } else if (divided && gpu_now.slots == 0 && !gpu_now.down) {
    node.gpu_free[g] = kGpuMilli;
  }
  node.state = StateOf(node);
}

void Cluster::SetUp(int index, bool up) {
  Node& node = nodes_[static_cast<size_t>(index)];
  node.up = up;
  node.state = StateOf(node);
}

}  // namespace tranche::placement
