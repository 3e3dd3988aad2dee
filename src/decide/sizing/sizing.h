#pragma once

#include <string>
#include <vector>

#include "base/units.h"
#include "catalog/catalog.h"
#include "model/spec.h"

namespace tranche {

// One part of what a model needs, how far it may be off, and where the number comes from.
struct MemoryTerm {
  std::string name;  // "weights"
  Bytes bytes;
  Bytes error;
  std::string why;  // a sentence for people
  bool operator==(const MemoryTerm&) const = default;
};

// What an engine may be told so that it needs less besides weights and KV cache. Zeros where the
// engine has no such setting.
struct EngineTuning {
  int batched_tokens = 0;  // tokens that one forward pass works on
  int sequences = 0;       // sequences that one step samples for
  bool graphs = false;     // CUDA graphs: faster small steps, more memory
  bool operator==(const EngineTuning&) const = default;
};

// What one replica needs, over all of its GPUs.
struct MemoryNeed {
  std::vector<MemoryTerm> terms;
  EngineTuning tuning;
  int gpus = 1;
  bool architecture_known = true;

  Bytes total() const;
  // How far the total may be off, either way, all terms at their worst.
  Bytes error() const;
  // The term of that name; zero when there is none.
  Bytes Of(const std::string& term) const;
};

// What `ask` needs under one tuning of its engine. `model` is the catalog's entry for ask.name, or
// nullptr for a model described by its parameters, whose shape is then taken from its size. A model
// over several GPUs is divided among them; what cannot be divided is counted once for each.
MemoryNeed SizeModel(const ModelAsk& ask, ServingEngine engine, const CatalogModel* model,
                     const EngineTuning& tuning, int gpus = 1);

// The tunings to try, the fastest first and the smallest last. Never empty.
std::vector<EngineTuning> TuningsOf(const ModelAsk& ask, ServingEngine engine);
// The tuning an engine would start with if nobody told it anything.
EngineTuning DefaultTuning(ServingEngine engine);

// The need under the fastest tuning that `memory` holds, or under the smallest when none fits.
MemoryNeed SizeToFit(const ModelAsk& ask, ServingEngine engine, const CatalogModel* model,
                     Bytes memory, int gpus = 1);

// What an engine is told so that it keeps to that need; which model and which port is said
// elsewhere. Empty for kCommand and kTriton, whose flags are the user's. `slice` is what it sees as
// its GPU's memory (of one GPU); `alone` says that nobody else takes from it, so that what is left
// over may become KV cache.
std::vector<std::string> EngineFlags(const Workload& workload, const MemoryNeed& need, Bytes slice,
                                     bool alone);

}  // namespace tranche
