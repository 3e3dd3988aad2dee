#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/units.h"
#include "catalog/catalog.h"
#include "decide/sizing/engines.h"
#include "decide/sizing/sizing.h"

namespace tranche {

// A model as something that can be sized: from the catalog, from files, or from its size alone.
struct SizedModel {
  CatalogModel model;
  bool architecture_known = true;
  // Of all weights, when a header on disk says it. They are then not computed.
  std::optional<Bytes> exact_weights;
  std::string source;  // where it was learnt: "catalog", "config.json", "GGUF header"
};

// The memory a server is given on one GPU: all of it, or a slice.
struct ServerSpace {
  std::string gpu;              // its key in the catalog; "" when nobody said
  std::string slice;            // "2g.20gb"; "" = the whole GPU
  std::optional<Bytes> memory;  // as the engine sees it; absent: how much is asked, not what fits
};

struct ServerAsk {
  std::string precision = "bf16";  // as ParsePrecision returned it
  std::string kv_precision;        // "" = as the engine's default
  int context = 8192;
  int concurrency = 1;
  int tensor_parallel = 1;
  double utilization = 0.9;  // of the memory; what of it is KV cache depends on the engine
  StepSizes steps;           // zeros: as the engine starts by itself
  bool graphs = true;
};

// What one GPU of the server holds.
struct ServerSize {
  std::vector<MemoryTerm> terms;  // add up to `total`
  Bytes weights, kv_cache, activations, overhead, total;
  Bytes error;                  // how far the total without the KV cache may be off, either way
  Bytes kv_per_token;           // of a token in every layer that keeps the whole context
  Bytes kv_per_sequence;        // of one sequence of `context` tokens
  uint64_t kv_tokens = 0;       // that the KV cache holds
  double sequences = 0;         // of `context` tokens that the KV cache holds
  Bytes needed;                 // total with a KV cache for no more than what was asked
  std::optional<Bytes> budget;  // what the engine may take
  std::optional<bool> fits;     // absent when the memory is not known
  std::string because;          // why it fits or not, with what would help
  StepSizes steps;
};

// Whether the engine takes all it may for its KV cache, rather than what is asked.
bool TakesAll(SizedEngine engine);

ServerSize SizeServer(const SizedModel& model, const ServerAsk& ask, const EngineVersion& engine,
                      const ServerSpace& space);

// The ask with the largest steps under which everything asked fits, or nothing.
std::optional<ServerAsk> TuneToFit(const SizedModel& model, const ServerAsk& ask,
                                   const EngineVersion& engine, const ServerSpace& space);

// What the engine is told so that it does what was sized. Without a space of known memory, only
// what does not depend on it.
std::vector<std::string> ServerFlags(const SizedModel& model, const ServerAsk& ask,
                                     const EngineVersion& engine, const ServerSpace& space,
                                     const ServerSize& size);

// What CUDA programs see of a GPU's memory, which is less than NVML's total.
Bytes VisibleMemory(const CatalogGpu& gpu);

// Training: parameters x what the optimizer keeps of each, and the activations of one step.
struct TrainingAsk {
  std::string method = "full";      // full, lora, qlora
  std::string optimizer = "adamw";  // adamw, adamw-8bit, adafactor, sgd
  int batch = 1;
  int context = 2048;
  bool checkpointing = true;
  int lora_rank = 16;
  int gpus = 1;  // over which parameters, gradients and optimizer are divided (FSDP, ZeRO-3)
};
Result<MemoryNeed> SizeTraining(const SizedModel& model, const TrainingAsk& ask);

}  // namespace tranche
