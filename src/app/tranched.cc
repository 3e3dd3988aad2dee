#include <fmt/format.h>
#include <spdlog/sinks/stdout_sinks.h>
#include <spdlog/spdlog.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <iostream>

#include "agent/access.h"
#include "agent/listen.h"
#include "agent/notify.h"
#include "agent/ticker.h"
#include "app/version.h"
#include "catalog/catalog.h"
#include "edge/driver/nvml/nvml_driver.h"
#include "engine/engine.h"
#include "face/cli/arguments.h"
#include "face/cli/help.h"
#include "face/http/api.h"
#include "face/http/server.h"

namespace {

using namespace tranche;

constexpr Duration kTick = std::chrono::milliseconds(200);

struct Options {
  std::string state_dir;
  std::string socket;
  std::string group = "tranche";
  bool version = false;
  bool help = false;
};

Arguments Declare(Options& options) {
  Arguments arguments;
  arguments
      .Option("--state-dir", "DIR", options.state_dir,
              "keep everything there (default: as docs/cli.md says)")
      .Option("--socket", "PATH", options.socket, "listen there instead of in the run directory")
      .Option("--group", "NAME", options.group,
              "whose members may use the daemon (default: tranche)")
      .Flag("--version", options.version, "print the version")
      .Flag("-h,--help", options.help, "this text");
  return arguments;
}

int Fail(const Error& error) {
  std::cerr << "tranched: " << error.message << "\n";
  if (!error.hint.empty()) std::cerr << "  hint: " << error.hint << "\n";
  return ExitCodeOf(error.code);
}

}  // namespace

int main(int argc, char** argv) {
  Options options;
  const Arguments arguments = Declare(options);
  if (const Status parsed = ParseArguments({argv + 1, argv + argc}, {&arguments}); !parsed) {
    return Fail(parsed.error());
  }
  if (options.help) {
    std::cout << "tranched: applies plans, supervises workloads, and answers 'tranche' over its "
                 "socket.\n\n"
              << ParameterHelp(arguments);
    return 0;
  }
  if (options.version) {
    std::cout << "tranched " << kVersion << "\n";
    return 0;
  }
  const auto logger = std::make_shared<spdlog::logger>(
      "tranched", std::make_shared<spdlog::sinks::stderr_sink_mt>());
  logger->set_pattern("%Y-%m-%dT%H:%M:%S.%e %l: %v");
  logger->flush_on(spdlog::level::info);

  // What Tranche knows, and the machine it knows it about.
  auto catalog = Catalog::Load();
  if (!catalog) return Fail(catalog.error());
  auto driver = OpenNvmlDriver();
  if (!driver) return Fail(driver.error());

  // Where things are kept. The workloads that the engine starts find the same place.
  if (!options.state_dir.empty()) {
    setenv("TRANCHE_STATE_DIR", std::filesystem::absolute(options.state_dir).c_str(), 1);
  }
  const Paths paths = Paths::FromEnvironment();

  // Takes the state directory, finishes or undoes what was interrupted, adopts what runs. From here
  // on no other process changes this machine in Tranche's name.
  auto engine =
      Engine::Open({std::move(*driver), *catalog, std::make_shared<SystemClock>(), paths});
  if (!engine) return Fail(engine.error());

  // Who may ask, and where.
  const auto group = FindGroup(options.group);
  if (!group)
    logger->info("no group '{}' here: only root and user {} may connect", options.group, geteuid());
  const Access access(geteuid(), group);
  const std::string socket = options.socket.empty() ? paths.socket() : options.socket;
  const auto listening = ListenOnSocket(socket, geteuid() == 0 ? group : std::nullopt);
  if (!listening) return Fail(listening.error());

  // Answers and supervises until SIGTERM or SIGINT.
  const Api api({**engine, *catalog, access, kVersion,
                 [logger](const std::string& line) { logger->info("{}", line); }});
  Server server(api, *listening);
  const char* notify = std::getenv("NOTIFY_SOCKET");
  const std::string service_manager = notify != nullptr ? notify : "";
  {
    const Ticker ticker(**engine, kTick);
    logger->info("tranched {} listens on {}", kVersion, socket);
    NotifyServiceManager(service_manager, "READY=1");
    server.Run();
    NotifyServiceManager(service_manager, "STOPPING=1");
  }

  // Workloads go on; the next daemon adopts them.
  unlink(socket.c_str());
  logger->info("stopped; workloads go on");
  return 0;
}
