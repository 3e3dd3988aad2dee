#include <fmt/format.h>

#include "base/json.h"
#include "face/cli/context.h"
#include "face/cli/share_options.h"
#include "face/cli/verb.h"

namespace tranche {
namespace {

class SetVerb final : public Verb {
 public:
  Info info() const override {
    return {
        "set",
        "Changes what a running program may use",
        {"tranche set run-1 --memory 20GiB", "tranche set run-1 --compute 20% --compute-limit 50%"},
        "For what 'tranche run' started; 'tranche status' names them. It acts at once, without "
        "a restart. Memory that a program holds is never taken from it."};
  }

  void Declare(Arguments& arguments) override {
    arguments.Positional("LEASE", id_, "which one, as 'tranche status' names it", true);
    shares_.Declare(arguments);
  }

  Result<int> Run(Context& context) override {
    const auto wish = shares_.Read();
    if (!wish) return tl::unexpected<Error>(wish.error());
    auto client = context.FindDaemon();
    if (!client) return tl::unexpected<Error>(client.error());
    const auto lease = (*client)->ChangeLease(id_, {wish->memory, wish->compute});
    if (!lease) return tl::unexpected<Error>(lease.error());
    Answer answer;
    answer.json = ToJson(*lease);
    std::string now = fmt::format("{} ({})", lease->id, lease->program);
    if (lease->memory) now += fmt::format(": {}", FormatBytes(*lease->memory));
    if (lease->compute) {
      now += fmt::format(", {} of the GPU's time, {} at most",
                         FormatPercent(lease->compute->request.value),
                         FormatPercent(lease->compute->limit.value));
    }
    answer.blocks.emplace_back(now + ".\n");
    context.Print(answer);
    return 0;
  }

 private:
  std::string id_;
  ShareOptions shares_;
};

}  // namespace

std::unique_ptr<Verb> MakeSetVerb() { return std::make_unique<SetVerb>(); }

}  // namespace tranche
