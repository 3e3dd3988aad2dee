#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/units.h"

namespace tranche {

// A slice that may hold more than is reserved for it, as long as nobody else has been promised
// that.
struct Borrower {
  std::string id;
  Bytes reserved;
  Bytes limit;
};

// What each may hold from now on, by id: what is reserved for it, and its part of `free`. Everybody
// is lent equally much, but nobody more than up to its limit. The sum of what is lent is never
// above `free`.
std::map<std::string, Bytes> LendMemory(Bytes free, const std::vector<Borrower>& borrowers);

}  // namespace tranche
