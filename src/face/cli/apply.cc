#include <fmt/format.h>

#include <algorithm>

#include "face/cli/carry_out.h"
#include "face/cli/context.h"
#include "face/cli/files.h"
#include "face/cli/listed_prices.h"
#include "face/cli/progress.h"
#include "face/cli/verb.h"
#include "face/cli/views.h"

namespace tranche {
namespace {

constexpr Duration kSupervise = std::chrono::milliseconds(200);

class ApplyVerb final : public Verb {
 public:
  Info info() const override {
    return {"apply",
            "Carries out a plan: shows it, asks, does it, and waits until everything is healthy",
            {"tranche apply -f spec.yaml", "tranche apply -f spec.yaml --yes",
             "tranche apply plan.json", "tranche apply -f spec.yaml --local"},
            "A spec is planned now, shown, and applied after a yes. A plan file was shown already: "
            "it is applied\n"
            "without asking, unless the machine moved since (exit code 4, with what moved).\n"
            "A step that fails is undone together with those before it (exit code 1; 5 when "
            "undoing fails too).\n"
            "With --local there is no daemon: this process supervises in the foreground; Ctrl-C "
            "stops the\n"
            "workloads and leaves the layout."};
  }

  void Declare(Arguments& arguments) override {
    arguments.Positional("PLAN", plan_file_, "a plan kept by 'tranche plan --out'")
        .Option("-f,--file", "FILE", spec_file_, "the spec; - for standard input")
        .Flag("-y,--yes", yes_, "do not ask")
        .Flag("--adopt", adopt_, "may destroy instances that Tranche did not make and nobody uses")
        .Flag("--allow-root", allow_root_, "workloads may run as root when root applies them")
        .Flag("--local", local_, "without the daemon: supervise in the foreground")
        .Flag("--wait", wait_,
              "wait for a maintenance window, and for leases and programs in the way to end")
        .Flag("--no-wait", no_wait_, "return when the steps are done")
        .Option("--timeout", "DURATION", timeout_,
                "wait at most this long (default: the longest startup_grace, and a minute)");
  }

  Result<int> Run(Context& context) override {
    if (plan_file_.empty() == spec_file_.empty()) {
      return Fail(ErrorCode::kInvalid, "apply needs either a spec or a plan file",
                  "tranche apply -f spec.yaml, or tranche apply plan.json");
    }
    if (wait_ && no_wait_)
      return Fail(ErrorCode::kInvalid, "--wait and --no-wait contradict each other");
    if (!timeout_.empty()) {
      const auto timeout = ParseDuration(timeout_);
      if (!timeout) return FailedWhile("--timeout", timeout.error());
      wait_at_most_ = *timeout;
    }
    const auto catalog = context.catalog();
    if (!catalog) return tl::unexpected<Error>(catalog.error());
    // What was asked is read and checked before anything is opened.
    std::optional<Spec> spec;
    std::optional<Plan> saved;
    if (!spec_file_.empty()) {
      auto loaded = LoadSpec(spec_file_, **catalog);
      if (!loaded) return tl::unexpected<Error>(loaded.error());
      if (!loaded->fleet.empty()) {
        return Fail(ErrorCode::kInvalid,
                    spec_file_ + " plans on a fleet on paper ('fleet:'), which cannot be applied",
                    "remove 'fleet:'; prices of real GPUs go under 'prices:'");
      }
      if (auto ok = FillInPrices({}, **catalog, context, &*loaded); !ok) {
        return tl::unexpected<Error>(ok.error());
      }
      spec = std::move(*loaded);
    } else {
      auto loaded = LoadPlan(plan_file_);
      if (!loaded) return tl::unexpected<Error>(loaded.error());
      saved = std::move(*loaded);
    }
    if (spec && !yes_ && !context.interactive()) {
      return Fail(ErrorCode::kInvalid, "nobody is here to be asked, so nothing is changed",
                  "add --yes, or keep a plan with 'tranche plan --out plan.json' and apply that");
    }
    return local_ ? RunLocal(context, *catalog, spec, saved) : RunByDaemon(context, spec, saved);
  }

