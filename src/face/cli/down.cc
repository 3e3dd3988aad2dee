#include "face/cli/context.h"
#include "face/cli/progress.h"
#include "face/cli/verb.h"
#include "face/cli/views.h"

namespace tranche {
namespace {

class DownVerb final : public Verb {
 public:
  Info info() const override {
    return {"down",
            "Takes everything down and goes back to the layout the machine had before",
            {"tranche down", "tranche down --yes"},
            "Stops every workload and the router, destroys what Tranche made, and leaves what it "
            "did not make."};
  }

  void Declare(Arguments& arguments) override {
    arguments.Flag("-y,--yes", yes_, "do not ask")
        .Flag("--local", local_, "without the daemon, in this process");
  }

  Result<int> Run(Context& context) override {
    if (!yes_ && !context.interactive()) {
      return Fail(ErrorCode::kInvalid, "nobody is here to be asked, so nothing is changed",
                  "add --yes");
    }
    // Before the engine starts threads, which would otherwise die of the signals.
    const auto interrupts = context.world().catch_interrupts();
    if (!local_) {
      auto operations = context.DaemonOperations();
      if (!operations) return tl::unexpected<Error>(operations.error());
      return Carry(context, **operations, *interrupts);
    }
    const auto catalog = context.catalog();
    if (!catalog) return tl::unexpected<Error>(catalog.error());
    auto engine = context.world().open_engine();
    if (!engine) return tl::unexpected<Error>(engine.error());
    return Carry(context, *MakeLocalOperations(**engine, *catalog), *interrupts);
  }

 private:
  Result<int> Carry(Context& context, Operations& operations, Interrupts& interrupts) {
    const auto plan = operations.MakeDownPlan();
    if (!plan) return tl::unexpected<Error>(plan.error());
    if (!context.structured() || context.interactive()) {
      context.Show(ViewPlan(*plan, false, context.out_terminal()));
    }
    if (!yes_ && plan->HasChanges() && !context.Confirm("Take all of this down?", interrupts)) {
      return Fail(interrupts.Arrived() ? ErrorCode::kInterrupted : ErrorCode::kFailed,
                  "nothing was taken down");
    }
    const auto receipt =
        operations.Down({context.world().caller, false, false}, StepReporter(context),
                        [&] { return interrupts.Arrived(); });
    if (!receipt) return tl::unexpected<Error>(receipt.error());
    context.Print(ViewReceipt(*receipt, nullptr, context.out_terminal()));
    if (receipt->outcome == ApplyOutcome::kDone) return 0;
    if (receipt->error) context.SayError(*receipt->error);
    if (receipt->outcome == ApplyOutcome::kPartial) return ExitCodeOf(ErrorCode::kPartial);
    return ExitCodeOf(receipt->error ? receipt->error->code : ErrorCode::kFailed);
  }

  bool yes_ = false;
  bool local_ = false;
};

}  // namespace

std::unique_ptr<Verb> MakeDownVerb() { return std::make_unique<DownVerb>(); }

}  // namespace tranche
