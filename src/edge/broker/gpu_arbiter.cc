#include "edge/broker/gpu_arbiter.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <set>

#include "edge/broker/table_file.h"
#include "limiter/libc.h"

namespace tranche {
namespace {

using limiter::kMillisecond;
using limiter::kNever;
using limiter::PartyTurns;

// What a dead process had in flight is found so soon, while others wait for it.
constexpr int64_t kLookForDead = 20 * kMillisecond;
// While a gate is closed, those behind it must know that somebody is there.
constexpr int64_t kBeat = 200 * kMillisecond;

}  // namespace

GpuArbiter::GpuArbiter() : deadline_(kNever), timekeeper_([this] { KeepTime(); }) {}

GpuArbiter::~GpuArbiter() {
  std::vector<std::string> names;
  {
    const std::lock_guard lock(mutex_);
    ending_ = true;
    for (const auto& [name, party] : parties_) names.push_back(name);
  }
  due_.notify_all();
  timekeeper_.join();
  for (const std::string& name : names) {
    std::unique_ptr<Party> party;
    {
      const std::lock_guard lock(mutex_);
      // Out of the map: the listeners of the others still go through it.
      const auto found = parties_.find(name);
      party = std::move(found->second);
      parties_.erase(found);
      party->leaving = true;
    }
    party->table->RingBell();
    party->listener.join();
  }
}

Status GpuArbiter::Add(const std::string& name, TurnsTable& table, std::unique_ptr<GateFile> gate) {
  const std::lock_guard lock(mutex_);
  std::set<uint32_t> taken;
  for (const auto& [other, its] : parties_) taken.insert(its->number);
  auto party = std::make_unique<Party>();
  while (taken.count(party->number) != 0) ++party->number;
  if (party->number >= PartyTurns::kMost) {
    return Fail(
        ErrorCode::kDoesNotFit,
        "this GPU is shared by " + std::to_string(PartyTurns::kMost) + " users and teams already",
        "use another GPU");
  }
  party->table = &table;
  party->gate = std::move(gate);
  turns_.Join(party->number, 0, limiter::libc::Now());
  Party* const its = party.get();
  parties_.emplace(name, std::move(party));
  its->listener = std::thread([this, its] { Listen(its); });
  Step();
  due_.notify_all();
  return {};
}

void GpuArbiter::Weigh(const std::string& name, Fraction promised) {
  const std::lock_guard lock(mutex_);
  const auto party = parties_.find(name);
  if (party == parties_.end()) return;
  turns_.Weigh(party->second->number, MillionthsOf(promised), limiter::libc::Now());
}

void GpuArbiter::Remove(const std::string& name) {
  std::unique_ptr<Party> party;
  {
    const std::lock_guard lock(mutex_);
    const auto found = parties_.find(name);
    if (found == parties_.end()) return;
    party = std::move(found->second);
    parties_.erase(found);
    party->leaving = true;
    turns_.Leave(party->number, limiter::libc::Now());
    if (open_ == static_cast<int32_t>(party->number)) open_ = PartyTurns::kNobody;
    Step();
  }
  due_.notify_all();
  party->table->RingBell();
  party->listener.join();
  party->gate->Discard();
}

HandOvers GpuArbiter::hand_overs() const {
  const std::lock_guard lock(mutex_);
  return hand_overs_;
}

void GpuArbiter::Listen(Party* party) {
  for (uint32_t heard = party->table->Bell();;) {
    {
      const std::lock_guard lock(mutex_);
      if (party->leaving) return;
      const int64_t deadline = deadline_;
      Step();
      if (deadline_ < deadline) due_.notify_all();
    }
    party->table->WaitForBell(heard);
    heard = party->table->Bell();
  }
}

void GpuArbiter::KeepTime() {
  std::unique_lock lock(mutex_);
  while (!ending_) {
    if (deadline_ == kNever) {
      due_.wait(lock);
    } else {
      due_.wait_until(lock,
                      std::chrono::steady_clock::time_point(std::chrono::nanoseconds(deadline_)));
    }
    if (!ending_ && limiter::libc::Now() >= deadline_) Step();
  }
}

void GpuArbiter::Count(int32_t open, int64_t now) {
  if (open == open_) return;
  if (closed_at_ == 0 && open_ != PartyTurns::kNobody) closed_at_ = now;
  if (open == PartyTurns::kNobody) return;
  if (closed_at_ != 0) {
    const Duration took(now - closed_at_);
    ++hand_overs_.count;
    hand_overs_.sum += took;
    hand_overs_.longest = std::max(hand_overs_.longest, took);
  }
  closed_at_ = 0;
  open_ = open;
}

void GpuArbiter::CloseAllBut(int32_t open, int64_t now) {
  for (auto& [name, party] : parties_) {
    if (static_cast<int32_t>(party->number) == open) continue;
    party->gate->Set(false);
    party->gate->Looked(now);
  }
}

void GpuArbiter::Step() {
  if (parties_.size() < 2) {
    for (auto& [name, party] : parties_) {
      party->gate->SetOthersWait(false);
      party->gate->Set(true);
    }
    deadline_ = kNever;
    return;
  }
  int64_t now = limiter::libc::Now();
  for (auto& [name, party] : parties_) turns_.See(party->number, party->table->Wish(), now);
  for (auto& [name, party] : parties_) {
    const bool others_wait = turns_.OthersWait(party->number);
    party->gate->SetOthersWait(others_wait);
    if (others_wait) party->gate->Wanted(now);
    // Who left before it could see that has not rung.
    turns_.See(party->number, party->table->Wish(), now);
  }
  int32_t open = turns_.Decide(now);
  // First closed, then opened.
  CloseAllBut(open, now);
  if (open == PartyTurns::kNobody) {
    // Whoever passed a gate looks at it once more when it is busy: it has seen that it was closed,
    // or is seen here (Turnstile::Enter).
    std::atomic_thread_fence(std::memory_order_seq_cst);
    for (auto& [name, party] : parties_) turns_.See(party->number, party->table->Wish(), now);
    open = turns_.Decide(now);
  }
  for (auto& [name, party] : parties_) {
    if (static_cast<int32_t>(party->number) == open) party->gate->Set(true);
  }
  Count(open, now);
  const bool draining = open == PartyTurns::kNobody;
  if (draining) {
    for (auto& [name, party] : parties_) party->table->Reap();
  }
  deadline_ = turns_.NextDeadline();
  now = limiter::libc::Now();
  if (draining) deadline_ = std::min(deadline_, now + kLookForDead);
  deadline_ = std::min(deadline_, now + kBeat);
}

}  // namespace tranche
