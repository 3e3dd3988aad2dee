#pragma once

#include <string>
#include <vector>

#include "decide/performance/roofline.h"
#include "decide/sizing/server.h"
#include "face/cli/render/answer.h"

namespace tranche {

// How fast a language model would answer.
struct SpeedAnswer {
  int prompt = 0;
  LlmSpeed one, asked;               // for one sequence, for as many as were asked
  std::optional<int> largest_batch;  // that keeps to the objective given, within the KV cache
  std::string source;
  std::string coefficients;  // which they are predicted with
};

// One question of `tranche size` with its answer.
struct SizedServer {
  SizedModel model;
  ServerAsk ask;
  EngineVersion engine;
  ServerSpace space;
  ServerSize size;
  std::vector<std::string> flags;
  // With smaller steps, where that fits and the engine's own do not.
  std::optional<ServerSize> tuned;
  std::vector<std::string> tuned_flags;
  std::optional<SpeedAnswer> speed;
};

Answer ViewServerSize(const SizedServer& server);
// What each model in each precision leaves free on each GPU. `rows` by model and precision, GPUs in
// one order.
Answer ViewComparison(const std::vector<std::vector<SizedServer>>& rows, bool weights_only);
// A training job, notebook or anything else whose memory is stated or follows from its optimizer.
Answer ViewMemoryNeed(const std::string& what, const MemoryNeed& need, const ServerSpace& space);

}  // namespace tranche
