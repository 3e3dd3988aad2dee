#include "decide/serving/queue_simulation.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <limits>
#include <random>

namespace tranche::serving {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();

// Times of arrival. Not std::exponential_distribution, which each library draws differently.
class Arrivals {
 public:
  Arrivals(double per_second, uint64_t seed) : per_second_(per_second), random_(seed) {}
  double Next() {
    const double unit = (static_cast<double>(random_() >> 11) + 0.5) * 0x1p-53;
    return now_ += -std::log(unit) / per_second_;
  }

 private:
  const double per_second_;
  std::mt19937_64 random_;
  double now_ = 0;
};

// Whose turn is next, by weight, as evenly as can be.
class Turns {
 public:
  explicit Turns(const std::vector<double>& weights) : weights_(weights), credit_(weights.size()) {
    for (const double weight : weights) all_ += weight;
  }
  size_t Next() {
    size_t best = 0;
    for (size_t i = 0; i < weights_.size(); ++i) {
      credit_[i] += weights_[i];
      if (credit_[i] > credit_[best]) best = i;
    }
    credit_[best] -= all_;
    return best;
  }

 private:
  std::vector<double> weights_, credit_;
  double all_ = 0;
};

double Quantile(std::vector<double>* values, double part) {
  if (values->empty()) return 0;
  const auto at =
      values->begin() + static_cast<std::ptrdiff_t>(part * static_cast<double>(values->size() - 1));
  std::nth_element(values->begin(), at, values->end());
  return *at;
}

struct Waiting {
  double since = 0;
  bool counted = false;
};

// Latencies of what is counted, and what became of it.
struct Tally {
  std::vector<double> latencies;
  int64_t missed = 0;
  double batches = 0, in_batches = 0, busy = 0;
};

// One server's time, in which requests may only come later and later.
class BatchQueue {
 public:
  explicit BatchQueue(const BatchServer& server)
      : server_(server), free_at_(static_cast<size_t>(server.processes), 0) {}

  // All batches that begin before `now`.
  void RunUntil(double now, double objective, Tally* tally) {
    while (!waiting_.empty()) {
      const auto process = std::min_element(free_at_.begin(), free_at_.end());
      const size_t full = server_.seconds.size();
      double ready = waiting_.front().since + server_.wait;
      if (waiting_.size() >= full) ready = std::min(ready, waiting_[full - 1].since);
      const double start = std::max(*process, ready);
      if (start >= now) return;
      size_t n = 0;
      while (n < full && n < waiting_.size() && waiting_[n].since <= start) ++n;
      const double seconds = server_.seconds[n - 1];
      *process = start + seconds;
      tally->busy += seconds;
      tally->batches += 1;
      tally->in_batches += static_cast<double>(n);
      for (size_t i = 0; i < n; ++i) {
        const Waiting& one = waiting_.front();
        if (one.counted) {
          const double latency = start + seconds - one.since;
          tally->latencies.push_back(latency);
          if (latency > objective) ++tally->missed;
        }
        waiting_.pop_front();
      }
    }
  }
  void Add(const Waiting& one) { waiting_.push_back(one); }

 private:
  const BatchServer& server_;
  std::vector<double> free_at_;
  std::deque<Waiting> waiting_;
};

}  // namespace

double BatchServer::MostPerSecond() const {
  return seconds.empty() ? 0 : static_cast<double>(processes) * batch() / seconds.back();
}

double TokenServer::MostPerSecond() const {
  if (seconds.empty()) return 0;
  return 1 / (prefill_seconds + output_tokens * seconds.back() / batch);
}

