#include "base/json.h"
#include "face/cli/context.h"
#include "face/cli/files.h"
#include "face/cli/verb.h"
#include "face/cli/views.h"
#include "stage/plan/by_hand.h"

namespace tranche {
namespace {

class DefragVerb final : public Verb {
 public:
  Info info() const override {
    return {
        "defrag",
        "Says which slices to move so that a larger one fits, and what that costs",
        {"tranche defrag 4g.40gb", "tranche defrag 3g.40gb --gpu H100-SXM5-80GB --out plan.json",
         "tranche apply plan.json"},
        "Changes nothing. The fewest workloads move; each is restarted by it. The plan is kept "
        "with --out\n"
        "and carried out by 'tranche apply'."};
  }

  void Declare(Arguments& arguments) override {
    arguments.Positional("PROFILE", ask_.profile, "the MIG slice that is to fit", true)
        .Option("--gpu", "GPU", ask_.gpu, "only on this model of GPU")
        .Option("--tier", "TIER", ask_.tier, "on the GPUs of this tier; else of none")
        .Option("--out", "FILE", out_file_, "keep the plan, for 'tranche apply FILE'");
  }

  Result<int> Run(Context& context) override {
    const auto catalog = context.catalog();
    if (!catalog) return tl::unexpected<Error>(catalog.error());
    if (!ask_.gpu.empty()) {
      const auto gpu = (*catalog)->FindGpu(ask_.gpu);
      if (!gpu) return tl::unexpected<Error>(gpu.error());
      ask_.gpu = (*gpu)->key;
    }
    auto operations = context.DaemonOperations();
    if (!operations) return tl::unexpected<Error>(operations.error());
    const auto spec = (*operations)->GetSpec();
    if (!spec) return tl::unexpected<Error>(spec.error());
    if (!ask_.tier.empty() && spec->FindTier(ask_.tier) == nullptr) {
      return Fail(ErrorCode::kInvalid, "what is deployed has no tier '" + ask_.tier + "'",
                  "'tranche status' shows its tiers");
    }
    auto with_room = (*operations)->MakePlan(WithRoomFor(*spec, ask_), {});
    if (!with_room) return tl::unexpected<Error>(with_room.error());
    const auto plan = MakeDefragPlan(*std::move(with_room), *spec, ask_);
    if (!plan) return tl::unexpected<Error>(plan.error());
    if (!out_file_.empty()) {
      if (const Status wrote = WriteWholeFile(out_file_, PrintJson(ToJson(*plan))); !wrote) {
        return tl::unexpected<Error>(wrote.error());
      }
    }
    context.Print(ViewPlan(*plan, false, context.out_terminal()));
    return 0;
  }

 private:
  RoomAsk ask_;
  std::string out_file_;
};

}  // namespace

std::unique_ptr<Verb> MakeDefragVerb() { return std::make_unique<DefragVerb>(); }

}  // namespace tranche
