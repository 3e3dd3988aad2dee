#pragma once

#include <map>
#include <memory>
#include <optional>
#include <vector>

#include "decide/placement/cluster.h"
#include "decide/placement/policy.h"

namespace tranche::placement {

struct Placement {
  int node = 0;
  GpuSet gpus = 0;
  int place = -1;  // of a MIG instance: index into MigKind::places
  bool operator==(const Placement&) const = default;
};

// Places workloads one at a time on a cluster, where a policy likes it best. What fits somewhere is
// always placed. Deterministic. Not thread-safe.
//
// Fast because scores are kept: per class one column with a score per node, brought up to date when
// the class is next asked for, from a log of the nodes that changed. On clusters of more than
// kAllAtOnce nodes, no call does all of a large piece of work, so that the slowest placement stays
// fast: a fresh column begins with the first kFirst nodes and grows a little with every later call,
// and when the policy learned something, its new scores replace the old ones bit by bit.
class Scheduler {
 public:
  static constexpr int kAllAtOnce = 2048;
  static constexpr int kFirst = 512;

  Scheduler(Cluster cluster, std::unique_ptr<Policy> policy);

  const Cluster& cluster() const { return cluster_; }
  Policy& policy() { return *policy_; }

  // The class of a request.
  int Intern(const Request& request);
  const TaskClass& task(int id) const { return tasks_[static_cast<size_t>(id)]; }

  // Absent when it fits nowhere.
  std::optional<Placement> Place(int task);
  // Where Place would put it now, without doing so; `except` is a node that is out of the question.
  std::optional<Placement> Find(int task, int except = -1);
  void Add(int task, const Placement& at);
  // Takes back what was placed. `departed`: its end, not a move.
  void Remove(int task, const Placement& at, bool departed = true);
  void SetUp(int node, bool up);
  // As Cluster's.
  void SetGpuUp(int node, int gpu, bool up);
  void FixLayout(int node, int gpu, uint32_t places);

 private:
  static constexpr int kBlock = 64;
  static constexpr int16_t kDoesNotFit = INT16_MIN;

  // The scores of one class. Nodes from `scored` on have none yet; those from `renewed` on may
  // still have one of an earlier epoch.
  struct Column {
    uint64_t epoch = ~uint64_t{0};
    uint64_t seen = 0;  // changes taken in
    int scored = 0;
    int renewed = 0;
    std::vector<int16_t> scores;
    std::vector<int16_t> best;  // of each block
    // Scores of states met before, by hash: nodes that are equal have equal scores.
    struct Known {
      uint64_t state = 0;
      int16_t score = 0;
    };
    std::vector<Known> known;
  };

  int16_t ScoreOf(Column& column, const TaskClass& task, int node);
  void Rescore(Column& column, const TaskClass& task, int node);
  void Extend(Column& column, const TaskClass& task, int until);
  // Takes in changes until `most` nodes were scored again; returns how many were.
  int CatchUp(Column& column, const TaskClass& task, int most);
  // Brings the scores of up to `most` nodes to this epoch; returns how many.
  int Renew(Column& column, const TaskClass& task, int most);
  void Refresh(Column& column, const TaskClass& task);
  // A little of the work that other classes will need.
  void WorkAhead();
  void Changed(int node);
  std::optional<int> BestNode(Column& column, const TaskClass& task, int except);
  std::optional<int> RandomNode(const Column& column, int except);
  int BestOfTied(const Column& column, const TaskClass& task, int16_t score, int except);

  Cluster cluster_;
  std::unique_ptr<Policy> policy_;
  std::vector<TaskClass> tasks_;
  std::map<Request, int> ids_;
  std::vector<Column> columns_;

  // The last changes, a ring; the change with number n is at n mod its size.
  std::vector<int> log_;
  uint64_t changes_ = 0;
  std::vector<uint64_t> last_change_;  // of each node: 1 + the number of its last change
  size_t next_ahead_ = 0;
};

}  // namespace tranche::placement
