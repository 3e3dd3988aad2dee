#pragma once

#include <cstdint>
#include <vector>

#include "decide/fleet/problem.h"

namespace tranche::fleet {

// Tenants that share an instance, put together before anything is placed: what the rest sees is a
// problem without kInstanceShare, in which such a bundle is an item of its own.
class Bundles {
 public:
  // `wanted`: of each class, how many of its items to put together for each of its ways
  // (kInstanceShare). The others stay by themselves: alone in an instance, too, where they have no
  // other way to one like it. Holds a reference to `problem`.
  Bundles(const Problem& problem, const std::vector<std::vector<int64_t>>& wanted);

  const Problem& problem() const { return bundled_; }
  // Whether any two were put together.
  bool any() const { return any_; }
  // An answer to problem() as one to the problem that this was made of.
  Answer Unfold(const Answer& answer) const;

 private:
  // Items of one class by one of its ways.
  struct Part {
    int item_class = 0;
    int way = 0;
    int64_t count = 0;
    bool operator==(const Part&) const = default;
  };
  using Parts = std::vector<Part>;

  std::vector<Parts> Fill(const Share& room, Parts waiting) const;
  void AddBundle(const Parts& bundle, int64_t count);
  void AddSingles(size_t c, int64_t count);
  const Way& WayOf(const Part& part) const;

  const Problem& problem_;
  Problem bundled_;
  std::vector<std::vector<Parts>> parts_;  // of each class of bundled_, by way
  bool any_ = false;
};

// Whether any item may share an instance.
bool SharesInstances(const Problem& problem);

}  // namespace tranche::fleet
