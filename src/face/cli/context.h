#pragma once

#include <functional>
#include <iosfwd>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "catalog/catalog.h"
#include "client/client.h"
#include "edge/driver/driver.h"
#include "engine/engine.h"
#include "face/cli/interrupt.h"
#include "face/cli/operations.h"
#include "face/cli/render/answer.h"
#include "face/cli/render/terminal.h"

namespace tranche {

// Everything outside that the command line touches. main() fills it with the process's own; a test
// with its own.
struct World {
  std::ostream& out;
  std::ostream& err;
  std::istream& in;
  bool in_tty = false;
  bool out_tty = false;
  bool err_tty = false;
  int columns = 80;  // of the tty
  Environment environment = {};
  Caller caller = {};
  std::string version = {};
  std::shared_ptr<Clock> clock = {};
  // Where a daemon may listen, the likeliest first.
  std::vector<std::string> sockets = {};
  // Where configuration may lie, the likeliest first.
  std::vector<std::string> configurations = {};
  std::function<Result<std::shared_ptr<const Catalog>>()> load_catalog = {};
  // The machine's own driver; kUnavailable when there is none.
  std::function<Result<std::unique_ptr<Driver>>()> open_driver = {};
  // For --local.
  std::function<Result<std::unique_ptr<Engine>>()> open_engine = {};
  std::function<std::unique_ptr<Interrupts>()> catch_interrupts = {};
};

struct GlobalOptions {
  std::string output = "table";
  std::string color = "auto";
  std::string socket;
  bool quiet = false;
  bool no_input = false;
};

// What a verb works with: the world, seen through the options that every verb has.
class Context {
 public:
  Context(World& world, const GlobalOptions& options, OutputFormat format, ColorChoice color);

  World& world() { return world_; }
  OutputFormat format() const { return format_; }
  bool structured() const {
    return format_ == OutputFormat::kJson || format_ == OutputFormat::kYaml;
  }
  const Terminal& out_terminal() const { return out_terminal_; }
  const Terminal& err_terminal() const { return err_terminal_; }

  // The answer, on stdout.
  void Print(const Answer& answer);
  void PrintRaw(const std::string& text);
  // The same, for people, where they look when stdout is for a machine.
  void Show(const Answer& answer);
  // Anything else, on stderr; a whole line. Silenced by --quiet.
  void Say(const std::string& line);
  // What went wrong and what to do, on stderr; not silenced.
  void SayError(const Error& error);
  // On stderr, as it is, only where lines can be redrawn: progress.
  void Redraw(const std::string& line);

  // Somebody is there to be asked.
  bool interactive() const;
  // False for anything but yes, and when a signal comes first.
  bool Confirm(const std::string& question, Interrupts& interrupts);

  Result<std::shared_ptr<const Catalog>> catalog();

  // A daemon that answers; kUnavailable, with how to start one, when there is none.
  Result<std::unique_ptr<Client>> FindDaemon();
  Result<std::unique_ptr<Operations>> DaemonOperations();

 private:
  World& world_;
  GlobalOptions options_;
  OutputFormat format_;
  Terminal out_terminal_;
  Terminal err_terminal_;
  std::shared_ptr<const Catalog> catalog_;
};

}  // namespace tranche
