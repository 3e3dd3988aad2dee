#include "face/cli/replica_verb.h"

namespace tranche {
namespace {

class StopVerb final : public ReplicaVerb {
 public:
  StopVerb() : ReplicaVerb("Stopped") {}

  Info info() const override {
    return {"stop",
            "Stops a workload; its slice stays held for it",
            {"tranche stop phi", "tranche stop phi/1"},
            "Its process gets SIGTERM, and SIGKILL when it does not go. 'tranche restart' starts "
            "it again."};
  }

  Status Act(Operations& operations, const std::string& workload,
             std::optional<int> replica) override {
    return operations.Stop(workload, replica);
  }
};

}  // namespace

std::unique_ptr<Verb> MakeStopVerb() { return std::make_unique<StopVerb>(); }

}  // namespace tranche
