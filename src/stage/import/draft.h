#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/units.h"
#include "model/mechanism.h"

namespace tranche::importing {

// A workload as it will be written into a spec. What is empty is not written.
struct DraftWorkload {
  std::string name;
  std::string comment;  // one line above it
  std::string team;
  std::string isolation;
  std::optional<Mechanism> mechanism;
  std::string profile;  // of MIG
  std::optional<Bytes> memory;
  std::optional<double> compute;  // share of one GPU
  std::optional<double> compute_limit;
  int gpus = 1;
  std::string gpu;
  std::string image;
  std::vector<std::string> command;
  std::vector<std::string> args;
  std::map<std::string, std::string> env;
  std::optional<int> port;
  int replicas = 1;
};

struct Draft {
  std::vector<DraftWorkload> workloads;

  // With a name that none has yet. Workloads that differ in nothing but `replicas` become one.
  void Add(DraftWorkload workload);
};

// The text of a spec. `first_line` says where it comes from.
std::string SpecText(const Draft& draft, const std::string& first_line, bool hold);

}  // namespace tranche::importing
