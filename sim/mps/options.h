#pragma once

#include <optional>
#include <string>

#include "base/result.h"
#include "sim/mps/protocol.h"

// The command line of nvidia-cuda-mps-control. Pure.
namespace tranche::sim::mps {

struct Options {
  enum class Act { kTalk, kCommand, kQuit, kBackground, kForeground, kHelp, kVersion };
  Act act = Act::kTalk;
  Words command;  // module, verb and what follows
  int protocol = 2;
  bool static_partitions = false, any_user = false;
  std::string configuration;
};

// As the program of that CUDA version understands it: what came later is an unknown option.
// `protocol_variable`: CUDA_MPS_PROTOCOL_VERSION, which wins over the option.
Result<Options> ReadOptions(const Words& arguments, int cuda_version,
                            const std::optional<std::string>& protocol_variable);
std::string UsageOfOptions(int cuda_version);

}  // namespace tranche::sim::mps
