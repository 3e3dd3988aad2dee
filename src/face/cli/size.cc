#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>

#include "decide/performance/roofline.h"
#include "decide/sizing/weights.h"
#include "face/cli/coefficients_file.h"
#include "face/cli/context.h"
#include "face/cli/model_files.h"
#include "face/cli/size_view.h"
#include "face/cli/verb.h"

namespace tranche {
namespace {

constexpr int kMostTokens = 1 << 27;

std::vector<std::string> Split(const std::string& text) {
  std::vector<std::string> parts(1);
  for (const char c : text) {
    if (c == ',')
      parts.emplace_back();
    else if (c != ' ')
      parts.back() += c;
  }
  std::erase(parts, "");
  return parts;
}

class SizeVerb final : public Verb {
 public:
  Info info() const override {
    return {
        "size",
        "Says how much memory a model takes, term by term, and what fits beside it",
        {"tranche size --model llama-3.1-8b --gpu H100 --context 16000",
         "tranche size --model ./checkpoint --precision awq --gpu A100-80 --slice 2g.20gb "
         "--concurrency 8",
         "tranche size --model qwen3-32b --gpu L40S --tensor-parallel 2 --engine vllm@0.19",
         "tranche size --model ./model-q4_k_m.gguf --engine llama.cpp --gpu RTX4090",
         "tranche size --compare --model 7B,13B,70B --precision fp16,int4 "
         "--gpu H100-PCIe-80GB,A100-80,L40S",
         "tranche size --model 8B --train lora --gpu L4"},
        "MODEL is a name of 'tranche catalog models', the path of a config.json, safetensors or "
        "GGUF file or of a checkpoint's folder, or a number of parameters. All numbers are for one "
        "GPU. Engines that take all they may for their KV cache (vllm, sglang, tensorrt-llm) are "
        "sized as they start by themselves; the flags that are printed repeat what was sized. "
        "Exit code 3: it does not fit."};
  }

  void Declare(Arguments& arguments) override {
    arguments.Option("--model", "MODEL", model_, "a name, a path, or a number of parameters: 7B")
        .Option("--parameters", "N", parameters_, "instead of a model: 7B")
        .Option("--precision", "P", precision_,
                "of the weights: bf16, fp8, int4, awq, mxfp4, q4_k_m, ... (default: as published)")
        .Option("--kv-precision", "P", kv_precision_, "of the KV cache: bf16, fp8, q8_0, q4_0")
        .Option("--context", "N", context_, "tokens of a sequence (default: 8192 or the model's)")
        .Option("--concurrency", "N", concurrency_, "sequences at once (default: 1)")
        .Option("--gpu", "GPU", gpu_, "which GPU")
        .Option("--gpu-memory", "SIZE", gpu_memory_,
                "what a program sees of its memory, where that is known better: 79.18GiB")
        .Option("--slice", "SLICE", slice_, "of the GPU: 2g.20gb, 20GiB or 25%")
        .Option("--tensor-parallel", "N", tensor_parallel_, "over so many GPUs (default: 1)")
        .Option("--engine", "ENGINE", engine_,
                "vllm, sglang, tensorrt-llm, triton, llama.cpp or pytorch (default: vllm)")
        .Option("--engine-version", "V", engine_version_, "0.19.0; also vllm@0.19.0")
        .Option("--utilization", "X", utilization_,
                "share of the memory the engine may take (default: 0.9)")
        .Option("--max-num-seqs", "N", sequences_, "sequences in one step of the engine")
        .Option("--max-num-batched-tokens", "N", tokens_, "tokens in one step of the engine")
        .Flag("--no-graphs", no_graphs_, "without CUDA graphs")
        .Flag("--compare", compare_,
              "a table of every model, precision and GPU given, separated by commas")
        .Option("--train", "METHOD", train_, "memory to train instead: full, lora or qlora")
        .Option("--optimizer", "NAME", optimizer_,
                "with --train: adamw, adamw-8bit, adafactor or sgd")
        .Option("--batch", "N", batch_, "with --train: sequences in one step on each GPU")
        .Option("--rank", "N", rank_, "with --train lora: rank")
        .Flag("--no-checkpointing", no_checkpointing_, "with --train: keep all activations")
        .Option("--prompt", "N", prompt_, "tokens of a prompt, for the speed (default: 512)")
        .Option("--ttft", "TIME", first_token_, "first token within: 500ms; says the largest batch")
        .Option("--tpot", "TIME", token_, "time for each further token at most: 50ms")
        .Option("--coefficients", "FILE", coefficients_,
                "speeds by this file, from 'tranche calibrate' (else as configured)")
        .Flag("--weights-only", weights_only_, "with --compare: weights alone, as many tables do")
        .Option("--memory", "SIZE", memory_,
                "what a notebook or batch job says that it needs: 8GiB");
  }

