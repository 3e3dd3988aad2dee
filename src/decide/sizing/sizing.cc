#include "decide/sizing/sizing.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "decide/sizing/engines.h"
#include "decide/sizing/shape.h"

namespace tranche {
namespace {

constexpr double kGiB = 1073741824.0;

Bytes FromDouble(double bytes) {
  return Bytes{static_cast<uint64_t>(std::ceil(std::max(0.0, bytes)))};
}

int BlockOf(ServingEngine engine) {
  switch (engine) {
    case ServingEngine::kVllm:
      return 16;
    case ServingEngine::kLlamaCpp:
      return 256;  // cells are padded to this
    default:
      return 1;
  }
}

MemoryTerm Weights(const ModelAsk& ask, const CatalogModel& model, bool known, int gpus) {
  WeightBytes weights = WeightsPerGpu(model, ask.precision, gpus);
  weights.quantised *= gpus;
  weights.plain *= gpus;
  MemoryTerm term;
  term.name = "weights";
  term.bytes = FromDouble(weights.total());
  double error = known ? 0.02 : 0.10;
  if (known && (ask.precision == "mxfp4" || model.vision_parameters > 0)) error = 0.08;
  term.error = FromDouble(weights.total() * error);
  const std::string count = fmt::format("{:.4g} billion parameters", model.parameters / 1e9);
  if (weights.quantised > 0) {
    term.why = fmt::format("{}: {} in {}, and {} that {} leaves in 16 bits", count,
                           FormatBytes(FromDouble(weights.quantised)), ask.precision,
                           FormatBytes(FromDouble(weights.plain)),
                           ask.precision == "mxfp4" && model.expert_parameters > 0
                               ? "quantising only the experts"
                               : "quantising all but embedding and head");
  } else {
    term.why = fmt::format("{} in {}", count, ask.precision);
  }
  return term;
}

MemoryTerm KvCache(const ModelAsk& ask, ServingEngine engine, const CatalogModel& model, bool known,
                   int gpus) {
  const double value = BytesPerKvValue(ask.kv_precision, ask.precision);
  const double sequence =
      KvBytesPerSequence(model, value, std::max(1, ask.context), BlockOf(engine), gpus);
  const double total = sequence * std::max(1, ask.concurrency);
  MemoryTerm term;
  term.name = "kv_cache";
  term.bytes = FromDouble(total);
  term.error = FromDouble(total * (known ? 0.015 : 0.5));
  std::string shape;
  if (!known) {
    shape = fmt::format("typical of its size: {} layers with {} KV heads of {}", model.layers,
                        model.kv_heads, model.head_dim);
  } else if (model.mla_kv_dim > 0) {
    shape = fmt::format("{} layers of {} latent values", model.layers, model.mla_kv_dim);
  } else if (model.sliding_window > 0) {
    shape = fmt::format("{} of {} layers keep only the last {} tokens, {} KV heads of {}",
                        model.layers - model.full_attention_layers, model.layers,
                        model.sliding_window, model.kv_heads, model.head_dim);
  } else {
    shape = fmt::format("{} layers with {} KV heads of {}", model.layers, model.kv_heads,
                        model.head_dim);
  }
  term.why = fmt::format("{} sequence{} of {} tokens, {} each ({}; {} byte{} per value)",
                         ask.concurrency, ask.concurrency == 1 ? "" : "s", ask.context,
                         FormatBytes(FromDouble(sequence)), shape, value, value == 1 ? "" : "s");
  return term;
}

MemoryTerm Overhead(std::string name, double gib, double error_gib, int gpus, std::string why) {
  return {std::move(name), FromDouble(gib * kGiB * gpus), FromDouble(error_gib * kGiB * gpus),
          std::move(why)};
}

// What vLLM's profiling run leaves for activations: the widest layer for every token of a step, or
// the sampler's copies of the logits of every sequence, whichever is more. See engines.cc for where
// the factors come from.
MemoryTerm VllmActivations(const CatalogModel& model, const EngineTuning& tuning, int gpus) {
  const EngineProfile& profile = *ParseEngine("vllm", "")->profile;
  const int widest =
      std::max(model.intermediate, model.experts_per_token * model.expert_intermediate);
  const double tokens =
      2.0 * tuning.batched_tokens *
      (profile.hidden_values * model.hidden + profile.wide_values * widest / gpus) * gpus;
  const double values =
      model.vision_parameters > 0 ? profile.sampler_values_multimodal : profile.sampler_values;
  const double logits = 4.0 * values * tuning.sequences * model.vocab * gpus;
  MemoryTerm term;
  term.name = "activations";
  term.bytes = FromDouble(std::max(tokens, logits));
  term.error = FromDouble(profile.activation_error * std::max(tokens, logits) + 0.1 * kGiB * gpus);
  term.why =
      logits > tokens
          ? fmt::format("the sampler's copies of the logits of {} sequences", tuning.sequences)
          : fmt::format("a step of {} tokens through the widest layer", tuning.batched_tokens);
  return term;
}

void AddOverheads(ServingEngine engine, const CatalogModel& model, const EngineTuning& tuning,
                  int gpus, std::vector<MemoryTerm>* terms) {
  const double ubatch_logits = 512.0 * model.vocab * 4 / kGiB;
  switch (engine) {
    case ServingEngine::kModelServer:
      terms->push_back(Overhead("overhead", 1, 0, gpus, "what tranche-model-server itself holds"));
      return;
    case ServingEngine::kVllm:
      terms->push_back(VllmActivations(model, tuning, gpus));
      terms->push_back(Overhead("non_torch", gpus > 1 ? 0.6 : 0.15, gpus > 1 ? 0.3 : 0.15, gpus,
                                gpus > 1 ? "CUDA libraries and NCCL, outside PyTorch"
                                         : "CUDA libraries, outside PyTorch"));
      if (tuning.graphs) {
        terms->push_back(
            Overhead("cuda_graphs", 1, 1, gpus, "captured steps; measured 0 to 1 GiB"));
      }
      terms->push_back(
          Overhead("cuda_context", 0.5, 0.2, gpus, "of each process, outside vLLM's own figures"));
      return;
    case ServingEngine::kLlamaCpp:
      terms->push_back(Overhead("compute_buffer", ubatch_logits + 512.0 * 20 * model.hidden / kGiB,
                                0.3, gpus, "a micro-batch of 512 tokens with its logits"));
      terms->push_back(Overhead("cuda_context", 0.5, 0.2, gpus, "of each process"));
      return;
    case ServingEngine::kTriton:
      terms->push_back(
          Overhead("overhead", 2, 1, gpus,
                   "backend buffers and the CUDA context; what a backend takes varies"));
      return;
    case ServingEngine::kCommand:
      terms->push_back(Overhead("overhead", 2, 1, gpus,
                                "buffers and the CUDA context of a server that is not known"));
      return;
  }
}

std::vector<std::string> VllmFlags(const ModelAsk& ask, const MemoryNeed& need, Bytes slice,
                                   bool alone) {
  // Graphs and the context lie outside the share that vLLM is told to keep to.
  const Bytes outside = need.Of("cuda_graphs") + need.Of("cuda_context");
  const auto per_gpu = [&](Bytes bytes) { return static_cast<double>(bytes.value) / need.gpus; };
  const double whole = static_cast<double>(slice.value);
  const double needed = per_gpu(need.total() - outside) / whole;
  const double most = (whole - per_gpu(outside)) / whole;
  // Rounded up where it is the least it must have, down where it is the most it may take.
  double share = std::ceil(needed * 1000) / 1000;
  if (alone) share = std::max(share, std::floor(std::min(most, 0.95) * 1000) / 1000);
  std::vector<std::string> flags = {
      "--gpu-memory-utilization", fmt::format("{:.3f}", std::min(share, 1.0)),
      "--max-model-len",          fmt::format("{}", ask.context),
      "--max-num-seqs",           fmt::format("{}", need.tuning.sequences),
      "--max-num-batched-tokens", fmt::format("{}", need.tuning.batched_tokens)};
  const auto add = [&](std::initializer_list<std::string> more) {
    flags.insert(flags.end(), more.begin(), more.end());
  };
  const std::string& p = ask.precision;
  if (p == "fp32") add({"--dtype", "float32"});
  if (p == "fp16") add({"--dtype", "float16"});
  if (p == "bf16") add({"--dtype", "bfloat16"});
  if (p == "awq" || p == "gptq" || p == "fp8") add({"--quantization", p});
  // Any checkpoint can be loaded in 4 bits by this; the others need a checkpoint made for them,
  // which vLLM recognises by itself.
  if (p == "int4" || p == "nf4") add({"--quantization", "bitsandbytes"});
  if (ask.kv_precision == "fp8") add({"--kv-cache-dtype", "fp8"});
  if (need.gpus > 1) add({"--tensor-parallel-size", fmt::format("{}", need.gpus)});
  if (!need.tuning.graphs) add({"--enforce-eager"});
  return flags;
}

}  // namespace

Bytes MemoryNeed::total() const {
  Bytes sum;
  for (const MemoryTerm& term : terms) sum += term.bytes;
  return sum;
}

Bytes MemoryNeed::error() const {
  Bytes sum;
  for (const MemoryTerm& term : terms) sum += term.error;
  return sum;
}

Bytes MemoryNeed::Of(const std::string& name) const {
  for (const MemoryTerm& term : terms) {
    if (term.name == name) return term.bytes;
  }
  return {};
}

MemoryNeed SizeModel(const ModelAsk& ask, ServingEngine engine, const CatalogModel* model,
                     const EngineTuning& tuning, int gpus) {
  MemoryNeed need;
  need.tuning = tuning;
  need.gpus = std::max(1, gpus);
  need.architecture_known = model != nullptr;
  const CatalogModel shape = model != nullptr ? *model : TypicalModel(ask.parameters.value_or(7e9));
  need.terms.push_back(Weights(ask, shape, need.architecture_known, need.gpus));
  need.terms.push_back(KvCache(ask, engine, shape, need.architecture_known, need.gpus));
  AddOverheads(engine, shape, tuning, need.gpus, &need.terms);
  return need;
}

EngineTuning DefaultTuning(ServingEngine engine) {
  // vLLM V1 serving on a GPU of 70 GiB or more.
  if (engine == ServingEngine::kVllm) return {8192, 1024, true};
  return {};
}

std::vector<EngineTuning> TuningsOf(const ModelAsk& ask, ServingEngine engine) {
  if (engine != ServingEngine::kVllm) return {EngineTuning{}};
  const int sequences = std::max(1, ask.concurrency);
  std::vector<EngineTuning> tunings;
  // vLLM refuses fewer tokens in a step than sequences, for each adds one.
  for (const auto& [tokens, graphs] :
       {std::pair{8192, true}, {4096, true}, {2048, true}, {2048, false}, {512, false}}) {
    if (tokens >= sequences) tunings.push_back({tokens, sequences, graphs});
  }
  if (tunings.empty()) tunings.push_back({sequences, sequences, false});
  return tunings;
}

MemoryNeed SizeToFit(const ModelAsk& ask, ServingEngine engine, const CatalogModel* model,
                     Bytes memory, int gpus) {
  MemoryNeed need;
  for (const EngineTuning& tuning : TuningsOf(ask, engine)) {
    need = SizeModel(ask, engine, model, tuning, gpus);
    if (need.total() <= memory) break;
  }
  return need;
}

std::vector<std::string> EngineFlags(const Workload& workload, const MemoryNeed& need, Bytes slice,
                                     bool alone) {
  if (!workload.model) return {};
  const ModelAsk& ask = *workload.model;
  switch (workload.engine) {
    case ServingEngine::kVllm:
      return VllmFlags(ask, need, slice, alone);
    case ServingEngine::kModelServer:
      return {"--memory",      fmt::format("{}", need.total().value),
              "--weights",     fmt::format("{}", need.Of("weights").value),
              "--context",     fmt::format("{}", ask.context),
              "--concurrency", fmt::format("{}", ask.concurrency)};
    case ServingEngine::kLlamaCpp: {
      std::vector<std::string> flags = {
          "-c",   fmt::format("{}", int64_t{ask.context} * ask.concurrency),
          "-np",  fmt::format("{}", ask.concurrency),
          "-ngl", "999"};
      if (ask.kv_precision == "int8" || ask.kv_precision == "fp8") {
        flags.insert(flags.end(), {"-fa", "on", "-ctk", "q8_0", "-ctv", "q8_0"});
      }
      return flags;
    }
    case ServingEngine::kTriton:
    case ServingEngine::kCommand:
      return {};
  }
  return {};
}

}  // namespace tranche
