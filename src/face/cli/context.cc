#include "face/cli/context.h"

#include <iostream>

namespace tranche {

Context::Context(World& world, const GlobalOptions& options, OutputFormat format, ColorChoice color)
    : world_(world),
      options_(options),
      format_(format),
      out_terminal_(world.out_tty, world.columns, color, world.environment),
      err_terminal_(world.err_tty, world.columns, color, world.environment) {}

void Context::Print(const Answer& answer) {
  world_.out << RenderAnswer(answer, format_, out_terminal_) << std::flush;
}

void Context::PrintRaw(const std::string& text) { world_.out << text << std::flush; }

void Context::Show(const Answer& answer) {
  if (structured() || format_ == OutputFormat::kCsv) {
    world_.err << RenderAnswer(answer, OutputFormat::kTable, err_terminal_) << std::flush;
  } else {
    Print(answer);
  }
}

void Context::Say(const std::string& line) {
  if (!options_.quiet) world_.err << Printable(line, true) << "\n" << std::flush;
}

void Context::Redraw(const std::string& line) {
  if (options_.quiet || !err_terminal_.can_redraw()) return;
  const int width = err_terminal_.width();
  world_.err << "\r\x1b[K" << (width > 0 ? Elide(Printable(line), width - 1) : Printable(line))
             << std::flush;
}

bool Context::interactive() const { return world_.in_tty && world_.err_tty && !options_.no_input; }

void Context::SayError(const Error& error) {
  // A list of mistakes has a place at the start of each line already.
  const bool list = error.message.find('\n') != std::string::npos;
  if (!list) world_.err << err_terminal_.Paint(Style::kRed, "tranche: ");
  world_.err << Printable(error.message, true) << "\n";
  if (!error.hint.empty()) world_.err << "  hint: " << Printable(error.hint, true) << "\n";
  world_.err << std::flush;
}

bool Context::Confirm(const std::string& question, Interrupts& interrupts) {
  world_.err << question << " [y/N] " << std::flush;
  if (world_.in.rdbuf()->in_avail() <= 0 && !interrupts.WaitForInput()) {
    world_.err << "\n";
    return false;
  }
  std::string answer;
  if (!std::getline(world_.in, answer)) return false;
  return answer == "y" || answer == "Y" || answer == "yes";
}

Result<std::shared_ptr<const Catalog>> Context::catalog() {
  if (!catalog_) {
    auto loaded = world_.load_catalog();
    if (!loaded) return loaded;
    catalog_ = std::move(*loaded);
  }
  return catalog_;
}

Result<std::unique_ptr<Client>> Context::FindDaemon() {
  const std::vector<std::string> sockets =
      options_.socket.empty() ? world_.sockets : std::vector<std::string>{options_.socket};
  for (const std::string& socket : sockets) {
    auto client = std::make_unique<Client>(socket);
    const auto version = client->Version();
    if (version) return client;
    if (version.error().code != ErrorCode::kUnavailable) {
      return tl::unexpected<Error>(version.error());
    }
  }
  return Fail(ErrorCode::kUnavailable,
              "no daemon answers at " + (sockets.empty() ? "any known socket" : sockets.front()),
              "start one with 'tranched' (systemctl start tranched), or use 'apply --local'");
}

Result<std::unique_ptr<Operations>> Context::DaemonOperations() {
  auto client = FindDaemon();
  if (!client) return tl::unexpected<Error>(client.error());
  return MakeDaemonOperations(std::move(*client));
}

}  // namespace tranche
