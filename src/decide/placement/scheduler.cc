#include "decide/placement/scheduler.h"

#include <algorithm>
#include <array>
#include <bit>

namespace tranche::placement {
namespace {

constexpr size_t kKnownStates = 512;  // per class; a power of two
constexpr int kChangesBehind = 192;   // from here on, WorkAhead cares
constexpr int kAheadNodes = 160;      // scored by one WorkAhead
constexpr int kRenewed = 128;         // nodes brought to a new epoch by one Refresh
constexpr int kMostTied = 96;         // distinct states among which ties are broken

}  // namespace

Scheduler::Scheduler(Cluster cluster, std::unique_ptr<Policy> policy)
    : cluster_(std::move(cluster)),
      policy_(std::move(policy)),
      log_(std::bit_ceil(static_cast<size_t>(std::max(cluster_.size(), 1024)))),
      last_change_(static_cast<size_t>(cluster_.size()), 0) {}

int Scheduler::Intern(const Request& request) {
  const auto [at, fresh] = ids_.try_emplace(request, static_cast<int>(tasks_.size()));
  if (fresh) {
    tasks_.push_back({at->second, request});
    columns_.emplace_back();
  }
  return at->second;
}

int16_t Scheduler::ScoreOf(Column& column, const TaskClass& task, int index) {
  const Node& node = cluster_.node(index);
  if (!Fits(node, task.request)) return kDoesNotFit;
  Column::Known& known = column.known[node.state & (kKnownStates - 1)];
  if (known.state == node.state && !policy_->looks_beyond_state()) return known.score;
  const int score = policy_->Score(node, index, task);
  known = {node.state, static_cast<int16_t>(std::clamp(score, INT16_MIN + 1, INT16_MAX + 0))};
  return known.score;
}

void Scheduler::Rescore(Column& column, const TaskClass& task, int node) {
  const size_t at = static_cast<size_t>(node);
  const int16_t before = column.scores[at];
  const int16_t after = ScoreOf(column, task, node);
  if (after == before) return;
  column.scores[at] = after;
  int16_t& best = column.best[at / kBlock];
  if (after > best) {
    best = after;
  } else if (before == best) {
    const auto begin = column.scores.begin() + static_cast<ptrdiff_t>(at / kBlock * kBlock);
    best = *std::max_element(begin, begin + kBlock);
  }
}

void Scheduler::Extend(Column& column, const TaskClass& task, int until) {
  until = std::min(until, cluster_.size());
  for (; column.scored < until; ++column.scored) {
    const size_t at = static_cast<size_t>(column.scored);
    column.scores[at] = ScoreOf(column, task, column.scored);
    column.best[at / kBlock] = std::max(column.best[at / kBlock], column.scores[at]);
  }
}

int Scheduler::CatchUp(Column& column, const TaskClass& task, int most) {
  const uint64_t mask = log_.size() - 1;
  if (changes_ - column.seen > log_.size()) {
    // The log no longer has them all.
    for (int node = 0; node < column.scored; ++node) {
      if (last_change_[static_cast<size_t>(node)] > column.seen) Rescore(column, task, node);
    }
    column.seen = changes_;
    return column.scored;
  }
  int scored = 0;
  for (; column.seen < changes_ && scored < most; ++column.seen) {
    const int node = log_[column.seen & mask];
    // What changed again later is looked at then.
    if (last_change_[static_cast<size_t>(node)] != column.seen + 1) continue;
    if (node >= column.scored) continue;
    Rescore(column, task, node);
    ++scored;
  }
  return scored;
}

int Scheduler::Renew(Column& column, const TaskClass& task, int most) {
  const int until = std::min(column.renewed + most, column.scored);
  const int count = std::max(0, until - column.renewed);
  for (; column.renewed < until; ++column.renewed) Rescore(column, task, column.renewed);
  return count;
}

void Scheduler::Refresh(Column& column, const TaskClass& task) {
  const bool fresh = column.scores.empty();
  const bool small = cluster_.size() <= kAllAtOnce;
  if (column.epoch != policy_->epoch()) {
    column.epoch = policy_->epoch();
    column.known.assign(kKnownStates, {});
    column.renewed = 0;
    if (fresh || small) {
      const size_t blocks = (static_cast<size_t>(cluster_.size()) + kBlock - 1) / kBlock;
      column.scores.assign(blocks * kBlock, kDoesNotFit);
      column.best.assign(blocks, kDoesNotFit);
      column.scored = 0;
      column.seen = changes_;
      Extend(column, task, small ? cluster_.size() : kFirst);
      column.renewed = column.scored;
      return;
    }
  }
  CatchUp(column, task, INT32_MAX);
  Renew(column, task, kRenewed);
}

void Scheduler::WorkAhead() {
  if (cluster_.size() <= kAllAtOnce) return;
  int budget = kAheadNodes;
  for (size_t tried = 0; tried < columns_.size() && budget > 0; ++tried) {
    next_ahead_ = (next_ahead_ + 1) % columns_.size();
    Column& column = columns_[next_ahead_];
    if (column.scores.empty() || column.epoch != policy_->epoch()) continue;
    const TaskClass& task = tasks_[next_ahead_];
    if (changes_ - column.seen > kChangesBehind) {
      budget -= CatchUp(column, task, budget);
    } else if (column.renewed < column.scored) {
      budget -= Renew(column, task, budget);
    } else if (column.scored < cluster_.size()) {
      Extend(column, task, column.scored + budget);
      column.renewed = column.scored;
      budget = 0;
    }
  }
}

void Scheduler::Changed(int node) {
  log_[changes_ & (log_.size() - 1)] = node;
  last_change_[static_cast<size_t>(node)] = ++changes_;
}

std::optional<int> Scheduler::BestNode(Column& column, const TaskClass& task, int except) {
  // `except` is hidden while the best is looked for.
  int16_t hidden = kDoesNotFit;
  const auto hide = [&](int16_t score) {
    if (except < 0 || except >= column.scored) return;
    const size_t at = static_cast<size_t>(except);
    hidden = std::exchange(column.scores[at], score);
    const auto begin = column.scores.begin() + static_cast<ptrdiff_t>(at / kBlock * kBlock);
    column.best[at / kBlock] = *std::max_element(begin, begin + kBlock);
  };
  hide(kDoesNotFit);
  const int16_t score = *std::max_element(column.best.begin(), column.best.end());
  std::optional<int> found;
  if (score != kDoesNotFit) found = BestOfTied(column, task, score, except);
  if (except >= 0) hide(hidden);
  return found;
}

int Scheduler::BestOfTied(const Column& column, const TaskClass& task, int16_t score, int except) {
  int chosen = -1;
  int best = INT32_MIN;
  std::array<uint64_t, 256> met{};  // states asked about already, by hash
  int asked = 0;
  for (size_t block = 0; block < column.best.size(); ++block) {
    if (column.best[block] != score) continue;
    for (size_t at = block * kBlock; at < (block + 1) * kBlock; ++at) {
      const int node = static_cast<int>(at);
      if (column.scores[at] != score || node == except) continue;
      if (!policy_->breaks_ties()) return node;
      uint64_t& slot = met[cluster_.node(node).state & (met.size() - 1)];
      if (slot == cluster_.node(node).state) continue;  // no better than the first of them
      slot = cluster_.node(node).state;
      const int value = policy_->TieBreak(cluster_.node(node), node, task);
      if (value > best) {
        best = value;
        chosen = node;
      }
      if (++asked >= kMostTied) return chosen;
    }
  }
  return chosen;
}

std::optional<int> Scheduler::RandomNode(const Column& column, int except) {
  int count = 0;
  for (size_t at = 0; at < column.scores.size(); ++at) {
    count += column.scores[at] != kDoesNotFit && static_cast<int>(at) != except ? 1 : 0;
  }
  if (count == 0) return std::nullopt;
  int left = policy_->Draw(count);
  for (size_t at = 0; at < column.scores.size(); ++at) {
    if (column.scores[at] == kDoesNotFit || static_cast<int>(at) == except) continue;
    if (left-- == 0) return static_cast<int>(at);
  }
  return std::nullopt;
}

std::optional<Placement> Scheduler::Find(int id, int except) {
  const TaskClass& task = tasks_[static_cast<size_t>(id)];
  Column& column = columns_[static_cast<size_t>(id)];
  Refresh(column, task);
  std::optional<int> node;
  for (;;) {
    if (policy_->picks_at_random()) Extend(column, task, cluster_.size());
    node = policy_->picks_at_random() ? RandomNode(column, except) : BestNode(column, task, except);
    if (node || column.scored >= cluster_.size()) break;
    // Whoever has a score in hand finds no room among them: on to the others.
    const bool renewed = column.renewed == column.scored;
    Extend(column, task, column.scored + kFirst);
    if (renewed) column.renewed = column.scored;
  }
  if (!node) return std::nullopt;
  if (task.request.mig != 0) {
    const MigSpot spot = policy_->ChooseSpot(cluster_.node(*node), *node, task);
    return Placement{*node, static_cast<GpuSet>(1u << spot.gpu), spot.place};
  }
  return Placement{*node, policy_->ChooseGpus(cluster_.node(*node), *node, task)};
}

std::optional<Placement> Scheduler::Place(int id) {
  const TaskClass& task = tasks_[static_cast<size_t>(id)];
  policy_->Arrived(task);
  const std::optional<Placement> found = Find(id);
  if (found) {
    Add(id, *found);
    policy_->Placed(task);
  } else {
    policy_->Refused(task);
  }
  WorkAhead();
  return found;
}

void Scheduler::Add(int id, const Placement& at) {
  cluster_.Add(at.node, task(id).request, at.gpus, at.place);
  Changed(at.node);
}

void Scheduler::Remove(int id, const Placement& at, bool departed) {
  cluster_.Remove(at.node, task(id).request, at.gpus, at.place);
  Changed(at.node);
  if (departed) policy_->Departed(task(id));
}

void Scheduler::SetUp(int node, bool up) {
  cluster_.SetUp(node, up);
  Changed(node);
}

void Scheduler::SetGpuUp(int node, int gpu, bool up) {
  cluster_.SetGpuUp(node, gpu, up);
  Changed(node);
}

void Scheduler::FixLayout(int node, int gpu, uint32_t places) {
  cluster_.FixLayout(node, gpu, places);
  Changed(node);
}

}  // namespace tranche::placement