  Result<int> Run(Context& context) override {
    const auto loaded = context.catalog();
    if (!loaded) return tl::unexpected<Error>(loaded.error());
    const Catalog& catalog = **loaded;
    if (auto checked = CheckOptions(catalog); !checked)
      return tl::unexpected<Error>(checked.error());
    if (!memory_.empty()) return Stated(context);
    if (compare_) return Compare(context);
    const SizedModel& model = models_.at(parameters_.empty() ? model_ : parameters_);
    const ServerSpace& space = spaces_.at(gpu_);
    if (!train_.empty()) return Train(context, model, space);
    auto server = Size(model, precision_, space);
    if (!server) return tl::unexpected<Error>(server.error());
    if (auto sped = AddSpeed(context, catalog, &*server); !sped)
      return tl::unexpected<Error>(sped.error());
    context.Print(ViewServerSize(*server));
    return server->size.fits.value_or(true) ? 0 : ExitCodeOf(ErrorCode::kDoesNotFit);
  }

 private:
  // What one of several things to look up was, or what is wrong with it.
  template <typename T>
  static void Keep(Result<T> found, const std::string& name, std::map<std::string, T>* kept,
                   std::vector<std::string>* mistakes) {
    if (found) {
      kept->emplace(name, *std::move(found));
      return;
    }
    const Error& error = found.error();
    std::string mistake = error.message + (error.hint.empty() ? "" : "; " + error.hint);
    if (std::find(mistakes->begin(), mistakes->end(), mistake) == mistakes->end()) {
      mistakes->push_back(std::move(mistake));
    }
  }

  // Looks up every model and GPU that is named, and every precision for every model.
  void LookUp(const Catalog& catalog, std::vector<std::string>* mistakes) {
    const std::string& named = parameters_.empty() ? model_ : parameters_;
    std::vector<std::string> models = compare_ ? Split(named) : std::vector<std::string>{named};
    std::vector<std::string> gpus = compare_ ? Split(gpu_) : std::vector<std::string>{gpu_};
    std::vector<std::string> precisions =
        compare_ ? Split(precision_) : std::vector<std::string>{precision_};
    if (memory_.empty()) {
      for (const std::string& model : models) {
        if (!model.empty()) Keep(ModelNamed(model, catalog), model, &models_, mistakes);
      }
    }
    for (const std::string& gpu : gpus) Keep(SpaceNamed(gpu, catalog), gpu, &spaces_, mistakes);
    // Names of precisions are the same for all models; without one, those of any.
    const CatalogModel any = models_.empty() ? CatalogModel{} : models_.begin()->second.model;
    std::map<std::string, std::string> parsed;
    for (const std::string& precision : precisions) {
      if (!precision.empty() && precision != "checkpoint") {
        Keep(ParsePrecision(precision, any), precision, &parsed, mistakes);
      }
    }
    if (!memory_.empty()) {
      std::map<std::string, Bytes> sizes;
      auto bytes = ParseBytes(memory_);
      if (!bytes) bytes = FailedWhile("--memory", bytes.error());
      Keep(bytes, memory_, &sizes, mistakes);
    }
  }

