#pragma once

#include <cstdint>
#include <vector>

#include "decide/placement/scheduler.h"

namespace tranche::simulate {

// What runs, and moving some of it to make room for more. Moves are counted: they cost those who
// are moved.
class Repacker {
 public:
  // Of the workloads placed so far, the share `most` may be moved, each as often as it pays.
  Repacker(placement::Scheduler& scheduler, double most);

  // Returns a number to end it by.
  int Started(int task, const placement::Placement& at);
  void Ended(int workload);

  // Moves one running workload so that `task` fits somewhere. False when none would do, or too many
  // were moved.
  bool MakeRoom(int task);
  // Moves those that would find a clearly better place now, the largest gains not first: in one
  // pass.
  void Improve();
  int64_t moved() const { return moved_; }

 private:
  struct Running {
    int task = 0;
    placement::Placement at;
    bool runs = false;
    size_t place_on_node = 0;  // in on_node_
  };

  // `share` of what may be moved in all.
  bool MayMove(double share) const;
  // To its best place on another node, if that is better by at least `points`; INT_MIN = anyhow.
  bool Move(int workload, int points);
  void PutOn(int workload, const placement::Placement& at);
  void TakeOff(int workload);
  bool WouldFit(const placement::Request& request, const Running& gone) const;

  placement::Scheduler& scheduler_;
  double most_;
  int64_t started_ = 0;
  int64_t moved_ = 0;
  std::vector<Running> running_;
  std::vector<std::vector<int>> on_node_;  // workloads
};

}  // namespace tranche::simulate
