#pragma once

#include <optional>
#include <string>

#include "base/units.h"
#include "face/cli/arguments.h"
#include "model/spec.h"

namespace tranche {

// What a user asks of a GPU on the command line: --memory, --compute, --compute-limit.
class ShareOptions {
 public:
  struct Wish {
    std::optional<Bytes> memory;
    std::optional<Share<Fraction>> compute;
  };

  void Declare(Arguments& arguments);
  // kInvalid when nothing is asked for, or something makes no sense.
  Result<Wish> Read() const;
  // Of a GPU for itself, of which nothing need be said and no share can be.
  Result<Wish> ReadWhole() const;

 private:
  Status ReadMemory(Wish* wish) const;

  std::string memory_;
  std::string compute_;
  std::string compute_limit_;
};

}  // namespace tranche