  // All that is wrong with the options, at once.
  Status CheckOptions(const Catalog& catalog) {
    std::vector<std::string> mistakes;
    const auto within = [&](const char* name, const std::optional<int>& value, int least,
                            int most) {
      if (value && (*value < least || *value > most))
        mistakes.push_back(fmt::format("{} is {}, not from {} to {}", name, *value, least, most));
    };
    within("--context", context_, 1, kMostTokens);
    within("--concurrency", concurrency_, 1, 1 << 20);
    within("--tensor-parallel", tensor_parallel_, 1, 1024);
    within("--max-num-seqs", sequences_, 1, 1 << 20);
    within("--max-num-batched-tokens", tokens_, 1, kMostTokens);
    within("--batch", batch_, 1, 1 << 20);
    within("--rank", rank_, 1, 1 << 16);
    within("--prompt", prompt_, 1, kMostTokens);
    const auto time = [&](const char* name, const std::string& text, std::optional<double>* out) {
      if (text.empty()) return;
      const auto parsed = ParseDuration(text);
      if (!parsed || parsed->count() <= 0) {
        mistakes.push_back(fmt::format("{}: '{}' is no time above 0, like 500ms", name, text));
      } else {
        *out = static_cast<double>(parsed->count()) / 1e9;
      }
    };
    time("--ttft", first_token_, &slo_.first_token_seconds);
    time("--tpot", token_, &slo_.token_seconds);
    if (weights_only_ && !compare_) mistakes.push_back("--weights-only goes with --compare");
    if (!utilization_.empty()) {
      const auto share = ParseFraction(utilization_);
      if (share) {
        share_ = share->value;
      } else {
        mistakes.push_back("--utilization: " + share.error().message);
      }
    }
    if (!kv_precision_.empty()) {
      static const std::vector<std::string> kKnown = {"bf16", "fp16", "fp8", "int8",
                                                      "q8_0", "q4_0", "fp32"};
      if (std::find(kKnown.begin(), kKnown.end(), kv_precision_) == kKnown.end()) {
        mistakes.push_back(fmt::format("--kv-precision is '{}', not one of {}", kv_precision_,
                                       fmt::join(kKnown, ", ")));
      }
    }
    if (memory_.empty() && model_.empty() && parameters_.empty())
      mistakes.push_back("nothing to size: say --model, --parameters or --memory");
    if (!model_.empty() && !parameters_.empty())
      mistakes.push_back("--model and --parameters are two ways to say the same");
    if (train_.empty() && (!optimizer_.empty() || batch_ || rank_ || no_checkpointing_))
      mistakes.push_back("--optimizer, --batch, --rank and --no-checkpointing go with --train");
    if (gpu_.empty() && !slice_.empty()) mistakes.push_back("--slice needs --gpu");
    const auto engine = ParseEngine(engine_.empty() ? "vllm" : engine_, engine_version_);
    if (engine) {
      parsed_engine_ = *engine;
    } else {
      mistakes.push_back(engine.error().message +
                         (engine.error().hint.empty() ? "" : "; " + engine.error().hint));
    }
    LookUp(catalog, &mistakes);
    if (mistakes.empty()) return {};
    return Fail(ErrorCode::kInvalid, fmt::format("{}", fmt::join(mistakes, "\n")));
  }

  static Result<SizedModel> ModelNamed(const std::string& name, const Catalog& catalog) {
    return FindModel(name, catalog);
  }

  Result<ServerSpace> SpaceNamed(const std::string& name, const Catalog& catalog) const {
    ServerSpace space;
    if (name.empty()) {
      if (gpu_memory_.empty()) return space;
      const auto bytes = ParseBytes(gpu_memory_);
      if (!bytes) return FailedWhile("--gpu-memory", bytes.error());
      space.memory = *bytes;
      return space;
    }
    const auto found = catalog.FindGpu(name);
    if (!found) return tl::unexpected<Error>(found.error());
    const CatalogGpu& gpu = **found;
    space.gpu = gpu.key;
    if (!gpu.memory && gpu_memory_.empty()) {
      return Fail(ErrorCode::kInvalid, fmt::format("how much memory {} has is not known", gpu.key),
                  "say --gpu-memory");
    }
    space.memory = VisibleMemory(gpu);
    if (!gpu_memory_.empty()) {
      const auto bytes = ParseBytes(gpu_memory_);
      if (!bytes) return FailedWhile("--gpu-memory", bytes.error());
      space.memory = *bytes;
    }
    if (slice_.empty()) return space;
    space.slice = slice_;
    for (const MigProfile& profile : gpu.mig_profiles) {
      if (profile.name != slice_) continue;
      space.memory = profile.memory;
      return space;
    }
    if (const auto bytes = ParseBytes(slice_)) {
      if (*bytes > *space.memory) {
        return Fail(ErrorCode::kInvalid, fmt::format("a slice of {} is more than {} has, {}",
                                                     slice_, gpu.key, FormatBytes(*space.memory)));
      }
      space.memory = *bytes;
      return space;
    }
    if (const auto share = ParseFraction(slice_)) {
      space.memory =
          Bytes{static_cast<uint64_t>(static_cast<double>(space.memory->value) * share->value)};
      return space;
    }
    std::vector<std::string> names;
    for (const MigProfile& profile : gpu.mig_profiles) {
      if (profile.variant == MigVariant::kPlain) names.push_back(profile.name);
    }
    return Fail(ErrorCode::kNotFound, fmt::format("{} has no slice '{}'", gpu.key, slice_),
                names.empty() ? "it has no MIG; write an amount or a share: 20GiB, 25%"
                              : fmt::format("its MIG profiles are {}; or write 20GiB, or 25%",
                                            fmt::join(names, ", ")));
  }

