#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace tranche {

// The programs whose memory is known term by term.
enum class SizedEngine { kVllm, kSglang, kTensorRtLlm, kLlamaCpp, kPyTorch };

const char* SizedEngineName(SizedEngine engine);  // "tensorrt-llm"
std::vector<std::string> SizedEngineNames();

// How much a generation of an engine takes beside weights and KV cache, per GPU. All of it measured
// by others, on the versions and settings that `source` names.
struct EngineProfile {
  SizedEngine engine = SizedEngine::kVllm;
  const char* since = "";  // the first version it holds for, "0.8.0"
  const char* label = "";  // "V1 up to 0.11"
  // The forward pass holds, per token, this many values of the hidden width and of the widest
  // feed-forward layer, in 16 bits.
  double hidden_values = 4, wide_values = 3;
  // The sampler holds this many 32-bit values per sequence and word of the vocabulary; of models
  // with an image encoder a different number was measured.
  double sampler_values = 0, sampler_values_multimodal = 0;
  double non_torch_gib = 0.25, non_torch_parallel_gib = 2.1;  // on one GPU; on each of several
  double non_torch_error_gib = 0.3;
  double graphs_gib = 1.0;     // captured steps
  bool whole_prompts = false;  // a prompt is one step, unless it may be very long
  // Whether layers with a sliding window keep that window only.
  bool sliding_windows = true;
  double activation_error = 0.2;  // of the activation term
  const char* source = "";
};

struct EngineVersion {
  SizedEngine engine = SizedEngine::kVllm;
  std::string version;                     // as written; "" = not said
  const EngineProfile* profile = nullptr;  // static storage
};

// "vllm", "vllm@0.19", "vLLM 0.6.3", "triton" (which serves TensorRT-LLM), with the version apart
// or not. Without one, what most measurements were made with.
Result<EngineVersion> ParseEngine(std::string_view name, std::string_view version);

const std::vector<EngineProfile>& EngineProfiles();

// What an engine is started with unless it is told.
struct StepSizes {
  int tokens = 0;     // in one forward pass
  int sequences = 0;  // that one step samples for
};
StepSizes DefaultSteps(const EngineVersion& engine, double gpu_memory_gib, std::string_view gpu_key,
                       int context);

}  // namespace tranche
