#include "sim/model_server/batcher.h"

#include <algorithm>
#include <cmath>

namespace tranche::sim {
namespace {

// Prompt tokens that are read while the weights pass once: what reading a prompt computes takes
// about as long as moving the weights does at this many.
constexpr int kPromptTokensPerPass = 512;

}  // namespace

uint64_t Batcher::Add(int prompt_tokens, int max_tokens) {
  waiting_.emplace_back(++last_, Sequence{prompt_tokens, std::max(1, max_tokens), 0});
  return last_;
}

void Batcher::Cancel(uint64_t sequence) {
  running_.erase(sequence);
  std::erase_if(waiting_, [&](const auto& one) { return one.first == sequence; });
}

std::optional<Duration> Batcher::BeginStep() {
  while (!waiting_.empty() && running() < concurrency_) {
    running_.insert(waiting_.front());
    waiting_.pop_front();
  }
  in_step_.clear();
  if (running_.empty()) return {};
  double bytes = pace_.weights_bytes;
  for (const auto& [number, sequence] : running_) {
    in_step_.push_back(number);
    bytes += pace_.cache_bytes_per_token * (sequence.prompt_tokens + sequence.generated);
    if (sequence.generated > 0) continue;
    bytes += pace_.weights_bytes * (sequence.prompt_tokens / kPromptTokensPerPass);
  }
  return Duration(static_cast<int64_t>(std::ceil(bytes / pace_.bandwidth * 1e9)));
}

std::vector<Batcher::Token> Batcher::EndStep() {
  std::vector<Token> tokens;
  for (const uint64_t number : in_step_) {
    const auto found = running_.find(number);
    if (found == running_.end()) continue;
    Sequence& sequence = found->second;
    const int index = sequence.generated++;
    const bool last = sequence.generated >= sequence.max_tokens;
    tokens.push_back({number, index, last});
    if (last) running_.erase(found);
  }
  in_step_.clear();
  return tokens;
}

}  // namespace tranche::sim
