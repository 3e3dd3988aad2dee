#include "decide/sizing/server.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "decide/sizing/shape.h"
#include "decide/sizing/weights.h"

namespace tranche {
namespace {

constexpr double kGiB = 1073741824.0;
// Of each process, outside what engines count themselves.
constexpr double kContextGib = 0.5;

Bytes FromDouble(double bytes) {
  return Bytes{static_cast<uint64_t>(std::ceil(std::clamp(bytes, 0.0, 1e18)))};
}

double AsDouble(Bytes bytes) { return static_cast<double>(bytes.value); }

int BlockOf(SizedEngine engine) {
  switch (engine) {
    case SizedEngine::kVllm:
      return 16;
    case SizedEngine::kTensorRtLlm:
      return 32;
    case SizedEngine::kLlamaCpp:
      return 256;  // cells are padded to this
    case SizedEngine::kSglang:
    case SizedEngine::kPyTorch:
      return 1;
  }
  return 1;
}

// The model as this version of the engine keeps its cache.
CatalogModel AsKept(const CatalogModel& model, const EngineProfile& profile) {
  CatalogModel kept = model;
  if (!profile.sliding_windows) {
    kept.sliding_window = 0;
    kept.full_attention_layers = kept.layers;
  }
  return kept;
}

// Beside its window, a sliding layer of llama.cpp keeps the micro-batch that is written.
double SequenceBytes(const CatalogModel& kept, SizedEngine engine, double value_bytes,
                     const ServerAsk& ask, int ubatch) {
  CatalogModel model = kept;
  if (engine == SizedEngine::kLlamaCpp && model.sliding_window > 0) {
    model.sliding_window += ubatch - BlockOf(engine);
  }
  return KvBytesPerSequence(model, value_bytes, ask.context, BlockOf(engine), ask.tensor_parallel) /
         ask.tensor_parallel;
}

double KvValueBytes(const ServerAsk& ask) {
  if (ask.kv_precision == "q8_0") return 8.5 / 8;
  if (ask.kv_precision == "q4_0") return 4.5 / 8;
  return BytesPerKvValue(ask.kv_precision, ask.precision);
}

int WidestLayer(const CatalogModel& model) {
  const int experts = (model.experts_per_token + model.shared_experts) * model.expert_intermediate;
  return std::max(model.experts > 0 && model.dense_layers == 0 ? 0 : model.intermediate, experts);
}

MemoryTerm Term(std::string name, double bytes, double error, std::string why) {
  return {std::move(name), FromDouble(bytes), FromDouble(error), std::move(why)};
}

MemoryTerm WeightTerm(const SizedModel& sized, const ServerAsk& ask) {
  const CatalogModel& model = sized.model;
  const int gpus = ask.tensor_parallel;
  const std::string of = gpus > 1 ? fmt::format(", the part of one GPU of {}", gpus) : "";
  if (sized.exact_weights) {
    // What is divided and what is kept whole follows from the fields; how much there is, from the
    // header.
    const double whole = WeightsPerGpu(model, ask.precision, 1).total();
    const double share =
        whole > 0 ? WeightsPerGpu(model, ask.precision, gpus).total() / whole : 1.0 / gpus;
    const double bytes = AsDouble(*sized.exact_weights) * share;
    return Term("weights", bytes, 0.01 * bytes,
                fmt::format("{} in the tensors of the {}{}", FormatBytes(*sized.exact_weights),
                            sized.source, of));
  }
  const WeightBytes weights = WeightsPerGpu(model, ask.precision, gpus);
  double error = sized.architecture_known ? 0.02 : 0.10;
  if (sized.architecture_known &&
      (ask.precision == "mxfp4" || model.vision_parameters > 0 || IsGguf(ask.precision))) {
    error = IsGguf(ask.precision) ? 0.04 : 0.08;
  }
  std::string why =
      fmt::format("{:.4g} billion parameters in {}{}", model.parameters / 1e9, ask.precision, of);
  if (weights.quantised > 0 && weights.plain > 0) {
    why += fmt::format(": {} quantised, {} that it leaves in 16 bits or more",
                       FormatBytes(FromDouble(weights.quantised)),
                       FormatBytes(FromDouble(weights.plain)));
  }
  return Term("weights", weights.total(), error * weights.total(), why);
}

MemoryTerm ActivationTerm(const CatalogModel& model, const ServerAsk& ask,
                          const EngineVersion& engine, const StepSizes& steps) {
  const EngineProfile& profile = *engine.profile;
  const double wide = static_cast<double>(WidestLayer(model)) / ask.tensor_parallel;
  const double forward =
      steps.tokens * 2.0 * (profile.hidden_values * model.hidden + profile.wide_values * wide);
  const double values =
      model.vision_parameters > 0 ? profile.sampler_values_multimodal : profile.sampler_values;
  double logits = 4.0 * values * steps.sequences * model.vocab;
  std::string of =
      fmt::format("the sampler's copies of the logits of {} sequences", steps.sequences);
  if (engine.engine == SizedEngine::kLlamaCpp) {
    logits = 4.0 * steps.tokens * model.vocab;
    return Term("activations", forward + logits, profile.activation_error * (forward + logits),
                fmt::format("a micro-batch of {} tokens with its logits", steps.tokens));
  }
  if (forward >= logits)
    of = fmt::format("a step of {} tokens through the widest layer", steps.tokens);
  const double bytes = std::max(forward, logits);
  return Term("activations", bytes, profile.activation_error * bytes + 0.1 * kGiB,
              fmt::format("{}; {}", of, profile.label));
}

// How much of the memory the engine gives its cache, and a sentence of how it comes about.
struct Pool {
  double bytes = 0;
  double budget = 0;  // what it may take of the memory by its own count
};

Pool KvPool(const EngineVersion& engine, const ServerAsk& ask, double memory, double weights,
            double activations, double non_torch, double context) {
  switch (engine.engine) {
    case SizedEngine::kSglang: {
      // --mem-fraction-static, of what is free once the libraries are loaded: weights and cache.
      const double free = memory - non_torch;
      return {ask.utilization * free - weights, memory};
    }
    case SizedEngine::kTensorRtLlm: {
      // --kv_cache_free_gpu_memory_fraction, of what weights and activations leave.
      const double free = memory - weights - activations - non_torch - context;
      return {ask.utilization * free, memory};
    }
    default:
      return {ask.utilization * memory - weights - activations - non_torch,
              ask.utilization * memory};
  }
}

std::string Sequences(double count) {
  // Down: what is nearly held is not held.
  return count < 10 ? fmt::format("{:.1f}", std::floor(count * 10) / 10)
                    : fmt::format("{:.0f}", std::floor(count));
}

std::string WhyFits(const ServerAsk& ask, const ServerSpace& space, const EngineVersion& engine,
                    const ServerSize& size, double pool) {
  const std::string what =
      fmt::format("{} sequence{} of {} tokens need{}", ask.concurrency,
                  ask.concurrency == 1 ? "" : "s", ask.context, ask.concurrency == 1 ? "s" : "");
  const std::string where = space.slice.empty() ? space.gpu : space.slice + " of " + space.gpu;
  if (*size.fits) {
    return TakesAll(engine.engine)
               ? fmt::format("the KV cache holds {} sequences of {} tokens, {} asked",
                             Sequences(size.sequences), ask.context, ask.concurrency)
               : fmt::format("{} {} of {}", what, FormatBytes(size.needed),
                             FormatBytes(*space.memory));
  }
  if (pool <= 0 || size.needed > *space.memory) {
    return fmt::format("{} {} on each GPU, and {} has {}{}", what, FormatBytes(size.needed),
                       where.empty() ? "it" : where, FormatBytes(*space.memory),
                       TakesAll(engine.engine) ? fmt::format(", of which the engine may take {}",
                                                             FormatBytes(*size.budget))
                                               : "");
  }
  return fmt::format("{} {} of KV cache and {} is left for it: {} tokens", what,
                     FormatBytes(FromDouble(AsDouble(size.kv_per_sequence) * ask.concurrency)),
                     FormatBytes(size.kv_cache), size.kv_tokens);
}

}  // namespace

bool TakesAll(SizedEngine engine) {
  return engine == SizedEngine::kVllm || engine == SizedEngine::kSglang ||
         engine == SizedEngine::kTensorRtLlm;
}

Bytes VisibleMemory(const CatalogGpu& gpu) {
  // PyTorch's total against NVML's, in MiB: H100-80 81559 -> 81080; A100-80 81920 -> 81050;
  // L40S 46068 -> 45486; RTX 4090 24564 -> 24210; H200 143771 -> 143160; A100-40 40960 -> 40448.
  if (!gpu.memory) return {};
  const double mib = AsDouble(*gpu.memory) / 1048576.0;
  double kept = 0.0125 * mib;
  if (gpu.architecture == "hopper") kept = std::min(500.0, 0.007 * mib);
  if (gpu.architecture == "ampere" && mib > 60000) kept = 880;
  if (gpu.architecture == "blackwell") kept = 0.006 * mib;
  return Bytes{static_cast<uint64_t>((mib - kept) * 1048576.0)};
}

ServerSize SizeServer(const SizedModel& sized, const ServerAsk& ask, const EngineVersion& engine,
                      const ServerSpace& space) {
  const CatalogModel& model = sized.model;
  const EngineProfile& profile = *engine.profile;
  const bool parallel = ask.tensor_parallel > 1;
  ServerSize size;
  const double memory = space.memory ? AsDouble(*space.memory) : 0;
  size.steps = DefaultSteps(engine, space.memory ? memory / kGiB : 80, space.gpu, ask.context);
  if (ask.steps.tokens > 0) size.steps.tokens = ask.steps.tokens;
  if (ask.steps.sequences > 0) size.steps.sequences = ask.steps.sequences;

  const MemoryTerm weights = WeightTerm(sized, ask);
  const MemoryTerm activations = ActivationTerm(model, ask, engine, size.steps);
  const double non_torch_gib = parallel ? profile.non_torch_parallel_gib : profile.non_torch_gib;
  const MemoryTerm non_torch = Term(
      "non_torch", non_torch_gib * kGiB, profile.non_torch_error_gib * kGiB,
      parallel ? "libraries and NCCL, outside the allocator" : "libraries, outside the allocator");
  const MemoryTerm graphs =
      Term("cuda_graphs", (ask.graphs ? profile.graphs_gib : 0) * kGiB,
           (ask.graphs ? profile.graphs_gib : 0) * kGiB, "captured steps; measured 0.3 to 1.9 GiB");
  const MemoryTerm context = Term("cuda_context", kContextGib * kGiB, 0.2 * kGiB, "of the process");

  const CatalogModel kept = AsKept(model, profile);
  const double value = KvValueBytes(ask);
  const double per_token = KvBytesPerToken(kept, value, ask.tensor_parallel) / ask.tensor_parallel;
  const double per_sequence = SequenceBytes(kept, engine.engine, value, ask, size.steps.tokens);
  const double asked = per_sequence * ask.concurrency;
  size.kv_per_token = FromDouble(per_token);
  size.kv_per_sequence = FromDouble(per_sequence);

  double cache = asked;
  double pool = 0;
  if (space.memory && TakesAll(engine.engine)) {
    const Pool found =
        KvPool(engine, ask, memory, AsDouble(weights.bytes), AsDouble(activations.bytes),
               AsDouble(non_torch.bytes), AsDouble(context.bytes));
    pool = found.bytes;
    cache = std::max(0.0, pool);
    size.budget = FromDouble(found.budget);
  } else if (space.memory) {
    size.budget = *space.memory;
  }
  if (per_sequence > 0) {
    size.sequences = cache / per_sequence;
    size.kv_tokens = static_cast<uint64_t>(size.sequences * ask.context);
    if (!TakesAll(engine.engine)) {
      size.kv_tokens = static_cast<uint64_t>(ask.context) * static_cast<uint64_t>(ask.concurrency);
      size.sequences = ask.concurrency;
    }
  }
  std::string shape;
  if (!sized.architecture_known) {
    shape = "typical of its size";
  } else if (model.mla_kv_dim > 0) {
    shape = fmt::format("{} layers of {} latent values, the same on every GPU", model.layers,
                        model.mla_kv_dim);
  } else {
    shape = fmt::format("{} layers with {} KV heads of {}", model.layers - model.stateless_layers,
                        model.kv_heads, model.head_dim);
    if (kept.sliding_window > 0) {
      shape += fmt::format(", of which {} keep only the last {} tokens",
                           model.layers - model.full_attention_layers - model.stateless_layers,
                           model.sliding_window);
    }
  }
  const MemoryTerm kv =
      Term("kv_cache", cache, cache * (sized.architecture_known ? 0.015 : 0.5),
           space.memory && TakesAll(engine.engine)
               ? fmt::format("all that is left of what it may take: {} tokens of {} ({})",
                             size.kv_tokens, FormatBytes(size.kv_per_token), shape)
               : fmt::format("{} sequences of {} tokens, {} each ({})", ask.concurrency,
                             ask.context, FormatBytes(size.kv_per_sequence), shape));

  size.terms = {weights, kv, activations, non_torch, graphs, context};
  size.weights = weights.bytes;
  size.kv_cache = kv.bytes;
  size.activations = activations.bytes;
  size.overhead = non_torch.bytes + graphs.bytes + context.bytes;
  size.total = size.weights + size.kv_cache + size.activations + size.overhead;
  size.needed = size.weights + FromDouble(asked) + size.activations + size.overhead;
  size.error = weights.error + activations.error + non_torch.error + graphs.error + context.error;
  if (space.memory) {
    // Graphs are captured in what the utilization leaves free.
    const double least = AsDouble(size.needed) - AsDouble(graphs.bytes);
    size.fits =
        TakesAll(engine.engine) ? pool >= asked && least <= memory : size.needed <= *space.memory;
    size.because = WhyFits(ask, space, engine, size, pool);
  }
  return size;
}

std::optional<ServerAsk> TuneToFit(const SizedModel& model, const ServerAsk& ask,
                                   const EngineVersion& engine, const ServerSpace& space) {
  if (engine.engine != SizedEngine::kVllm) return std::nullopt;
  for (const int tokens : {8192, 4096, 2048, 512}) {
    ServerAsk tuned = ask;
    tuned.steps.sequences = ask.concurrency;
    // vLLM refuses fewer tokens in a step than sequences, for each adds one.
    tuned.steps.tokens = std::max(tokens, ask.concurrency);
    const ServerSize size = SizeServer(model, tuned, engine, space);
    if (size.fits.value_or(false)) return tuned;
  }
  return std::nullopt;
}

std::vector<std::string> ServerFlags(const SizedModel& model, const ServerAsk& ask,
                                     const EngineVersion& engine, const ServerSpace& space,
                                     const ServerSize& size) {
  std::vector<std::string> flags;
  const auto add = [&](std::string name, std::string value = "") {
    flags.push_back(std::move(name));
    if (!value.empty()) flags.push_back(std::move(value));
  };
  const auto number = [](int64_t value) { return fmt::format("{}", value); };
  const std::string share = fmt::format("{:.3f}", ask.utilization);
  const bool published = ask.precision == model.model.dtype;
  switch (engine.engine) {
    case SizedEngine::kVllm:
      if (space.memory) add("--gpu-memory-utilization", share);
      add("--max-model-len", number(ask.context));
      if (ask.steps.sequences > 0) add("--max-num-seqs", number(ask.steps.sequences));
      if (ask.steps.tokens > 0) add("--max-num-batched-tokens", number(ask.steps.tokens));
      if (ask.tensor_parallel > 1) add("--tensor-parallel-size", number(ask.tensor_parallel));
      if (ask.precision == "fp32") add("--dtype", "float32");
      if (!published &&
          (ask.precision == "awq" || ask.precision == "gptq" || ask.precision == "fp8"))
        add("--quantization", ask.precision);
      // Any checkpoint can be loaded in 4 bits by this; the others need one made for them.
      if (!published && (ask.precision == "int4" || ask.precision == "nf4"))
        add("--quantization", "bitsandbytes");
      if (ask.kv_precision == "fp8") add("--kv-cache-dtype", "fp8");
      if (!ask.graphs) add("--enforce-eager");
      break;
    case SizedEngine::kSglang:
      if (space.memory) add("--mem-fraction-static", share);
      add("--context-length", number(ask.context));
      add("--max-running-requests", number(ask.concurrency));
      if (ask.tensor_parallel > 1) add("--tp", number(ask.tensor_parallel));
      if (ask.kv_precision == "fp8") add("--kv-cache-dtype", "fp8_e5m2");
      if (!ask.graphs) add("--disable-cuda-graph");
      break;
    case SizedEngine::kTensorRtLlm:
      if (space.memory) add("--kv_cache_free_gpu_memory_fraction", share);
      add("--max_seq_len", number(ask.context));
      add("--max_batch_size", number(std::max(1, ask.concurrency)));
      add("--max_num_tokens", number(size.steps.tokens));
      if (ask.tensor_parallel > 1) add("--tp_size", number(ask.tensor_parallel));
      break;
    case SizedEngine::kLlamaCpp:
      add("-c", number(int64_t{ask.context} * ask.concurrency));
      add("-np", number(ask.concurrency));
      add("-ngl", "999");
      if (ask.kv_precision == "int8" || ask.kv_precision == "fp8" || ask.kv_precision == "q8_0") {
        add("-fa", "on");
        add("-ctk", "q8_0");
        add("-ctv", "q8_0");
      }
      break;
    case SizedEngine::kPyTorch:
      break;  // a library: torch.cuda.set_per_process_memory_fraction is the caller's
  }
  return flags;
}

Result<MemoryNeed> SizeTraining(const SizedModel& sized, const TrainingAsk& ask) {
  const CatalogModel& model = sized.model;
  // Bytes kept for each parameter that is trained, beside its 16-bit value.
  double optimizer = 0;
  if (ask.optimizer == "adamw" || ask.optimizer == "adam") {
    optimizer = 12;  // a 32-bit copy and two moments
  } else if (ask.optimizer == "adamw-8bit") {
    optimizer = 4 + 2;
  } else if (ask.optimizer == "adafactor") {
    optimizer = 4 + 0.1;
  } else if (ask.optimizer == "sgd") {
    optimizer = 4 + 4;  // with momentum
  } else {
    return Fail(ErrorCode::kInvalid, fmt::format("there is no optimizer '{}'", ask.optimizer),
                "known are adamw, adamw-8bit, adafactor and sgd");
  }
  double trained = model.parameters;
  double base = 2 * model.parameters;
  if (ask.method == "lora" || ask.method == "qlora") {
    // Two thin matrices beside each of the seven of a layer.
    trained = 2.0 * ask.lora_rank * model.layers *
              (4.0 * model.hidden + 1.5 * (model.hidden + model.intermediate));
    if (ask.method == "qlora") base = WeightsOf(model, "nf4").total();
  } else if (ask.method != "full") {
    return Fail(ErrorCode::kInvalid, fmt::format("there is no way of training '{}'", ask.method),
                "known are full, lora and qlora");
  }
  const double gpus = std::max(1, ask.gpus);
  const double tokens = static_cast<double>(ask.batch) * ask.context;
  // Without checkpointing a layer keeps about 17 values of the hidden width and its feed-forward
  // values thrice; with it, its input, and one layer is done again at a time. Attention is fused.
  const double one_layer = tokens * 2 * (17.0 * model.hidden + 3.0 * WidestLayer(model));
  const double kept = ask.checkpointing ? tokens * 2 * model.hidden * model.layers + one_layer
                                        : one_layer * model.layers;
  const double logits = tokens * model.vocab * (2 + 4 + 4);
  MemoryNeed need;
  need.gpus = ask.gpus;
  need.architecture_known = sized.architecture_known;
  need.terms.push_back(Term("weights", base / gpus, 0.02 * base / gpus,
                            fmt::format("{:.4g} billion parameters{}", model.parameters / 1e9,
                                        ask.method == "qlora" ? " in nf4" : " in 16 bits")));
  const std::string of =
      ask.method == "full" ? "every parameter"
                           : fmt::format("{:.3g} million of rank {}", trained / 1e6, ask.lora_rank);
  need.terms.push_back(Term("gradients", 2 * trained / gpus, 0, "16 bits of " + of));
  need.terms.push_back(Term("optimizer", optimizer * trained / gpus, 0.02 * optimizer * trained,
                            fmt::format("{} bytes of {} for {}", optimizer, of, ask.optimizer)));
  need.terms.push_back(
      Term("activations", kept + logits, 0.4 * (kept + logits),
           fmt::format("{} sequences of {} tokens, {} checkpointing, with logits", ask.batch,
                       ask.context, ask.checkpointing ? "with" : "without")));
  need.terms.push_back(
      Term("overhead", 1.5 * kGiB, 1.0 * kGiB, "CUDA context, libraries and fragments"));
  return need;
}

}  // namespace tranche
