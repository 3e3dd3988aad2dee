#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/json.h"
#include "face/cli/carry_out.h"
#include "face/cli/gpu_name.h"
#include "face/cli/progress.h"
#include "face/cli/verb.h"
#include "face/cli/views.h"

namespace tranche {
namespace {

// What `drain` and `undrain` have in common.
class DrainingVerb : public Verb {
 public:
  explicit DrainingVerb(bool undo) : undo_(undo) {}

  void Declare(Arguments& arguments) override {
    arguments.Positional("GPU", gpu_, "its index or UUID, as 'tranche inventory' shows them", true);
    if (undo_) return;
    arguments.Flag("--undo", undo_, "take it into use again, as 'tranche undrain'")
        .Flag("-y,--yes", yes_, "move workloads without asking")
        .Flag("--no-wait", no_wait_, "return without waiting until the GPU is free")
        .Option("--timeout", "DURATION", timeout_, "wait at most this long (default: for ever)");
  }

  Result<int> Run(Context& context) override {
    std::optional<Duration> timeout;
    if (!timeout_.empty()) {
      const auto parsed = ParseDuration(timeout_);
      if (!parsed) return FailedWhile("--timeout", parsed.error());
      timeout = *parsed;
    }
    auto operations = context.DaemonOperations();
    if (!operations) return tl::unexpected<Error>(operations.error());
    const auto interrupts = context.world().catch_interrupts();
    const auto machine = (*operations)->Inventory();
    if (!machine) return tl::unexpected<Error>(machine.error());
    const auto gpu = FindGpuByName(*machine, gpu_);
    if (!gpu) return tl::unexpected<Error>(gpu.error());
    if (const Status noted = (*operations)->SetDrained((*gpu)->uuid, !undo_); !noted) {
      return tl::unexpected<Error>(noted.error());
    }
    const std::string name = fmt::format("gpu{}", (*gpu)->index);
    if (undo_) {
      Report(context, **gpu, false, {}, name + " may be used again.");
      return 0;
    }
    // From here on nothing new is placed there, whatever becomes of what is there.
    if (const auto moved = MoveAway(context, **operations, name, timeout, *interrupts); !moved) {
      return tl::unexpected<Error>(moved.error());
    } else if (*moved != 0) {
      return *moved;
    }
    std::vector<std::string> left;
    const auto is_free = [&]() -> Result<bool> {
      const auto status = (*operations)->GetStatus();
      if (!status) return tl::unexpected<Error>(status.error());
      left.clear();
      for (const DrainStatus& drain : status->drained) {
        if (drain.gpu_uuid == (*gpu)->uuid) left = drain.waiting_for;
      }
      return left.empty();
    };
    const auto waiting = [&] { return fmt::format("on {} are {}", name, fmt::join(left, ", ")); };
    if (no_wait_) {
      const auto free = is_free();
      if (!free) return tl::unexpected<Error>(free.error());
    } else if (const Status waited =
                   WaitUntil(context, **operations, *interrupts, timeout, is_free, waiting);
               !waited) {
      return tl::unexpected<Error>(waited.error());
    }
    Report(context, **gpu, true, left,
           left.empty() ? fmt::format("{} is drained and free; 'tranche undrain {}' takes it into "
                                      "use again.",
                                      name, (*gpu)->index)
                        : fmt::format("Nothing new is placed on {}; still there: {}.", name,
                                      fmt::join(left, ", ")));
    return 0;
  }

 private:
  // Makes the plan of what is installed without the GPU, and carries it out. Where the workloads
  // find no room elsewhere, waits until they do.
  Result<int> MoveAway(Context& context, Operations& operations, const std::string& name,
                       std::optional<Duration> timeout, Interrupts& interrupts) {
    const auto spec = operations.GetSpec();
    if (!spec) return tl::unexpected<Error>(spec.error());
    if (spec->workloads.empty()) return 0;
    Plan plan;
    const auto fits = [&]() -> Result<bool> {
      auto made = operations.MakePlan(*spec, {});
      if (!made) return tl::unexpected<Error>(made.error());
      plan = *std::move(made);
      return plan.feasible();
    };
    const auto why_not = [&] {
      std::vector<std::string> all;
      for (const Unplaced& unplaced : plan.unplaced) {
        all.push_back(fmt::format("{}/{}", unplaced.workload, unplaced.replica));
      }
      return fmt::format("{} is drained, but {} finds no room elsewhere: {}", name,
                         fmt::join(all, ", "), plan.unplaced.front().reason);
    };
    if (no_wait_) {
      const auto now = fits();
      if (!now) return tl::unexpected<Error>(now.error());
      if (!*now) {
        return Fail(ErrorCode::kDoesNotFit, why_not(),
                    plan.unplaced.front().nearest.empty() ? "stop it, or add room"
                                                          : plan.unplaced.front().nearest);
      }
    } else if (const Status waited =
                   WaitUntil(context, operations, interrupts, timeout, fits, why_not);
               !waited) {
      return tl::unexpected<Error>(waited.error());
    }
    if (!plan.HasChanges()) return 0;
    // They go on as whoever they were, so what was allowed to them stays allowed.
    const auto receipt =
        ShowAndCarryOut(context, operations, plan, {context.world().caller, true, false}, yes_,
                        "Move these workloads?", interrupts);
    if (!receipt) return tl::unexpected<Error>(receipt.error());
    if (receipt->outcome != ApplyOutcome::kDone) {
      context.Print(ViewReceipt(*receipt, nullptr, context.out_terminal()));
    }
    return tranche::ExitCodeFor(context, *receipt);
  }

  static void Report(Context& context, const Gpu& gpu, bool drained,
                     const std::vector<std::string>& left, const std::string& text) {
    Answer answer;
    answer.json = {{"format_version", "1.0"},
                   {"gpu_uuid", gpu.uuid},
                   {"gpu_index", gpu.index},
                   {"drained", drained},
                   {"waiting_for", left}};
    answer.blocks.emplace_back(text + "\n");
    context.Print(answer);
  }

  std::string gpu_;
  std::string timeout_;
  bool undo_ = false;
  bool yes_ = false;
  bool no_wait_ = false;
};

class DrainVerb final : public DrainingVerb {
 public:
  DrainVerb() : DrainingVerb(false) {}
  Info info() const override {
    return {"drain",
            "Frees a GPU: places nothing new there, moves what can move, waits for the rest",
            {"tranche drain 2", "tranche drain GPU-5f2b7a10 --yes --timeout 2h",
             "tranche drain 2 --undo"},
            "Workloads move to other GPUs as a plan says, which is shown first; programs that "
            "'tranche run'\n"
            "started are waited for. It holds over a restart of the daemon, until 'tranche "
            "undrain'."};
  }
};

class UndrainVerb final : public DrainingVerb {
 public:
  UndrainVerb() : DrainingVerb(true) {}
  Info info() const override {
    return {"undrain",
            "Takes a drained GPU into use again",
            {"tranche undrain 2"},
            "Nothing moves back by itself; the next 'tranche apply' may use it."};
  }
};

}  // namespace

std::unique_ptr<Verb> MakeDrainVerb() { return std::make_unique<DrainVerb>(); }
std::unique_ptr<Verb> MakeUndrainVerb() { return std::make_unique<UndrainVerb>(); }

}  // namespace tranche
