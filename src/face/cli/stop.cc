#include "face/cli/context.h"
#include "face/cli/replica_name.h"
#include "face/cli/verb.h"

namespace tranche {
namespace {

class StopVerb final : public Verb {
 public:
  Info info() const override {
    return {"stop",
            "Stops a workload; its slice stays held for it",
            {"tranche stop phi", "tranche stop phi/1"},
            "Its process gets SIGTERM, and SIGKILL when it does not go. 'tranche restart' starts "
            "it again."};
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
    if (const Status done = (*operations)->Stop(name->workload, name->replica); !done) {
      return tl::unexpected<Error>(done.error());
    }
    Answer answer;
    answer.json = {
        {"format_version", "1.0"}, {"workload", name->workload}, {"replicas", *replicas}};
    answer.blocks.emplace_back("Stopped " + name_ + ".\n");
    context.Print(answer);
    return 0;
  }

 private:
  std::string name_;
};

}  // namespace

std::unique_ptr<Verb> MakeStopVerb() { return std::make_unique<StopVerb>(); }

}  // namespace tranche