 private:
  Result<int> RunByDaemon(Context& context, const std::optional<Spec>& spec,
                          std::optional<Plan>& saved) {
    auto operations = context.DaemonOperations();
    if (!operations) return tl::unexpected<Error>(operations.error());
    const auto interrupts = context.world().catch_interrupts();
    const auto plan = Agree(context, **operations, *interrupts, spec, saved);
    if (!plan) return tl::unexpected<Error>(plan.error());
    return Carry(context, **operations, *plan, *interrupts);
  }

  Result<int> RunLocal(Context& context, std::shared_ptr<const Catalog> catalog,
                       const std::optional<Spec>& spec, std::optional<Plan>& saved) {
    // Before the engine starts threads, which would otherwise die of the signals.
    const auto interrupts = context.world().catch_interrupts();
    auto engine = context.world().open_engine();
    if (!engine) return tl::unexpected<Error>(engine.error());
    const auto operations = MakeLocalOperations(**engine, std::move(catalog));
    const auto plan = Agree(context, *operations, *interrupts, spec, saved);
    if (!plan) return tl::unexpected<Error>(plan.error());
    const auto carried = Carry(context, *operations, *plan, *interrupts);
    if (!applied_) return carried;
    // A workload that does not come up is reported; the others stay up.
    if (!carried && !interrupts->Arrived()) context.SayError(carried.error());
    if (!interrupts->Arrived())
      context.Say("Supervising in the foreground; Ctrl-C stops the workloads.");
    while (!interrupts->Wait(kSupervise)) operations->Tick();
    (*engine)->StopAll();
    return Fail(
        ErrorCode::kInterrupted,
        "interrupted: the workloads and the router are stopped; the GPUs keep their layout",
        "the same command brings them back; 'tranche down --local' restores the old layout");
  }

  // The plan that the user has seen and wants.
  Result<Plan> Agree(Context& context, Operations& operations, Interrupts& interrupts,
                     const std::optional<Spec>& spec, std::optional<Plan>& saved) {
    if (saved) {
      if (!saved->feasible()) {
        return Fail(ErrorCode::kDoesNotFit,
                    "the plan does not fit everything, so it cannot be applied");
      }
      return std::move(*saved);
    }
    auto plan = operations.MakePlan(*spec, {adopt_});
    if (!plan) return plan;
    if (wait_ && !plan->feasible()) {
      if (const Status waited = WaitForRoom(context, operations, interrupts, *spec, &*plan);
          !waited) {
        return tl::unexpected<Error>(waited.error());
      }
    }
    if (!plan->feasible()) {
      context.Show(ViewPlan(*plan, false, context.out_terminal()));
      std::string all;
      for (const Unplaced& unplaced : plan->unplaced) {
        all += fmt::format("{}{}/{}", all.empty() ? "" : ", ", unplaced.workload, unplaced.replica);
      }
      return Fail(ErrorCode::kDoesNotFit, "nothing was changed: these do not fit: " + all,
                  plan->unplaced.front().nearest);
    }
    if (!context.structured() || context.interactive()) {
      context.Show(ViewPlan(*plan, false, context.out_terminal()));
    }
    if (!yes_ && plan->HasChanges() && !context.Confirm("Apply this plan?", interrupts)) {
      return Fail(interrupts.Arrived() ? ErrorCode::kInterrupted : ErrorCode::kFailed,
                  "not applied; nothing was changed");
    }
    return plan;
  }

