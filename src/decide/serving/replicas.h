#pragma once

#include <cstdint>
#include <vector>

#include "decide/fleet/problem.h"

// How many replicas of each service, in which slices of which GPUs, bear its traffic at the least
// cost.
namespace tranche::serving {

// One way to run a replica.
struct ReplicaWay {
  fleet::Way way;
  double per_second = 0;  // requests that it serves within the objective
  double takes = 0;       // of the GPU, in any unit: less of it decides between equal costs
  int group = 0;          // of an even service: all its replicas are of one group
};

struct Service {
  double per_second = 0;  // that all its replicas have to serve together
  std::vector<ReplicaWay> ways;
  int gpus = 1;  // of one replica; with more than one only whole ones
  // A router gives each replica the same, so that each has to bear its even part. Else each gets
  // what it can bear.
  bool even = false;
  // Given rather than chosen. Even, each has to bear its part; else every way will do.
  int64_t replicas = 0;
};

struct ReplicasProblem {
  std::vector<fleet::GpuKind> kinds;
  std::vector<Service> services;
};

struct ReplicasLimits {
  int dives = 24;         // roundings of the linear program, each another way
  int64_t steps = 60000;  // of the simplex algorithm and of searching, beyond which none begins
  uint64_t seed = 1;
};

struct ReplicasAnswer {
  // What of `layout`'s class is whose: content.way is an index into `ways`, and that one into the
  // service's.
  struct Item {
    int service = 0;
    std::vector<int> ways;
    int64_t count = 0;
  };
  std::vector<Item> items;
  fleet::Answer layout;          // of items as classes
  std::vector<int> impossible;   // services that no way can bear, or not so many as there are GPUs
  int64_t cost = 0;              // of the GPUs used
  int64_t lower_bound = 0;       // no answer for the services that are possible costs less
  double takes = 0;              // of all replicas
  double takes_lower_bound = 0;  // of each service by itself, whatever GPUs it would be on
};

// Integer program over covers (how many replicas in which ways bear a service's traffic), of which
// only those that are worth it are made; rounded by dives, and GPUs by fleet::Solve. Pure and
// deterministic.
ReplicasAnswer ChooseReplicas(const ReplicasProblem& problem, const ReplicasLimits& limits = {});

// How many by each of the ways, each at most as often as it is to be had, bear `per_second` at the
// least price: exact within a limit of work. `bound`: no such numbers cost less. A way of no
// capacity is never used. No counts when all of them together do not bear it.
struct Offer {
  double capacity = 0;
  double price = 0;
  int64_t most = 0;
};
struct Cover {
  std::vector<int64_t> counts;
  double price = 0;
  double bound = 0;
};
Cover CheapestCover(double per_second, const std::vector<Offer>& offers);

}  // namespace tranche::serving
