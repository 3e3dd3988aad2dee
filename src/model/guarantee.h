#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace tranche {

// How hard a promise is, weakest first, so that `a >= b` means "a satisfies an ask for b".
enum class Guarantee { kNone, kCooperative, kDriver, kKernel, kHardware };

const char* GuaranteeName(Guarantee guarantee);  // "hardware"
Result<Guarantee> ParseGuarantee(std::string_view name);

// What a slice is given, or what a workload asks for, per axis.
//   memory: it keeps to its memory and nobody takes it    compute: likewise for SM time
//   fault:  another tenant's crash does not reach it      access:  it sees no device but its own
struct Guarantees {
  Guarantee memory = Guarantee::kNone;
  Guarantee compute = Guarantee::kNone;
  Guarantee fault = Guarantee::kNone;
  Guarantee access = Guarantee::kNone;

  bool operator==(const Guarantees&) const = default;
  // Every axis at least as hard as asked.
  bool Satisfies(const Guarantees& asked) const;
};

}  // namespace tranche
