#include "face/cli/context.h"
#include "face/cli/replica_name.h"
#include "face/cli/verb.h"

namespace tranche {
namespace {

class RestartVerb final : public Verb {
 public:
  Info info() const override {
    return {"restart",
            "Starts a workload again, also one that was stopped",
            {"tranche restart phi", "tranche restart phi/1"},
            "Replicas that run are stopped first."};
  }

  void Declare(Arguments& arguments) override {
    arguments.Positional("WORKLOAD[/N]", name_, "which workload, or which replica of it", true);
  }

  Result<int> Run(Context& context) override {
    const auto name = ParseReplicaName(name_);
    if (!name) return tl::unexpected<Error>(name.error());
    auto operations = context.DaemonOperations();
    if (!operations) return tl::unexpected<Error>(operations.error());
    const auto status = (*operations)->GetStatus();
    if (!status) return tl::unexpected<Error>(status.error());
    const auto replicas = FindReplicas(*status, *name);
    if (!replicas) return tl::unexpected<Error>(replicas.error());
    if (const Status done = (*operations)->Restart(name->workload, name->replica); !done) {
      return tl::unexpected<Error>(done.error());
    }
    Answer answer;
    answer.json = {
        {"format_version", "1.0"}, {"workload", name->workload}, {"replicas", *replicas}};
    answer.blocks.emplace_back("Restarting " + name_ + ".\n");
    context.Print(answer);
    return 0;
  }

 private:
  std::string name_;
};

}  // namespace

std::unique_ptr<Verb> MakeRestartVerb() { return std::make_unique<RestartVerb>(); }

}  // namespace tranche
