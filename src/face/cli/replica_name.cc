#include "face/cli/replica_name.h"

#include <fmt/format.h>

#include <charconv>
#include <vector>

#include "base/suggest.h"

namespace tranche {

Result<ReplicaName> ParseReplicaName(const std::string& text) {
  const size_t slash = text.find('/');
  ReplicaName name{text.substr(0, slash), std::nullopt};
  if (slash != std::string::npos) {
    int replica = 0;
    const char* first = text.data() + slash + 1;
    const char* last = text.data() + text.size();
    const auto [end, error] = std::from_chars(first, last, replica);
    if (first == last || error != std::errc() || end != last || replica < 0) {
      return Fail(ErrorCode::kInvalid, fmt::format("'{}' does not name a replica", text),
                  "write WORKLOAD or WORKLOAD/NUMBER, as in 'phi/0'");
    }
    name.replica = replica;
  }
  if (name.workload.empty()) {
    return Fail(ErrorCode::kInvalid, fmt::format("'{}' does not name a workload", text));
  }
  return name;
}

Result<std::vector<int>> FindReplicas(const SystemStatus& status, const ReplicaName& name) {
  std::vector<int> found;
  std::vector<std::string> names;
  bool workload_known = false;
  for (const ReplicaStatus& replica : status.replicas) {
    names.push_back(replica.workload);
    if (replica.workload != name.workload) continue;
    workload_known = true;
    if (!name.replica || *name.replica == replica.replica) found.push_back(replica.replica);
  }
  if (!found.empty()) return found;
  if (workload_known) {
    return Fail(ErrorCode::kNotFound,
                fmt::format("workload '{}' has no replica {}", name.workload, *name.replica),
                "see 'tranche status'");
  }
  const std::string meant = DidYouMean(name.workload, names);
  return Fail(ErrorCode::kNotFound, fmt::format("no workload '{}' is deployed", name.workload),
              meant.empty() ? "see 'tranche status'" : meant);
}

}  // namespace tranche
