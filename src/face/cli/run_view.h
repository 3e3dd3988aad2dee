#pragma once

#include <string>

#include "edge/broker/context_cost.h"
#include "face/cli/render/answer.h"
#include "face/cli/share_options.h"
#include "model/lease.h"
#include "model/machine.h"

namespace tranche {

// What `run --explain` says of a program that it does not run.
struct WouldRun {
  std::string file;  // of the program
  const Gpu& gpu;
  const ShareOptions::Wish& wish;
  const ContextCost& cost;
  std::string no_kernel;  // why the kernel cannot hold its memory; "" when it can
  bool local;             // without the daemon
};
Answer ViewFraction(const WouldRun& would);

// Of a GPU of its own.
Answer ViewWhole(const Gpu& gpu, const Lease& lease, const std::string& file);

}  // namespace tranche