QueueOutcome SimulateBatches(const std::vector<BatchServer>& servers,
                             const std::vector<double>& weights, double per_second,
                             double objective, const QueueRun& run) {
  QueueOutcome outcome;
  outcome.requests = run.requests;
  if (servers.empty() || per_second <= 0) return {};
  std::vector<BatchQueue> queues(servers.begin(), servers.end());
  Tally tally;
  tally.latencies.reserve(static_cast<size_t>(run.requests));
  Arrivals arrivals(per_second, run.seed);
  Turns turns(servers.size() > 1 ? weights : std::vector<double>(1, 1.0));
  const int64_t first = run.requests / 10;
  double now = 0;
  for (int64_t n = 0; n < first + run.requests; ++n) {
    now = arrivals.Next();
    BatchQueue& queue = queues[servers.size() > 1 ? turns.Next() : 0];
    queue.RunUntil(now, objective, &tally);
    queue.Add({now, n >= first});
  }
  for (BatchQueue& queue : queues) queue.RunUntil(kNever, objective, &tally);
  int processes = 0;
  for (const BatchServer& server : servers) processes += server.processes;
  outcome.missed = tally.missed;
  outcome.p50 = Quantile(&tally.latencies, 0.5);
  outcome.p99 = Quantile(&tally.latencies, 0.99);
  outcome.mean_batch = tally.in_batches / std::max(1.0, tally.batches);
  outcome.busy = std::min(1.0, tally.busy / (now * processes));
  return outcome;
}

QueueOutcome SimulateTokens(const TokenServer& server, double per_second, double first_objective,
                            double objective, const QueueRun& run) {
  QueueOutcome outcome;
  if (server.seconds.empty() || per_second <= 0) return outcome;
  outcome.requests = run.requests;
  struct Sequence {
    Waiting request;
    double first_token = 0;
    int64_t ends = 0;  // at which token of the server
  };
  const int64_t first = run.requests / 10, all = first + run.requests;
  Arrivals arrivals(per_second, run.seed);
  std::deque<Waiting> waiting;
  std::deque<Sequence> running;  // all answers are alike, so who began first ends first
  std::vector<double> latencies, firsts;
  int64_t come = 0, tokens = 0, sequence_tokens = 0;
  double next = arrivals.Next(), now = 0, busy = 0;
  while (come < all || !waiting.empty() || !running.empty()) {
    while (come < all && next <= now) {
      waiting.push_back({next, come >= first});
      ++come;
      next = arrivals.Next();
    }
    if (waiting.empty() && running.empty()) {
      now = next;
      continue;
    }
    const double began = now;
    while (!waiting.empty() && running.size() < static_cast<size_t>(server.batch)) {
      now += server.prefill_seconds;  // which makes the first token
      running.push_back({waiting.front(), now, tokens + server.output_tokens - 1});
      waiting.pop_front();
    }
    const auto leave = [&] {
      while (!running.empty() && running.front().ends <= tokens) {
        const Sequence& one = running.front();
        if (one.request.counted) {
          firsts.push_back(one.first_token - one.request.since);
          latencies.push_back(now - one.request.since);
          if ((first_objective > 0 && firsts.back() > first_objective) ||
              (objective > 0 && latencies.back() > objective)) {
            ++outcome.missed;
          }
        }
        running.pop_front();
      }
    };
    leave();
    // Tokens until somebody may come or go, at once.
    int64_t steps = 0;
    if (!running.empty()) {
      const double step = server.seconds[std::min(running.size(), server.seconds.size()) - 1];
      steps = running.front().ends - tokens;
      if (come < all && running.size() < static_cast<size_t>(server.batch)) {
        steps = std::min(
            steps, std::max<int64_t>(1, static_cast<int64_t>(std::ceil((next - now) / step))));
      }
      now += static_cast<double>(steps) * step;
      tokens += steps;
      sequence_tokens += steps * static_cast<int64_t>(running.size());
      leave();
    }
    busy += now - began;
  }
  outcome.mean_batch =
      tokens > 0 ? static_cast<double>(sequence_tokens) / static_cast<double>(tokens) : 1;
  outcome.p50 = Quantile(&latencies, 0.5);
  outcome.p99 = Quantile(&latencies, 0.99);
  outcome.first_p50 = Quantile(&firsts, 0.5);
  outcome.first_p99 = Quantile(&firsts, 0.99);
  outcome.busy = std::min(1.0, busy / now);
  return outcome;
}

}  // namespace tranche::serving
