#include "face/cli/context.h"
#include "face/cli/verb.h"

namespace tranche {
namespace {

class VersionVerb final : public Verb {
 public:
  Info info() const override {
    return {"version", "Shows the version of this program and of the daemon", {"tranche version"}};
  }

  void Declare(Arguments&) override {}

  Result<int> Run(Context& context) override {
    Answer answer;
    answer.json = {{"format_version", "1.0"}, {"version", context.world().version}};
    Table table;
    table.columns = {{"program", "PROGRAM"}, {"version", "VERSION"}};
    table.rows = {{"tranche", context.world().version}};
    const auto daemon = context.FindDaemon();
    const auto version =
        daemon ? (*daemon)->Version() : Result<std::string>(tl::unexpect, daemon.error());
    if (version) {
      answer.json["daemon_version"] = *version;
      table.rows.push_back({"tranched", *version});
    } else {
      answer.json["unavailable"] = {{"daemon_version", version.error().message}};
      table.rows.push_back({"tranched", Cell()});
    }
    answer.blocks.emplace_back(std::move(table));
    context.Print(answer);
    return 0;
  }
};

}  // namespace

std::unique_ptr<Verb> MakeVersionVerb() { return std::make_unique<VersionVerb>(); }

}  // namespace tranche
