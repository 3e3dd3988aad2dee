#include "face/cli/plan_source.h"

#include "engine/vgpu_inventory.h"
#include "face/cli/coefficients_file.h"
#include "face/cli/files.h"
#include "stage/inventory/inventory.h"
#include "stage/plan/planner.h"

namespace tranche {
namespace {

Result<Machine> OwnMachine(Context& context, const Catalog& catalog) {
  auto driver = context.world().open_driver();
  if (!driver) return tl::unexpected<Error>(driver.error());
  auto machine = TakeInventory(**driver, catalog, *context.world().clock);
  if (machine) AddVgpusHere(catalog, *context.world().clock, &*machine);
  return machine;
}

// A daemon that cannot be reached is none; one that refuses for another reason is an error.
bool IsAbsent(const Error& error) {
  return error.code == ErrorCode::kUnavailable || error.code == ErrorCode::kPermission;
}

}  // namespace

Result<Machine> MachineAtHand(Context& context, const Catalog& catalog) {
  const auto daemon = context.FindDaemon();
  if (daemon) return (*daemon)->Inventory();
  if (!IsAbsent(daemon.error())) return tl::unexpected<Error>(daemon.error());
  return OwnMachine(context, catalog);
}

Result<PlanSource> MakePlanFor(Context& context, const Catalog& catalog, const Spec& spec,
                               const std::string& machine_file, bool adopt,
                               const std::string& coefficients) {
  const auto used = LoadCoefficients(coefficients, context);
  if (!used) return tl::unexpected<Error>(used.error());
  PlanOptions options;
  options.adopt = adopt;
  options.coefficients = used->values;
  options.coefficients_from = used->from;
  const auto on_paper = [&](Machine machine) {
    Plan plan = MakePlan(machine, spec, Deployment{}, catalog, options);
    return PlanSource{std::move(plan), std::move(machine), ""};
  };
  if (!machine_file.empty()) {
    auto machine = LoadMachine(machine_file);
    if (!machine) return tl::unexpected<Error>(machine.error());
    return on_paper(*std::move(machine));
  }
  if (!spec.fleet.empty()) return on_paper(MachineFromFleet(spec, catalog));
  const auto daemon = context.FindDaemon();
  if (daemon && !coefficients.empty()) {
    return Fail(ErrorCode::kInvalid,
                "the daemon makes this plan, and it predicts with its own coefficients",
                "put the file into its configuration as coefficients.yaml, or plan on paper: "
                "tranche inventory -o json > machine.json, then --machine machine.json");
  }
  if (daemon) {
    auto plan = (*daemon)->MakePlan(spec, adopt);
    if (!plan) return tl::unexpected<Error>(plan.error());
    PlanSource source{*std::move(plan), std::nullopt, ""};
    if (auto machine = (*daemon)->Inventory()) source.machine = *std::move(machine);
    return source;
  }
  if (!IsAbsent(daemon.error())) return tl::unexpected<Error>(daemon.error());
  auto machine = OwnMachine(context, catalog);
  if (!machine) {
    Error why = machine.error();
    if (why.code == ErrorCode::kUnavailable) {
      why.hint = "plan on a saved machine with --machine FILE, or write a 'fleet:' into the spec";
    }
    return tl::unexpected<Error>(why);
  }
  PlanSource source = on_paper(*std::move(machine));
  source.note =
      "No daemon answers, so this plan takes everything on the machine to be somebody else's.";
  return source;
}

}  // namespace tranche
