#pragma once

#include <functional>
#include <memory>

#include "sim/model_server/batcher.h"
#include "sim/model_server/device.h"
#include "sim/model_server/openai.h"

namespace tranche::sim {

struct ServerOptions {
  ServedModel model;
  std::string host;
  int port = 0;
  Pace pace;
  int concurrency = 1;
};

// Serves until SIGTERM or SIGINT, on the calling thread alone; then takes no more requests, ends
// those under way (for at most 20 seconds, or until a second signal), and returns. `ready` is
// called once it listens. kFailed when it cannot listen, or when the device fails.
Status Serve(const ServerOptions& options, Device* device, const std::function<void()>& ready);

}  // namespace tranche::sim
