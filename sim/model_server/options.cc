#include "sim/model_server/options.h"

#include <CLI/CLI.hpp>
#include <charconv>

namespace tranche::sim {
namespace {

// "21474836480" or "20GiB".
Result<Bytes> ParseAmount(const std::string& text) {
  uint64_t bytes = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), bytes);
  if (error == std::errc() && end == text.data() + text.size()) return Bytes{bytes};
  return ParseBytes(text);
}

void AddBytes(CLI::App* app, const char* name, Bytes* bytes, const char* what) {
  app->add_option_function<std::string>(
         name,
         [name, bytes](const std::string& text) {
           const auto amount = ParseAmount(text);
           if (!amount) throw CLI::ValidationError(name, amount.error().message);
           *bytes = *amount;
         },
         what)
      ->required()
      ->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
}

}  // namespace

std::variant<ModelServerOptions, int> ParseModelServerOptions(int argc, char** argv) {
  ModelServerOptions options;
  CLI::App app(
      "A stand-in for a model server: answers OpenAI's HTTP interface with filler text, holds the "
      "memory of its "
      "model on the GPU, and takes the time that reading the weights takes there.",
      "tranche-model-server");
  app.option_defaults()->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
  app.add_option("--model", options.model, "The name it answers to")->required();
  AddBytes(&app, "--memory", &options.memory, "All that it holds on the GPU: bytes, or 20GiB");
  AddBytes(&app, "--weights", &options.weights, "Of it, what every step reads");
  app.add_option("--port", options.port, "TCP port")->required()->check(CLI::Range(1, 65535));
  app.add_option("--host", options.host, "Address to listen on")->capture_default_str();
  app.add_option("--context", options.context, "Tokens of prompt and answer together")
      ->check(CLI::Range(1, 100000000))
      ->capture_default_str();
  app.add_option("--concurrency", options.concurrency, "Sequences at once; more wait")
      ->check(CLI::Range(1, 100000))
      ->capture_default_str();
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? 0 : ExitCodeOf(ErrorCode::kInvalid);
  }
  return options;
}

}  // namespace tranche::sim
