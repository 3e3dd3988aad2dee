#include <unistd.h>

#include <iostream>

#include "app/version.h"
#include "catalog/catalog.h"
#include "edge/driver/nvml/nvml_driver.h"
#include "engine/engine.h"
#include "face/cli/cli.h"

namespace {

using namespace tranche;

// This user's own configuration, then the system's.
std::vector<std::string> Configurations() {
  const std::string own = Paths::FromEnvironment().config;
  const std::string system = "/etc/tranche";
  if (own == system || ProcessEnvironment()("TRANCHE_STATE_DIR")) return {own};
  return {own, system};
}

// The daemon of this user's own state directory, then the system's.
std::vector<std::string> Sockets() {
  const std::string own = Paths::FromEnvironment().socket();
  const std::string system = "/run/tranche/tranche.sock";
  if (own == system || ProcessEnvironment()("TRANCHE_STATE_DIR")) return {own};
  return {own, system};
}

Result<std::unique_ptr<Engine>> OpenEngine(const std::shared_ptr<Clock>& clock) {
  auto catalog = Catalog::Load();
  if (!catalog) return tl::unexpected<Error>(catalog.error());
  auto driver = OpenNvmlDriver();
  if (!driver) return tl::unexpected<Error>(driver.error());
  return Engine::Open({std::move(*driver), std::move(*catalog), clock, Paths::FromEnvironment()});
}

}  // namespace

int main(int argc, char** argv) {
  // The world as it is.
  const auto clock = std::make_shared<SystemClock>();
  const Environment environment = ProcessEnvironment();
  World world{.out = std::cout,
              .err = std::cerr,
              .in = std::cin,
              .in_tty = isatty(STDIN_FILENO) == 1,
              .out_tty = isatty(STDOUT_FILENO) == 1,
              .err_tty = isatty(STDERR_FILENO) == 1,
              .columns = Terminal::Of(STDOUT_FILENO, ColorChoice::kAuto, environment).width(),
              .environment = environment,
              .caller = {getuid(), getgid()},
              .version = kVersion,
              .clock = clock,
              .sockets = Sockets(),
              .configurations = Configurations(),
              .load_catalog = Catalog::Load,
              .open_driver = [] { return OpenNvmlDriver(); },
              .open_engine = [clock] { return OpenEngine(clock); },
              .catch_interrupts = CatchInterrupts};
  // From here on the verb decides; nothing has been opened yet.
  return RunCli(std::vector<std::string>(argv + 1, argv + argc), world);
}