  Result<SizedServer> Size(SizedModel model, const std::string& precision,
                           const ServerSpace& space) const {
    SizedServer server;
    const auto parsed = ParsePrecision(precision, model.model);
    if (!parsed) return tl::unexpected<Error>(parsed.error());
    if (*parsed != model.model.dtype) {
      // Not the files that were read: what those weigh and leave alone does not hold.
      model.exact_weights.reset();
      model.model.unquantised.clear();
    }
    server.engine = parsed_engine_;
    server.space = space;
    server.ask.precision = *parsed;
    server.ask.kv_precision = kv_precision_ == "fp16" ? "bf16" : kv_precision_;
    const int most = model.model.max_position;
    server.ask.context = context_.value_or(most > 0 ? std::min(8192, most) : 8192);
    server.ask.concurrency = concurrency_.value_or(1);
    server.ask.tensor_parallel = tensor_parallel_.value_or(1);
    server.ask.utilization = share_;
    server.ask.steps = {tokens_.value_or(0), sequences_.value_or(0)};
    server.ask.graphs = !no_graphs_;
    server.size = SizeServer(model, server.ask, server.engine, space);
    server.flags = ServerFlags(model, server.ask, server.engine, space, server.size);
    if (!server.size.fits.value_or(true)) {
      if (const auto tuned = TuneToFit(model, server.ask, server.engine, space)) {
        server.tuned = SizeServer(model, *tuned, server.engine, space);
        server.tuned_flags = ServerFlags(model, *tuned, server.engine, space, *server.tuned);
      }
    }
    if (most > 0 && server.ask.context > most) {
      server.size.because += fmt::format("{}the model was trained for {} tokens at most",
                                         server.size.because.empty() ? "" : "; ", most);
    }
    server.model = std::move(model);
    return server;
  }

  // How fast it would answer, where the GPU's speed is known.
  Status AddSpeed(Context& context, const Catalog& catalog, SizedServer* server) const {
    const auto coefficients = LoadCoefficients(coefficients_, context);
    if (!coefficients) return tl::unexpected<Error>(coefficients.error());
    if (server->space.gpu.empty()) return {};
    const CatalogGpu& gpu = **catalog.FindGpu(server->space.gpu);
    const auto whole = RateOf(gpu);
    if (!whole) return {};
    GpuRate rate = *whole;
    if (!server->space.slice.empty()) {
      const auto profile = std::find_if(
          gpu.mig_profiles.begin(), gpu.mig_profiles.end(),
          [&](const MigProfile& candidate) { return candidate.name == server->space.slice; });
      // An amount of memory says nothing of the time it comes with.
      if (profile == gpu.mig_profiles.end()) return {};
      rate = RateOfInstance(*whole, gpu, *profile);
    }
    const ServerAsk& ask = server->ask;
    const CatalogModel& model = server->model.model;
    LlmWork work;
    work.model = model;
    work.weight_bytes = static_cast<double>(server->size.weights.value);
    work.expert_bytes =
        std::min(work.weight_bytes, ExpertBytesPerGpu(model, ask.precision, ask.tensor_parallel));
    work.kv_bytes_per_token = static_cast<double>(server->size.kv_per_token.value);
    work.gpus = ask.tensor_parallel;
    work.eight_bit = ask.precision == "fp8" || ask.precision == "int8";
    const int prompt = std::min(prompt_.value_or(512), ask.context);
    const int mean = (prompt + ask.context) / 2;
    const auto& line = coefficients->values->roofline;
    SpeedAnswer speed;
    speed.prompt = prompt;
    speed.one = PredictLlm(work, rate, 1, prompt, mean, line);
    speed.asked = PredictLlm(work, rate, ask.concurrency, prompt, mean, line);
    speed.source = coefficients->values->sources.at("roofline.error");
    speed.coefficients = NameOf(*coefficients);
    if (slo_.first_token_seconds || slo_.token_seconds) {
      const int most = static_cast<int>(std::clamp(server->size.sequences, 0.0, 1e6));
      speed.largest_batch = LargestBatch(work, rate, slo_, prompt, mean, most, line);
    }
    server->speed = speed;
    return {};
  }

