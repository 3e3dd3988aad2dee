#pragma once

#include <cstdint>
#include <vector>

// What requests wait and how many miss their objective, by letting them come: arrivals at random to
// servers that work on batches. Pure: the same seed gives the same answer on every machine.
namespace tranche::serving {

// A replica: processes with one queue between them. Whoever of them is idle takes what waits, up to
// a full batch: as soon as it is full, or its oldest has waited for `wait`.
struct BatchServer {
  int processes = 1;
  double wait = 0;              // seconds; what Triton calls max_queue_delay
  std::vector<double> seconds;  // [n - 1]: how long a batch of n takes; never falls with n

  int batch() const { return static_cast<int>(seconds.size()); }
  // With full batches only; no more than this can ever be served.
  double MostPerSecond() const;
};

// A replica of a language model: sequences join a batch as others end (continuous batching).
struct TokenServer {
  int batch = 1;                // sequences at most at once
  double prefill_seconds = 0;   // of one prompt; nothing else is done meanwhile
  std::vector<double> seconds;  // [n - 1]: one token for each of n sequences
  int output_tokens = 1;

  double MostPerSecond() const;
};

struct QueueRun {
  int64_t requests = 20000;  // counted, after a tenth as many that only fill the queues
  uint64_t seed = 1;
};

struct QueueOutcome {
  int64_t requests = 0;
  int64_t missed = 0;                   // took longer than the objective
  double p50 = 0, p99 = 0;              // seconds from arrival to the whole answer
  double first_p50 = 0, first_p99 = 0;  // to the first token, of TokenServers
  double mean_batch = 0;
  double busy = 0;  // part of the time that the processes work

  double missed_share() const {
    return requests == 0 ? 0 : static_cast<double>(missed) / static_cast<double>(requests);
  }
};

// Poisson arrivals over all servers together, given to them in turns by `weights` as a router does
// (smooth weighted round robin); one server, and `weights` is not looked at. `objective` in
// seconds.
QueueOutcome SimulateBatches(const std::vector<BatchServer>& servers,
                             const std::vector<double>& weights, double per_second,
                             double objective, const QueueRun& run);

// One replica under Poisson arrivals. A miss is a first token later than `first_objective` or an
// answer later than `objective`, where they are above 0.
QueueOutcome SimulateTokens(const TokenServer& server, double per_second, double first_objective,
                            double objective, const QueueRun& run);

}  // namespace tranche::serving
