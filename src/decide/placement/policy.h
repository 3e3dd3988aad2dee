#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "decide/placement/cluster.h"

namespace tranche::placement {

// A request, as a policy sees it: `id` counts from 0 in the order in which classes were first seen.
struct TaskClass {
  int id = 0;
  Request request;
};

struct WeightedRequest {
  Request request;
  double weight = 0;
};

// How good it would be to put a workload on a node. Only orders nodes on which it fits, so that a
// workload that fits is always placed. Deterministic: the same calls give the same answers.
// Not thread-safe.
class Policy {
 public:
  virtual ~Policy() = default;

  // The larger, the better; of equals the scheduler takes the node with the lowest index, or asks
  // TieBreak. `index` is the node's; the task fits there.
  virtual int Score(const Node& node, int index, const TaskClass& task) = 0;
  // The score needs more than Node::state tells.
  virtual bool looks_beyond_state() const { return false; }
  // Which GPUs of the node it gets.
  virtual GpuSet ChooseGpus(const Node& node, int index, const TaskClass& task) = 0;
  // The same for one that wants an instance of MIG.
  virtual MigSpot ChooseSpot(const Node& node, int /*index*/, const TaskClass& task) {
    return TightestSpot(node, task.request);
  }

  // Among nodes of the best score, the largest wins. Asked only where breaks_ties() is true.
  virtual bool breaks_ties() const { return false; }
  virtual int TieBreak(const Node&, int, const TaskClass&) { return 0; }

  // A node drawn at random instead of the best.
  virtual bool picks_at_random() const { return false; }
  // 0..count-1.
  virtual int Draw(int) { return 0; }

  // What happens, in order: a policy may learn from it. `epoch` changes when scores that were given
  // before no longer hold.
  virtual void Arrived(const TaskClass&) {}
  virtual void Placed(const TaskClass&) {}
  virtual void Refused(const TaskClass&) {}
  virtual void Departed(const TaskClass&) {}
  virtual uint64_t epoch() const { return 0; }
};

}  // namespace tranche::placement
