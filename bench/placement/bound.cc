#include "placement/bound.h"

#include <map>

#include "decide/fleet/linear_program.h"

namespace tranche::bench {
namespace {

using fleet::LinearProgram;
using placement::kGpuMilli;
using placement::Request;

constexpr int kSteps = 100;  // of a GPU, for the ways to share it

struct Supply {
  double all = 0;
  double must = 0;
};

// Rows of one kind of node.
struct TypeRows {
  int cpu = 0;
  int memory = 0;
  int gpus = 0;           // whole GPUs and shared ones
  int milli = 0;          // of shared ones
  int halves = 0;         // more than half of a GPU: one each
  std::map<int, int> of;  // k whole GPUs on one node
};

}  // namespace

double AllocationBound(const placement::Cluster& cluster,
                       const std::vector<simulate::Arrival>& arrivals,
                       const std::vector<bool>& accepted) {
  std::map<Request, Supply> supplies;
  for (size_t i = 0; i < arrivals.size(); ++i) {
    Supply& supply = supplies[arrivals[i].request];
    supply.all += 1;
    supply.must += accepted[i] ? 1 : 0;
  }
  LinearProgram program;
  const double none = -LinearProgram::kInfinity;

  // The ways to share a GPU: paths from 0 to kSteps, an arc per size. Node 0 gives what kSteps
  // takes.
  std::vector<int> node_rows;
  for (int at = 0; at < kSteps; ++at) node_rows.push_back(program.AddRow(0, 0));
  std::map<int, int> size_rows;  // arcs of a size, less workloads of it: at least 0
  for (const auto& [request, supply] : supplies) {
    if (request.gpus != 1 || request.whole()) continue;
    const int steps = (request.gpu_milli * kSteps + kGpuMilli - 1) / kGpuMilli;
    if (size_rows.count(steps) == 0) {
      size_rows[steps] = program.AddRow(0, LinearProgram::kInfinity);
    }
  }
  const auto arc = [&](int from, int steps, int size_row) {
    std::vector<LinearProgram::Entry> entries = {{node_rows[static_cast<size_t>(from)], 1}};
    if (from + steps < kSteps) {
      entries.push_back({node_rows[static_cast<size_t>(from + steps)], -1});
    }
    if (size_row >= 0) entries.push_back({size_row, 1});
    program.AddColumn(0, 0, LinearProgram::kInfinity, entries);
  };
  for (int from = 0; from < kSteps; ++from) {
    if (from > 0) arc(from, kSteps - from, -1);  // the rest stays free
    for (const auto& [steps, row] : size_rows) {
      if (from + steps <= kSteps) arc(from, steps, row);
    }
  }

  std::vector<TypeRows> rows;
  for (size_t t = 0; t < cluster.types().size(); ++t) {
    const auto& type = cluster.types()[t];
    const double count = cluster.type_counts()[t];
    TypeRows of_type;
    of_type.cpu = program.AddRow(none, count * type.cpu_milli);
    of_type.memory = program.AddRow(none, count * static_cast<double>(type.memory_mib));
    of_type.gpus = program.AddRow(none, count * type.gpus);
    of_type.milli = program.AddRow(none, 0);
    of_type.halves = program.AddRow(none, 0);
    for (int k = 2; k <= placement::kMaxGpusPerNode; ++k) {
      of_type.of[k] = program.AddRow(none, count * (type.gpus / k));
    }
    // Shared GPUs: each opens a path through the arcs.
    program.AddColumn(
        0, 0, LinearProgram::kInfinity,
        {{of_type.gpus, 1}, {of_type.milli, -kGpuMilli}, {of_type.halves, -1}, {node_rows[0], -1}});
    rows.push_back(of_type);
  }

  for (const auto& [request, supply] : supplies) {
    const int supplied = program.AddRow(supply.must, supply.all);
    for (size_t t = 0; t < cluster.types().size(); ++t) {
      const auto& type = cluster.types()[t];
      if (type.cpu_milli < request.cpu_milli || type.memory_mib < request.memory_mib ||
          type.gpus < request.gpus ||
          (request.gpus > 0 && (request.models >> type.model & 1) == 0)) {
        continue;
      }
      std::vector<LinearProgram::Entry> entries = {
          {supplied, 1},
          {rows[t].cpu, static_cast<double>(request.cpu_milli)},
          {rows[t].memory, static_cast<double>(request.memory_mib)}};
      if (request.gpus == 1 && !request.whole()) {
        entries.push_back({rows[t].milli, static_cast<double>(request.gpu_milli)});
        if (2 * request.gpu_milli > kGpuMilli) entries.push_back({rows[t].halves, 1});
        const int steps = (request.gpu_milli * kSteps + kGpuMilli - 1) / kGpuMilli;
        entries.push_back({size_rows[steps], -1});
      } else if (request.gpus > 0) {
        entries.push_back({rows[t].gpus, static_cast<double>(request.gpus)});
        if (request.gpus > 1) entries.push_back({rows[t].of[request.gpus], 1});
      }
      program.AddColumn(-request.total_milli(), 0, LinearProgram::kInfinity, entries);
    }
  }
  if (!program.Solve()) return -1;
  return -100.0 * program.objective() / static_cast<double>(cluster.total_gpu_milli());
}

}  // namespace tranche::bench
