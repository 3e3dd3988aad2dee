#pragma once

#include <stdint.h>

#include "limiter/policy/compute_constants.h"

// Turns among parties that cannot be trusted with each other's accounts. Here a turn is charged by
// the clock, from the opening of the party's gate until nothing of its is in flight: that needs no
// word of the party's, and who claims to be busy pays for it. Ordered by virtual time, as turns
// within a party are (turns.h). A turn lasts kTurn while others wait, since a change costs a round
// trip through the broker in which the GPU idles; a kernel that nothing can interrupt is waited for
// until kOverlapAfter, and then the GPU runs both in slices of its own.
//
// A room of its own for numbers: no clock, no memory but its own; one thread.
namespace tranche::limiter {

class PartyTurns {
 public:
  static constexpr uint32_t kMost = 64;
  static constexpr int32_t kNobody = -1;
  // A holder that waits for the GPU between two launches is back so soon.
  static constexpr int64_t kBackAgain = 150 * kMicrosecond;
  // Of the time that it was not there for, a party may claim so much once it is back.
  static constexpr int64_t kCredit = 2 * kTurn;
  // Who is so far behind, in GPU time of its own, need not wait for the end of a turn.
  static constexpr int64_t kFarBehind = kTurn;

  // What a party wants, as far as its own table tells.
  struct Wish {
    bool waits = false;  // somebody stands at its closed gate
    bool busy = false;   // something of its is in flight
  };

  // `weight` in ppm of the GPU: the sum of what its slices were promised.
  void Join(uint32_t p, uint32_t weight, int64_t now);
  void Weigh(uint32_t p, uint32_t weight, int64_t now);
  void Leave(uint32_t p, int64_t now);

  void See(uint32_t p, Wish wish, int64_t now);
  // Whose gate is to be open now; kNobody while one that was closed is still busy.
  int32_t Decide(int64_t now);
  // Whether anybody waits but that one: then it shall ring as soon as it is idle.
  bool OthersWait(uint32_t p) const;
  // When to decide again at the latest; kNever: only when a wish changes.
  int64_t NextDeadline() const;
  // ns of GPU time by the clock, since it joined.
  int64_t Charged(uint32_t p) const { return p < kMost ? parties_[p].charged : 0; }

 private:
  struct Party {
    bool present;
    Wish wish;
    int64_t weight;
    int64_t virtual_time;  // ns by weight
    int64_t charged;
  };

  void Charge(int64_t now);
  bool Wants(uint32_t p) const {
    return parties_[p].present && (parties_[p].wish.waits || parties_[p].wish.busy);
  }
  // The one that is furthest behind, of those who want and `before`, should it want on.
  int32_t Choose(int32_t before) const;
  bool SomebodyIsFarBehind() const;
  void Open(int32_t p, int64_t now);
  int32_t Close(int64_t now);

