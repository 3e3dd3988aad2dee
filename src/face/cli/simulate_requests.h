#pragma once

#include <optional>
#include <string>
#include <vector>

#include "decide/sizing/server.h"
#include "face/cli/arguments.h"
#include "face/cli/context.h"
#include "face/cli/number_options.h"
#include "face/cli/simulate_costs.h"
#include "stage/simulate/serving.h"

namespace tranche {

// The options of `simulate` about requests to language models, as they were typed.
struct RequestOptions {
  std::string file;  // --requests
  std::string rate, duration, daily_peak, prompt, completion;
  std::string model, gpus, precision, first_token, token, coefficients;
  std::optional<int> replicas, tensor_parallel, context;

  bool asked() const { return !file.empty() || !rate.empty(); }
};

void DeclareRequests(Arguments* arguments, RequestOptions* options);

// What of the other options of `simulate` they go with.
struct RequestsSetting {
  uint64_t seed = 42;
  double inflate = 1;
  std::optional<double> mtbf;
  double repair = 3600;
  std::string html;
  bool find_capacity = false;
  double may_miss = 0.01;
  int most = 1024;
  SimulateCosts costs;
};

// Options that need --requests or --rate, where neither is given.
void RefuseRequestOptions(const RequestOptions& options, NumberOptions* mistakes);

// Replays or draws requests to replicas of a server, on each of the GPUs given.
Result<int> SimulateRequests(Context& context, const RequestOptions& options,
                             RequestsSetting setting, NumberOptions* mistakes);

}  // namespace tranche