  Result<int> Compare(Context& context) const {
    std::vector<std::vector<SizedServer>> rows;
    const auto gpus = Split(gpu_);
    if (gpus.empty()) {
      return Fail(ErrorCode::kInvalid, "--compare needs GPUs",
                  "--gpu H100,A100-80,L40S; 'tranche catalog gpus' lists them");
    }
    auto precisions = Split(precision_);
    if (precisions.empty()) precisions = {"checkpoint"};
    for (const std::string& name : Split(parameters_.empty() ? model_ : parameters_)) {
      const SizedModel& model = models_.at(name);
      for (const std::string& precision : precisions) {
        auto& row = rows.emplace_back();
        for (const std::string& gpu : gpus) {
          auto server = Size(model, precision, spaces_.at(gpu));
          if (!server) return tl::unexpected<Error>(server.error());
          if (weights_only_) server->size.needed = server->size.weights;
          row.push_back(std::move(*server));
        }
      }
    }
    context.Print(ViewComparison(rows, weights_only_));
    return 0;
  }

  Result<int> Train(Context& context, const SizedModel& model, const ServerSpace& space) const {
    TrainingAsk ask;
    ask.method = train_;
    if (!optimizer_.empty()) ask.optimizer = optimizer_;
    ask.batch = batch_.value_or(1);
    ask.context = context_.value_or(2048);
    ask.checkpointing = !no_checkpointing_;
    ask.lora_rank = rank_.value_or(16);
    ask.gpus = tensor_parallel_.value_or(1);
    const auto need = SizeTraining(model, ask);
    if (!need) return tl::unexpected<Error>(need.error());
    return ShowNeed(context, fmt::format("{} training of {}", ask.method, model.model.name), *need,
                    space);
  }

  // What somebody states needs no sizing, only room.
  Result<int> Stated(Context& context) const {
    const auto bytes = ParseBytes(memory_);
    if (!bytes) return FailedWhile("--memory", bytes.error());
    MemoryNeed need;
    need.terms.push_back({"stated", *bytes, {}, "as stated; a limit holds it to that"});
    need.terms.push_back(
        {"cuda_context", MiB(512), MiB(200), "of the process, which few count when they state"});
    return ShowNeed(context, "a workload that states its memory", need, spaces_.at(gpu_));
  }

  static Result<int> ShowNeed(Context& context, const std::string& what, const MemoryNeed& need,
                              const ServerSpace& space) {
    context.Print(ViewMemoryNeed(what, need, space));
    return space.memory && need.total() > *space.memory ? ExitCodeOf(ErrorCode::kDoesNotFit) : 0;
  }

  std::map<std::string, SizedModel> models_;  // by what was asked for
  std::map<std::string, ServerSpace> spaces_;
  std::string model_, parameters_, precision_, kv_precision_, gpu_, gpu_memory_, slice_;
  std::string engine_, engine_version_, utilization_, train_, optimizer_, memory_;
  std::string first_token_, token_, coefficients_;
  std::optional<int> prompt_;
  LlmSlo slo_;
  bool weights_only_ = false;
  std::optional<int> context_, concurrency_, tensor_parallel_, sequences_, tokens_, batch_, rank_;
  bool no_graphs_ = false, compare_ = false, no_checkpointing_ = false;
  double share_ = 0.9;
  EngineVersion parsed_engine_;
};

}  // namespace

std::unique_ptr<Verb> MakeSizeVerb() { return std::make_unique<SizeVerb>(); }

}  // namespace tranche
