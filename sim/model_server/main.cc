// tranche-model-server: a model server without a model, which uses its GPU as one with a model
// would.

#include <fmt/format.h>

#include <chrono>
#include <cstdio>
#include <variant>

#include "sim/model_server/device.h"
#include "sim/model_server/options.h"
#include "sim/model_server/server.h"

namespace {

using namespace tranche;
using namespace tranche::sim;

int Report(const Error& error) {
  std::fprintf(stderr, "tranche-model-server: %s\n", error.message.c_str());
  if (!error.hint.empty()) std::fprintf(stderr, "  %s\n", error.hint.c_str());
  return ExitCodeOf(error.code);
}

ServerOptions OptionsFor(const ModelServerOptions& options, const Device& device) {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  ServerOptions server;
  server.model = {options.model, options.context,
                  std::chrono::duration_cast<std::chrono::seconds>(now).count()};
  server.host = options.host;
  server.port = options.port;
  server.concurrency = options.concurrency;
  server.pace.weights_bytes = static_cast<double>(options.weights.value);
  server.pace.cache_bytes_per_token = static_cast<double>(device.cache().value) /
                                      (static_cast<double>(options.context) * options.concurrency);
  server.pace.bandwidth = device.bandwidth();
  return server;
}

}  // namespace

int main(int argc, char** argv) {
  const auto parsed = ParseModelServerOptions(argc, argv);
  if (const int* code = std::get_if<int>(&parsed)) return *code;
  const auto& options = std::get<ModelServerOptions>(parsed);

  auto device = Device::Open({options.model, options.memory, options.weights});
  if (!device) return Report(device.error());
  // From here on the memory is held.

  const auto ready = [&] {
    fmt::print("tranche-model-server: {} on {}, at most {} held, listening on {}:{}\n",
               options.model, (*device)->name(), FormatBytes(options.memory), options.host,
               options.port);
    std::fflush(stdout);
  };
  if (auto served = Serve(OptionsFor(options, **device), device->get(), ready); !served) {
    return Report(served.error());
  }
  return 0;
}
