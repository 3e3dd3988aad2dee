#pragma once

#include <string>
#include <variant>

#include "base/units.h"

namespace tranche::sim {

struct ModelServerOptions {
  std::string model;
  Bytes memory;
  Bytes weights;
  std::string host = "127.0.0.1";
  int port = 0;
  int context = 4096;
  int concurrency = 1;
};

// The options, or the exit code of a program that has said all (help, or what is wrong). An option
// given twice has its last value.
std::variant<ModelServerOptions, int> ParseModelServerOptions(int argc, char** argv);

}  // namespace tranche::sim
