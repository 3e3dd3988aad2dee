#include "face/cli/replica_verb.h"

#include "face/cli/replica_name.h"

namespace tranche {

void ReplicaVerb::Declare(Arguments& arguments) {
  arguments.Positional("WORKLOAD[/N]", name_, "which workload, or which replica of it", true);
}

Result<int> ReplicaVerb::Run(Context& context) {
  const auto name = ParseReplicaName(name_);
  if (!name) return tl::unexpected<Error>(name.error());
  auto operations = context.DaemonOperations();
  if (!operations) return tl::unexpected<Error>(operations.error());
  const auto status = (*operations)->GetStatus();
  if (!status) return tl::unexpected<Error>(status.error());
  const auto replicas = FindReplicas(*status, *name);
  if (!replicas) return tl::unexpected<Error>(replicas.error());
  if (const Status done = Act(**operations, name->workload, name->replica); !done) {
    return tl::unexpected<Error>(done.error());
  }
  Answer answer;
  answer.json = {{"format_version", "1.0"}, {"workload", name->workload}, {"replicas", *replicas}};
  answer.blocks.emplace_back(done_ + " " + name_ + ".\n");
  context.Print(answer);
  return 0;
}

}  // namespace tranche
