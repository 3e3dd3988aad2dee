#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <optional>
#include <vector>

#include "base/units.h"

namespace tranche::sim {

// How long the work of a model server takes on its device. Generating is bound by memory: each step
// reads all weights once, whatever the number of sequences, and the cache of every sequence.
struct Pace {
  double weights_bytes = 0;
  double cache_bytes_per_token = 0;
  double bandwidth = 0;  // bytes per second
};

// Continuous batching: up to `concurrency` sequences get one token each per step, the others wait
// in the order in which they came. Knows no clock: the caller lets the time of a step pass. Not
// thread-safe.
class Batcher {
 public:
  Batcher(const Pace& pace, int concurrency) : pace_(pace), concurrency_(concurrency) {}

  // Returns the number of the sequence. `max_tokens` is at least 1.
  uint64_t Add(int prompt_tokens, int max_tokens);
  // It wants no more tokens. Unknown numbers (it has just ended) are ignored.
  void Cancel(uint64_t sequence);

  // Begins a step and says how long it takes; absent when nobody wants a token.
  std::optional<Duration> BeginStep();

  struct Token {
    uint64_t sequence = 0;
    int index = 0;      // of the token, from 0
    bool last = false;  // it was the max_tokens-th; the sequence is gone
  };
  // Ends the step: who got a token, by age. A sequence that was cancelled meanwhile got none.
  std::vector<Token> EndStep();

  int running() const { return static_cast<int>(running_.size()); }
  int waiting() const { return static_cast<int>(waiting_.size()); }

 private:
  struct Sequence {
    int prompt_tokens = 0;
    int max_tokens = 0;
    int generated = 0;
  };

  const Pace pace_;
  const int concurrency_;
  uint64_t last_ = 0;
  std::map<uint64_t, Sequence> running_;
  std::deque<std::pair<uint64_t, Sequence>> waiting_;
  std::vector<uint64_t> in_step_;
};

}  // namespace tranche::sim
