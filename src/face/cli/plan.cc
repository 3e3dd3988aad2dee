#include <utility>

#include "base/json.h"
#include "face/cli/context.h"
#include "face/cli/files.h"
#include "face/cli/listed_prices.h"
#include "face/cli/plan_source.h"
#include "face/cli/verb.h"
#include "face/cli/views.h"
#include "stage/plan/alternatives.h"

namespace tranche {
namespace {

constexpr int kChangesPending = 2;

class PlanVerb final : public Verb {
 public:
  Info info() const override {
    return {"plan",
            "Shows what applying a spec would do, why, and what it costs; changes nothing",
            {"tranche plan -f spec.yaml", "tranche plan -f spec.yaml --machine machine.json",
             "tranche plan -f spec.yaml --out plan.json && tranche apply plan.json",
             "tranche plan -f spec.yaml --explain chat",
             "tranche plan -f spec.yaml --prices prices.csv"},
            "Plans on the saved machine of --machine, else on the spec's own fleet, else on the "
            "daemon's machine,\n"
            "else on this machine as its driver shows it. Needs no root, no daemon and, with the "
            "first two, no GPU.\n"
            "Exit code 3 when something does not fit; with --detailed-exitcode, 2 when there are "
            "changes."};
  }

  void Declare(Arguments& arguments) override {
    arguments.Option("-f,--file", "FILE", spec_file_, "the spec; - for standard input")
        .Option("--machine", "FILE", machine_file_, "plan on a saved machine ('inventory -o json')")
        .Option("--out", "FILE", out_file_, "keep the plan, for 'tranche apply FILE'")
        .Flag("--adopt", adopt_, "may destroy instances that Tranche did not make and nobody uses")
        .Flag("--explain", explain_, "give every reason")
        .Positional("WORKLOAD", workload_,
                    "with --explain: what else it could be on, and why that lost")
        .Option("--prices", "PATH", prices_.file,
                "prices that the spec leaves out: a list as 'cost' reads it, or a folder of them")
        .Option("--provider", "NAME", prices_.provider, "of these prices; else the lowest of any")
        .Option("--region", "NAME", prices_.region, "likewise")
        .Option("--coefficients", "FILE", coefficients_,
                "speeds by this file, from 'tranche calibrate' (else as configured)")
        .Flag("--detailed-exitcode", detailed_, "exit with 2 when there are changes");
  }

  Result<int> Run(Context& context) override {
    if (spec_file_.empty()) {
      return Fail(ErrorCode::kInvalid, "plan needs a spec", "tranche plan -f spec.yaml");
    }
    const auto catalog = context.catalog();
    if (!catalog) return tl::unexpected<Error>(catalog.error());
    auto spec = LoadSpec(spec_file_, **catalog);
    if (!spec) return tl::unexpected<Error>(spec.error());
    if (auto ok = FillInPrices(prices_, **catalog, context, &*spec); !ok) {
      return tl::unexpected<Error>(ok.error());
    }
    const auto plan = Make(context, **catalog, *spec);
    if (!plan) return tl::unexpected<Error>(plan.error());
    std::vector<Alternative> alternatives;
    if (!workload_.empty()) {
      auto others = Alternatives(context, **catalog, *plan);
      if (!others) return tl::unexpected<Error>(others.error());
      alternatives = *std::move(others);
    }
    if (!out_file_.empty()) {
      if (const Status wrote = WriteWholeFile(out_file_, PrintJson(ToJson(*plan))); !wrote) {
        return tl::unexpected<Error>(wrote.error());
      }
    }
    context.Print(workload_.empty()
                      ? ViewPlan(*plan, explain_, context.out_terminal())
                      : ViewAlternatives(*plan, workload_, alternatives, context.out_terminal()));
    if (!plan->feasible()) return ExitCodeOf(ErrorCode::kDoesNotFit);
    return detailed_ && plan->HasChanges() ? kChangesPending : 0;
  }

 private:
  Result<std::vector<Alternative>> Alternatives(Context& context, const Catalog& catalog,
                                                const Plan& plan) {
    if (!explain_) {
      return Fail(ErrorCode::kInvalid, "unexpected argument '" + workload_ + "'",
                  "tranche plan -f " + spec_file_ + " --explain " + workload_);
    }
    return AlternativesTo(plan, workload_,
                          [&](const Spec& spec) { return Make(context, catalog, spec); });
  }

  Result<Plan> Make(Context& context, const Catalog& catalog, const Spec& spec) {
    auto source = MakePlanFor(context, catalog, spec, machine_file_, adopt_, coefficients_);
    if (!source) return tl::unexpected<Error>(source.error());
    // Of each of the alternatives it is as true.
    if (!std::exchange(noted_, true) && !source->note.empty()) context.Say(source->note);
    return std::move(source->plan);
  }

  std::string spec_file_;
  std::string machine_file_;
  std::string out_file_;
  std::string workload_;
  std::string coefficients_;
  ListedPrices prices_;
  bool noted_ = false;
  bool adopt_ = false;
  bool explain_ = false;
  bool detailed_ = false;
};

}  // namespace

std::unique_ptr<Verb> MakePlanVerb() { return std::make_unique<PlanVerb>(); }

}  // namespace tranche
