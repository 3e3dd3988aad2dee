#include "stage/inventory/inventory.h"

#include <optional>

#include "engine/vgpu_inventory.h"
#include "face/cli/context.h"
#include "face/cli/files.h"
#include "face/cli/verb.h"
#include "face/cli/views.h"

namespace tranche {
namespace {

class InventoryVerb final : public Verb {
 public:
  Info info() const override {
    return {"inventory",
            "Shows GPUs, instances, processes and what this machine can guarantee",
            {"tranche inventory", "tranche inventory -o json > machine.json",
             "tranche inventory --machine machine.json"},
            "Asks the daemon, which knows what is ours; without one, the driver itself."};
  }

  void Declare(Arguments& arguments) override {
    arguments.Option("--machine", "FILE", machine_file_,
                     "show a saved machine instead of this one");
  }

  Result<int> Run(Context& context) override {
    std::optional<Deployment> deployment;
    const auto machine = Read(context, deployment);
    if (!machine) return tl::unexpected<Error>(machine.error());
    context.Print(ViewMachine(*machine, deployment ? &*deployment : nullptr,
                              context.format() == OutputFormat::kWide));
    return 0;
  }

 private:
  Result<Machine> Read(Context& context, std::optional<Deployment>& deployment) {
    if (!machine_file_.empty()) return LoadMachine(machine_file_);
    auto daemon = context.FindDaemon();
    if (daemon) {
      if (auto owned = (*daemon)->GetDeployment()) deployment = std::move(*owned);
      return (*daemon)->Inventory();
    }
    // Whoever may not talk to the daemon may still read the driver.
    if (daemon.error().code != ErrorCode::kUnavailable &&
        daemon.error().code != ErrorCode::kPermission) {
      return tl::unexpected<Error>(daemon.error());
    }
    const auto catalog = context.catalog();
    if (!catalog) return tl::unexpected<Error>(catalog.error());
    auto driver = context.world().open_driver();
    if (!driver) return tl::unexpected<Error>(driver.error());
    auto machine = TakeInventory(**driver, **catalog, *context.world().clock);
    if (machine) AddVgpusHere(**catalog, *context.world().clock, &*machine);
    return machine;
  }

  std::string machine_file_;
};

}  // namespace

std::unique_ptr<Verb> MakeInventoryVerb() { return std::make_unique<InventoryVerb>(); }

}  // namespace tranche
