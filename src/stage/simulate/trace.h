#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "decide/placement/cluster.h"

namespace tranche::simulate {

// The nodes of a cluster. `models` are the names behind NodeShape::model.
struct Fleet {
  std::vector<placement::NodeShape> nodes;
  std::vector<std::string> models;
  // How MIG can divide them, by model, and the names of profiles by id (mig_fleet.h). Empty: no GPU
  // can be divided.
  std::vector<placement::MigKind> kinds = {};
  std::vector<std::string> mig_profiles = {};
};

struct TracePod {
  placement::Request request;
  // Seconds on the trace's own clock; absent where the trace has none.
  std::optional<double> created;
  std::optional<double> deleted;
  // Has what is left over, and gives it back when somebody who does not borrow needs it.
  bool preemptible = false;
};

// Readers of the public openb format, by the names of the columns:
//   nodes: sn,cpu_milli,memory_mib,gpu,model
//   pods:  name,cpu_milli,memory_mib,num_gpu,gpu_milli and perhaps gpu_spec ("A|B", empty = any),
//          creation_time, deletion_time, mig_profile (an instance instead of gpu_milli),
//          preemptible (0, 1, true, false)
// Other columns are left alone. All mistakes of a file are in one error, each with its line; `name`
// names the file in it. Pods come sorted by name.
Result<Fleet> ParseNodes(std::string_view text, const std::string& name);
Result<std::vector<TracePod>> ParsePods(std::string_view text, const std::string& name,
                                        const Fleet& fleet);

}  // namespace tranche::simulate