  Party parties_[kMost] = {};
  int32_t holder_ = kNobody;  // who pays: open, or closed and still busy
  bool closing_ = false;
  int64_t began_ = 0;       // the turn
  int64_t closed_at_ = 0;   // while closing
  int64_t idle_since_ = 0;  // of the holder; 0: it is busy
  int64_t last_ = 0;        // charged up to here
  int64_t floor_ = 0;       // the least virtual time of those who want; nobody starts far below
};

inline void PartyTurns::Join(uint32_t p, uint32_t weight, int64_t now) {
  if (p >= kMost) return;
  Charge(now);
  parties_[p] = {true, {}, 1, floor_, 0};
  Weigh(p, weight, now);
}

inline void PartyTurns::Weigh(uint32_t p, uint32_t weight, int64_t now) {
  if (p >= kMost) return;
  Charge(now);
  parties_[p].weight = weight < kLeastWeight ? kLeastWeight : weight;
}

inline void PartyTurns::Leave(uint32_t p, int64_t now) {
  if (p >= kMost) return;
  Charge(now);
  parties_[p] = {};
  if (holder_ == static_cast<int32_t>(p)) holder_ = kNobody;
}

inline void PartyTurns::Charge(int64_t now) {
  const int64_t passed = now > last_ ? now - last_ : 0;
  last_ = now > last_ ? now : last_;
  int64_t least = kNever;
  for (uint32_t i = 0; i < kMost; ++i) {
    if (Wants(i) && parties_[i].virtual_time < least) least = parties_[i].virtual_time;
  }
  if (least != kNever && least > floor_) floor_ = least;
  if (holder_ == kNobody) return;
  Party& holder = parties_[holder_];
  // An open gate that nobody uses costs nothing: nobody else wanted the GPU, or they have it soon.
  if (idle_since_ != 0) return;
  holder.charged += passed;
  holder.virtual_time += passed * kWhole / holder.weight;
}

inline void PartyTurns::See(uint32_t p, Wish wish, int64_t now) {
  if (p >= kMost || !parties_[p].present) return;
  Charge(now);
  const bool wanted = Wants(p);
  parties_[p].wish = wish;
  if (!wanted && Wants(p)) {
    // Its absence earns it little: not a flood of turns when it is back.
    const int64_t least = floor_ - kCredit * kWhole / parties_[p].weight;
    if (parties_[p].virtual_time < least) parties_[p].virtual_time = least;
  }
  if (holder_ == static_cast<int32_t>(p)) {
    if (Wants(p))
      idle_since_ = 0;
    else if (idle_since_ == 0)
      idle_since_ = now;
  }
}

inline bool PartyTurns::OthersWait(uint32_t p) const {
  for (uint32_t i = 0; i < kMost; ++i) {
    if (i != p && parties_[i].present && parties_[i].wish.waits) return true;
  }
  return false;
}

inline bool PartyTurns::SomebodyIsFarBehind() const {
  const Party& holder = parties_[holder_];
  for (uint32_t i = 0; i < kMost; ++i) {
    const Party& other = parties_[i];
    if (!other.present || !other.wish.waits || static_cast<int32_t>(i) == holder_) continue;
    if (holder.virtual_time - other.virtual_time > kFarBehind * kWhole / other.weight) return true;
  }
  return false;
}

inline int32_t PartyTurns::Choose(int32_t before) const {
  int32_t best = kNobody;
  for (uint32_t i = 0; i < kMost; ++i) {
    const bool stays = static_cast<int32_t>(i) == before && Wants(i);
    if (!parties_[i].present || (!parties_[i].wish.waits && !stays)) continue;
    if (best == kNobody || parties_[i].virtual_time < parties_[best].virtual_time)
      best = static_cast<int32_t>(i);
  }
  return best;
}

inline void PartyTurns::Open(int32_t p, int64_t now) {
  holder_ = p;
  closing_ = false;
  began_ = now;
  idle_since_ = p != kNobody && Wants(static_cast<uint32_t>(p)) ? 0 : now;
}

// Who passed just before will be seen to be busy.
inline int32_t PartyTurns::Close(int64_t now) {
  closing_ = true;
  closed_at_ = now;
  return kNobody;
}

inline int32_t PartyTurns::Decide(int64_t now) {
  Charge(now);
  if (holder_ == kNobody) {
    Open(Choose(kNobody), now);
    return holder_;
  }
  const auto held_by = static_cast<uint32_t>(holder_);
  if (closing_) {
    // Closed, it gets no more; who waits at it waits for its next turn.
    if (parties_[held_by].wish.busy && now - closed_at_ < kOverlapAfter) return kNobody;
    Open(Choose(kNobody), now);
    return holder_;
  }
  if (!OthersWait(held_by)) return holder_;
  if (idle_since_ != 0) {
    if (now - idle_since_ < kBackAgain) return holder_;
    return Close(now);
  }
  const bool over = now - began_ >= kTurn;
  if (!over && (now - began_ < kShortestTurn || !SomebodyIsFarBehind())) return holder_;
  if (Choose(holder_) == holder_) {
    began_ = now;
    return holder_;
  }
  return Close(now);
}

inline int64_t PartyTurns::NextDeadline() const {
  if (holder_ == kNobody) return kNever;
  if (closing_) return closed_at_ + kOverlapAfter;
  if (!OthersWait(static_cast<uint32_t>(holder_))) return kNever;
  if (idle_since_ != 0) return idle_since_ + kBackAgain;
  // How far behind others are grows with every moment; not looked at more often than it matters.
  const int64_t soon = last_ + kShortestTurn;
  return soon < began_ + kTurn ? soon : began_ + kTurn;
}

}  // namespace tranche::limiter
