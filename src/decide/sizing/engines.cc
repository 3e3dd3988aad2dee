#include "decide/sizing/engines.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <charconv>
#include <optional>

#include "base/suggest.h"

namespace tranche {
namespace {

struct EngineWord {
  const char* word;
  SizedEngine engine;
};
constexpr std::array<EngineWord, 12> kWords = {{{"vllm", SizedEngine::kVllm},
                                                {"sglang", SizedEngine::kSglang},
                                                {"tensorrt-llm", SizedEngine::kTensorRtLlm},
                                                {"triton", SizedEngine::kTensorRtLlm},
                                                {"trtllm", SizedEngine::kTensorRtLlm},
                                                {"tensorrt_llm", SizedEngine::kTensorRtLlm},
                                                {"llama.cpp", SizedEngine::kLlamaCpp},
                                                {"llamacpp", SizedEngine::kLlamaCpp},
                                                {"ollama", SizedEngine::kLlamaCpp},
                                                {"pytorch", SizedEngine::kPyTorch},
                                                {"torch", SizedEngine::kPyTorch},
                                                {"transformers", SizedEngine::kPyTorch}}};

// "0.11.2" as three numbers; missing ones are 0. Nothing for text that begins with no digit.
std::optional<std::array<int, 3>> Numbers(std::string_view version) {
  if (version.starts_with('v')) version.remove_prefix(1);
  std::array<int, 3> numbers{};
  for (size_t i = 0; i < numbers.size(); ++i) {
    const auto [stop, error] =
        std::from_chars(version.data(), version.data() + version.size(), numbers[i]);
    if (error != std::errc()) return i == 0 ? std::nullopt : std::optional(numbers);
    version.remove_prefix(static_cast<size_t>(stop - version.data()));
    if (!version.starts_with('.')) break;
    version.remove_prefix(1);
  }
  return numbers;
}

std::vector<EngineProfile> MakeProfiles() {
  std::vector<EngineProfile> profiles;
  {
    EngineProfile& p = profiles.emplace_back();
    p.since = "0.0";
    p.label = "vLLM before 0.6.6";
    p.sampler_values = p.sampler_values_multimodal = 9.73;
    p.non_torch_gib = 1.8;
    p.non_torch_parallel_gib = 3.6;
    p.non_torch_error_gib = 1.0;
    p.whole_prompts = true;
    p.sliding_windows = false;
    p.source =
        "measured: Llama-3-8B on an H100 (0.6.5: 1.26 GiB of activations, 1.79 outside PyTorch)";
  }
  {
    EngineProfile& p = profiles.emplace_back();
    p.since = "0.6.6";
    p.label = "vLLM V0, 0.6.6 to 0.7";
    p.sampler_values = p.sampler_values_multimodal = 9.73;
    p.non_torch_gib = 0.10;
    p.non_torch_parallel_gib = 0.28;
    p.whole_prompts = true;
    p.sliding_windows = false;
    p.activation_error = 0.5;
    p.source =
        "measured: Qwen2.5-32B on two L40S (1.26 and 0.30 GiB), a 14B on two RTX 4090 (0.19 and "
        "0.25), Llama-3-8B on an A100-40 (0.10 outside PyTorch)";
  }
  {
    EngineProfile& p = profiles.emplace_back();
    p.since = "0.8.0";
    p.label = "vLLM V1, 0.8 to 0.14";
    p.sampler_values = 9.73;
    p.sampler_values_multimodal = 0;
    p.non_torch_gib = 0.14;
    p.non_torch_parallel_gib = 0.55;
    p.source =
        "measured on H100: Llama-3.1-8B 4.76, Qwen3-32B 5.64, gpt-oss-20b 7.38 GiB, all of it the "
        "sampler's for 1024 sequences; Mistral-Small-3.2 (with images) 2.12";
  }
  {
    EngineProfile& p = profiles.emplace_back();
    p.since = "0.15.0";
    p.label = "vLLM 0.15 and later";
    p.sampler_values = p.sampler_values_multimodal = 3.83;
    p.non_torch_gib = 0.25;
    p.non_torch_parallel_gib = 2.1;
    p.source =
        "measured on H100 with 0.19.0, 28 models: Llama-3.1-8B 1.89, Qwen3-8B 2.21, phi-4 1.52, "
        "CodeLlama-7B 0.77, gpt-oss-20b 2.87 GiB; NCCL 2.1 GiB on each of several. Where between "
        "0.11 and 0.19 it fell, nobody measured";
  }
  {
    EngineProfile& p = profiles.emplace_back();
    p.engine = SizedEngine::kSglang;
    p.since = "0.0";
    p.label = "SGLang";
    // Held back by --mem-fraction-static rather than counted: see KvPool.
    p.non_torch_gib = 0.6;
    p.non_torch_parallel_gib = 2.2;
    p.non_torch_error_gib = 0.8;
    p.source =
        "measured: Qwen3-235B-FP8 on four H100 leaves 16.46 GiB of KV cache at 0.93; no other "
        "measurement";
  }
  {
    EngineProfile& p = profiles.emplace_back();
    p.engine = SizedEngine::kTensorRtLlm;
    p.since = "0.0";
    p.label = "TensorRT-LLM";
    p.non_torch_gib = 0.6;
    p.non_torch_parallel_gib = 2.1;
    p.non_torch_error_gib = 0.8;
    p.activation_error = 0.5;
    p.source =
        "by the vendor's description: activations planned when the engine is built, KV cache a "
        "fraction of what is free then; not measured here";
  }
  {
    EngineProfile& p = profiles.emplace_back();
    p.engine = SizedEngine::kLlamaCpp;
    p.since = "0.0";
    p.label = "llama.cpp";
    p.sampler_values = p.sampler_values_multimodal = 0;
    p.non_torch_gib = 0.1;
    p.non_torch_parallel_gib = 0.3;
    p.graphs_gib = 0.05;
    p.activation_error = 0.5;
    p.source =
        "KV cache exact against a log of gpt-oss-120b; the compute buffer holds the logits of a "
        "micro-batch of 512 tokens";
  }
  {
    EngineProfile& p = profiles.emplace_back();
    p.engine = SizedEngine::kPyTorch;
    p.since = "0.0";
    p.label = "plain PyTorch";
    p.sampler_values = p.sampler_values_multimodal = 2;
    p.non_torch_gib = 0.3;
    p.non_torch_parallel_gib = 1.5;
    p.graphs_gib = 0;
    p.sliding_windows = false;
    p.activation_error = 0.5;
    p.source = "no measurement; the caching allocator may hold more than is in use";
  }
  return profiles;
}

}  // namespace

const char* SizedEngineName(SizedEngine engine) {
  switch (engine) {
    case SizedEngine::kVllm:
      return "vllm";
    case SizedEngine::kSglang:
      return "sglang";
    case SizedEngine::kTensorRtLlm:
      return "tensorrt-llm";
    case SizedEngine::kLlamaCpp:
      return "llama.cpp";
    case SizedEngine::kPyTorch:
      return "pytorch";
  }
  return "";
}

std::vector<std::string> SizedEngineNames() {
  return {"vllm", "sglang", "tensorrt-llm", "triton", "llama.cpp", "pytorch"};
}

const std::vector<EngineProfile>& EngineProfiles() {
  static const std::vector<EngineProfile> kProfiles = MakeProfiles();
  return kProfiles;
}

Result<EngineVersion> ParseEngine(std::string_view name, std::string_view version) {
  std::string word(name);
  std::string written(version);
  const size_t split = word.find_first_of("@: ");
  if (split != std::string::npos) {
    if (written.empty()) written = word.substr(split + 1);
    word.resize(split);
  }
  std::transform(word.begin(), word.end(), word.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  const auto found = std::find_if(kWords.begin(), kWords.end(),
                                  [&](const EngineWord& entry) { return word == entry.word; });
  if (found == kWords.end()) {
    const std::string meant = DidYouMean(word, SizedEngineNames());
    return Fail(
        ErrorCode::kNotFound, fmt::format("there is no engine '{}'", word),
        meant.empty() ? fmt::format("known are {}", fmt::join(SizedEngineNames(), ", ")) : meant);
  }
  EngineVersion engine{found->engine, written, nullptr};
  // Unsaid, vLLM is V1 as most measurements have it, which is also the hungriest.
  const std::string assumed = written.empty() ? "0.11" : written;
  const auto numbers = Numbers(assumed);
  if (!numbers) {
    return Fail(ErrorCode::kInvalid, fmt::format("'{}' is no version of {}", written, word),
                fmt::format("write it like {}@0.11.0", word));
  }
  for (const EngineProfile& profile : EngineProfiles()) {
    if (profile.engine == engine.engine && *numbers >= *Numbers(profile.since)) {
      engine.profile = &profile;
    }
  }
  return engine;
}

StepSizes DefaultSteps(const EngineVersion& engine, double gpu_memory_gib, std::string_view gpu_key,
                       int context) {
  switch (engine.engine) {
    case SizedEngine::kVllm: {
      if (engine.profile->whole_prompts) {
        // V0 takes whole prompts, but chunks them by itself where they may be long.
        return {context > 32768 ? 2048 : std::max(context, 2048), 256};
      }
      const bool large = gpu_memory_gib >= 70 && !gpu_key.starts_with("A100");
      return large ? StepSizes{8192, 1024} : StepSizes{2048, 256};
    }
    case SizedEngine::kSglang:
      return {8192, 256};
    case SizedEngine::kTensorRtLlm:
      return {8192, 256};
    case SizedEngine::kLlamaCpp:
      return {512, 1};  // --ubatch-size
    case SizedEngine::kPyTorch:
      return {std::max(1, context), 1};
  }
  return {};
}

}  // namespace tranche