  Result<int> Carry(Context& context, Operations& operations, const Plan& plan,
                    Interrupts& interrupts) {
    const ApplyOptions options{context.world().caller, allow_root_, adopt_ || plan.adopts};
    const auto receipt = ApplyOrWait(context, operations, plan, options, interrupts);
    if (!receipt) return tl::unexpected<Error>(receipt.error());
    if (receipt->outcome != ApplyOutcome::kDone) {
      context.Print(ViewReceipt(*receipt, nullptr, context.out_terminal()));
      if (receipt->error) context.SayError(*receipt->error);
      if (receipt->outcome == ApplyOutcome::kPartial) return ExitCodeOf(ErrorCode::kPartial);
      return ExitCodeOf(receipt->error ? receipt->error->code : ErrorCode::kFailed);
    }
    applied_ = true;
    // From here on the machine is as planned; what is left is to see it come up.
    auto status = no_wait_ ? operations.GetStatus()
                           : WaitUntilHealthy(context, operations, plan.spec, Patience(plan.spec),
                                              interrupts);
    if (!status) return tl::unexpected<Error>(status.error());
    context.Print(ViewReceipt(*receipt, &*status, context.out_terminal()));
    return 0;
  }

  // Until what has an end (leases of programs and of workloads) has left enough room.
  Status WaitForRoom(Context& context, Operations& operations, Interrupts& interrupts,
                     const Spec& spec, Plan* plan) {
    std::string holders;
    const auto done = [&]() -> Result<bool> {
      auto made = operations.MakePlan(spec, {adopt_});
      if (!made) return tl::unexpected<Error>(made.error());
      *plan = *std::move(made);
      if (plan->feasible()) return true;
      const auto status = operations.GetStatus();
      if (!status) return tl::unexpected<Error>(status.error());
      holders.clear();
      for (const Lease& lease : status->leases) {
        holders += fmt::format("{}{} ({})", holders.empty() ? "" : ", ", lease.id, lease.program);
      }
      for (const ReplicaStatus& replica : status->replicas) {
        if (!replica.lease_ends_at || !replica.pid) continue;
        holders += fmt::format("{}{}/{} until {}", holders.empty() ? "" : ", ", replica.workload,
                               replica.replica, FormatTime(*replica.lease_ends_at));
      }
      // Nobody is there whose leaving could be waited for: the plan says why it does not fit.
      return holders.empty();
    };
    return WaitUntil(context, operations, interrupts, wait_at_most_, done, [&] {
      return fmt::format("{}/{} does not fit yet; leases: {}", plan->unplaced.front().workload,
                         plan->unplaced.front().replica, holders);
    });
  }

  // The steps, begun when nobody is in the way and a window is open.
  Result<Receipt> ApplyOrWait(Context& context, Operations& operations, const Plan& plan,
                              const ApplyOptions& options, Interrupts& interrupts) {
    constexpr Duration kAskAgain = std::chrono::seconds(1);
    const Duration start = context.world().clock->Monotonic();
    std::string said;
    for (;;) {
      auto receipt = operations.Apply(plan, options, StepReporter(context),
                                      [&] { return interrupts.Arrived(); });
      if (receipt || !wait_ || receipt.error().code != ErrorCode::kBusy) return receipt;
      const bool is_late =
          wait_at_most_ && context.world().clock->Monotonic() - start >= *wait_at_most_;
      if (is_late) return receipt;
      if (receipt.error().message != said) context.Say("Waiting: " + receipt.error().message);
      said = receipt.error().message;
      operations.Tick();
      if (interrupts.Wait(kAskAgain)) {
        return Fail(ErrorCode::kInterrupted, "interrupted while waiting; nothing was changed");
      }
    }
  }

  Duration Patience(const Spec& spec) const {
    if (wait_at_most_) return *wait_at_most_;
    Duration longest{0};
    for (const Workload& workload : spec.workloads)
      longest = std::max(longest, workload.startup_grace);
    return longest + std::chrono::minutes(1);
  }

  std::string plan_file_;
  std::string spec_file_;
  std::string timeout_;
  bool yes_ = false;
  bool adopt_ = false;
  bool allow_root_ = false;
  bool local_ = false;
  bool wait_ = false;
  bool no_wait_ = false;
  bool applied_ = false;
  std::optional<Duration> wait_at_most_;
};

}  // namespace

std::unique_ptr<Verb> MakeApplyVerb() { return std::make_unique<ApplyVerb>(); }

}  // namespace tranche
