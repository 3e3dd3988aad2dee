#include "face/cli/replica_verb.h"

namespace tranche {
namespace {

class RestartVerb final : public ReplicaVerb {
 public:
  RestartVerb() : ReplicaVerb("Restarting") {}

  Info info() const override {
    return {"restart",
            "Starts a workload again, also one that was stopped",
            {"tranche restart phi", "tranche restart phi/1"},
            "Replicas that run are stopped first."};
  }

  Status Act(Operations& operations, const std::string& workload,
             std::optional<int> replica) override {
    return operations.Restart(workload, replica);
  }
};

}  // namespace

std::unique_ptr<Verb> MakeRestartVerb() { return std::make_unique<RestartVerb>(); }

}  // namespace tranche
