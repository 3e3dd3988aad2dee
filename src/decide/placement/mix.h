#pragma once

#include <cstdint>
#include <vector>

#include "decide/placement/policy.h"

namespace tranche::placement {

struct MixOptions {
  // After so many arrivals, what was seen counts half.
  double half_life = 20000;
  // The same for classes that come rarely and need much: several GPUs, or a kind of node that is
  // rare. Forgetting those would cost most.
  double long_half_life = 400000;
};

// What comes, as seen: weights of classes that fade. Learns slowly what is gone, at once what is
// new.
class Mix {
 public:
  explicit Mix(MixOptions options = {}) : options_(options) {}

  void Add(const TaskClass& task);
  // What is known before anything came.
  void Know(const std::vector<WeightedRequest>& mix);

  // True when so much came since the last Take that it may tell something new.
  bool worth_taking() const { return since_ >= next_; }
  // Fades, and gives all of it, the first seen first.
  std::vector<WeightedRequest> Take();
  int64_t arrivals() const { return arrivals_; }

 private:
  struct Seen {
    Request request;
    double weight = 0;
    double recent = 0;  // since the last Take
  };

  MixOptions options_;
  std::vector<Seen> seen_;
  std::vector<int> place_;  // of a class in seen_, by id; -1 where it never came
  int64_t arrivals_ = 0;
  int64_t since_ = 0;
  int64_t next_ = 8;
};

}  // namespace tranche::placement
