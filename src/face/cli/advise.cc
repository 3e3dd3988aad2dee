#include <fmt/format.h>

#include <algorithm>

#include "base/suggest.h"
#include "face/cli/advise_need.h"
#include "face/cli/advise_view.h"
#include "face/cli/context.h"
#include "face/cli/number_options.h"
#include "face/cli/verb.h"
#include "model/spec_rules.h"

namespace tranche {
namespace {

constexpr int kMostGpus = 1024;
// What is said of a model when nobody says more; as in specs.
constexpr int kDefaultContext = 4096;

// "7B", "350M", "8030000000".
std::optional<double> CountOf(const std::string& text) {
  if (text.empty()) return std::nullopt;
  double factor = 1;
  std::string digits = text;
  const std::pair<char, double> units[] = {{'M', 1e6}, {'B', 1e9}, {'T', 1e12}};
  for (const auto& [unit, value] : units) {
    if (digits.back() != unit) continue;
    factor = value;
    digits.pop_back();
    break;
  }
  NumberOptions numbers;
  const auto number = numbers.Positive("", digits, 1e15);
  if (!number || *number * factor < kMinParameters || *number * factor > kMaxParameters)
    return std::nullopt;
  return *number * factor;
}

class AdviseVerb final : public Verb {
 public:
  Info info() const override {
    return {"advise",
            "Says which way of sharing suits a workload, why, and why not the others",
            {"tranche advise --kind inference --isolation hardware --gpu H100-SXM5-80GB --memory "
             "8GiB",
             "tranche advise --isolation process --trusted --gpu L40S --model llama-3.1-8b "
             "--precision int4",
             "tranche advise --isolation none --latency-slo 50ms --gpu A100-SXM4-80GB --memory "
             "8GiB --why-not time-slicing",
             "tranche advise --tree"},
            "Every question is answered from what is said here and from the catalog, and the "
            "answer says why. Exits with 3 when no mechanism satisfies it."};
  }

  void Declare(Arguments& arguments) override {
    arguments.Option("--gpu", "GPU", gpu_, "on which GPU")
        .Option("--kind", "KIND", kind_, "inference (default), training, notebook or batch")
        .Option("--isolation", "WORD", isolation_, "hardware, process (default) or none")
        .Option("--memory", "SIZE", memory_, "what it needs of each GPU's memory")
        .Option("--model", "NAME", model_, "work that out from a model of the catalog")
        .Option("--parameters", "COUNT", parameters_, "or from its number of parameters: 7B")
        .Option("--precision", "WORD", precision_, "of its weights: bf16, fp8, int4, ...")
        .Option("--context", "N", context_, "tokens of one sequence (4096)")
        .Option("--concurrency", "N", concurrency_, "sequences at once (1)")
        .Option("--engine", "ENGINE", engine_, "vllm (default), triton, llama.cpp")
        .Option("--tensor-parallel", "N", tensor_parallel_, "GPUs that one replica spans (1)")
        .Flag("--trusted", trusted_, "all tenants of the GPU trust each other")
        .Option("--latency-slo", "DURATION", latency_, "a latency that must be kept: 50ms")
        .Option("--sm-utilization", "SHARE", sm_, "of a whole GPU, under normal load: 0.85")
        .Option("--traffic", "WORD", traffic_, "low or steady")
        .Flag("--speculative", speculative_, "decodes speculatively, with a draft model")
        .Flag("--virtual-machines", virtual_machines_, "each workload is a virtual machine")
        .Flag("--mig-locked", mig_locked_, "the host or cloud lets nobody change MIG")
        .Flag("--resize-often", resized_, "slices must change their size often")
        .Flag("--interruptible", interruptible_, "may be stopped at any time: spot will do")
        .Option("--why-not", "MECHANISM", why_not_, "everything that speaks against one")
        .Flag("--tree", tree_, "all questions and answers; advises nothing");
  }

  Result<int> Run(Context& context) override {
    const auto rules = AdviceRules::Load();
    if (!rules) return tl::unexpected<Error>(rules.error());
    if (tree_) {
      context.Print(ViewAdviceRules(*rules, context.out_terminal()));
      return 0;
    }
    auto catalog = context.catalog();
    if (!catalog) return tl::unexpected<Error>(catalog.error());
    std::string need_text;
    const auto ask = ReadAsk(**catalog, &need_text);
    if (!ask) return tl::unexpected<Error>(ask.error());
    const auto advice = Advise(*ask, *rules);
    if (!advice) return tl::unexpected<Error>(advice.error());
    std::optional<WhyNot> why_not;
    if (!why_not_.empty()) {
      const auto mechanism = ParseMechanism(why_not_);
      if (!mechanism) return FailedWhile("--why-not", mechanism.error());
      auto reasons = ReasonsAgainst(*ask, *rules, *mechanism);
      if (!reasons) return tl::unexpected<Error>(reasons.error());
      why_not = WhyNot{*mechanism, std::move(*reasons)};
    }
    Answer answer = ViewAdvice(*ask, *advice, need_text, why_not,
                               context.format() == OutputFormat::kWide, context.out_terminal());
    if (advice->mechanism) {
      context.Print(answer);
      return 0;
    }
    // The path stays worth reading, so the answer is printed whole and the reason beside it.
    const Error error = NothingSatisfies(*ask, *advice);
    answer.json["error"] = ErrorDocument(error)["error"];
    context.Print(answer);
    context.SayError(error);
    return ExitCodeOf(error.code);
  }

 private:
  Result<AdviceAsk> ReadAsk(const Catalog& catalog, std::string* need_text) const {
    NumberOptions numbers;
    AdviceAsk ask;
    numbers.Require("--gpu", gpu_, "H100-SXM5-80GB");
    if (!gpu_.empty()) {
      const auto gpu = catalog.FindGpu(gpu_);
      if (gpu)
        ask.gpu = *gpu;
      else
        numbers.Add("--gpu: " + gpu.error().message, gpu.error().hint);
    }
    if (!kind_.empty()) {
      const auto kind = ParseWorkloadKind(kind_);
      if (kind)
        ask.kind = *kind;
      else
        numbers.Add("--kind: " + kind.error().message, kind.error().hint);
    }
    if (!isolation_.empty()) {
      ask.isolation = isolation_;
      if (!IsolationWordAxes(isolation_)) {
        const std::string meant = DidYouMean(isolation_, {"hardware", "process", "none"});
        numbers.Add(
            fmt::format("--isolation '{}' is none of hardware, process and none", isolation_),
            meant);
      }
    }
    if (!traffic_.empty() && traffic_ != "low" && traffic_ != "steady")
      numbers.Add(fmt::format("--traffic '{}' is neither low nor steady", traffic_));
    ask.steady = traffic_ == "steady";
    ask.gpus = numbers.Count("--tensor-parallel", tensor_parallel_, kMostGpus).value_or(1);
    ask.context = numbers.Count("--context", context_, kMaxTokens).value_or(0);
    ask.concurrency = numbers.Count("--concurrency", concurrency_, kMaxConcurrency).value_or(0);
    ask.latency_slo = numbers.Time("--latency-slo", latency_);
    ask.sm_utilization = numbers.Share("--sm-utilization", sm_);
    ask.trusted = trusted_;
    ask.speculative = speculative_;
    ask.virtual_machines = virtual_machines_;
    ask.mig_locked = mig_locked_;
    ask.resized = resized_;
    ask.interruptible = interruptible_;
    ReadNeed(catalog, &ask, need_text, &numbers);
    if (auto ok = numbers.status(); !ok) return tl::unexpected<Error>(ok.error());
    return ask;
  }

  void ReadNeed(const Catalog& catalog, AdviceAsk* ask, std::string* need_text,
                NumberOptions* numbers) const {
    const auto memory = numbers->Size("--memory", memory_);
    if (memory) {
      // As in specs: of one replica, on each of its GPUs.
      ask->need = [bytes = *memory](Bytes, int) { return bytes; };
    }
    const int given = !memory_.empty() + !model_.empty() + !parameters_.empty();
    if (given > 1) numbers->Add("only one of --memory, --model and --parameters says the need");
    if (model_.empty() && parameters_.empty()) {
      if (!precision_.empty())
        numbers->Add("--precision without a model", "--model llama-3.1-8b, or --parameters 8B");
      return;
    }
    ModelAsk model;
    const CatalogModel* known = nullptr;
    if (!model_.empty()) {
      const auto found = catalog.FindModel(model_);
      if (!found) return numbers->Add("--model: " + found.error().message, found.error().hint);
      known = *found;
      model.name = known->name;
      model.precision = known->dtype;
    } else {
      model.parameters = CountOf(parameters_);
      if (!model.parameters) {
        return numbers->Add(fmt::format("--parameters '{}' is no count of parameters", parameters_),
                            "write 7B, 350M or 8030000000");
      }
    }
    if (!precision_.empty()) {
      model.precision = precision_;
      if (std::find(kPrecisions.begin(), kPrecisions.end(), precision_) == kPrecisions.end()) {
        const std::string meant = DidYouMean(precision_, {kPrecisions.begin(), kPrecisions.end()});
        return numbers->Add(
            fmt::format("--precision '{}' is not known", precision_),
            meant.empty() ? fmt::format("one of {}", fmt::join(kPrecisions, ", ")) : meant);
      }
    }
    ServingEngine engine = ServingEngine::kVllm;
    if (!engine_.empty()) {
      const auto parsed = ParseServingEngine(engine_);
      if (!parsed) return numbers->Add("--engine: " + parsed.error().message, parsed.error().hint);
      engine = *parsed;
    }
    model.context = ask->context > 0 ? ask->context : kDefaultContext;
    model.concurrency = std::max(1, ask->concurrency);
    ask->divisible = true;
    ask->need = NeedOfModel(model, engine, known);
    *need_text = NeedText(model, engine);
  }

  std::string gpu_, kind_, isolation_, memory_, model_, parameters_, precision_, context_;
  std::string concurrency_, engine_, tensor_parallel_, latency_, sm_, traffic_, why_not_;
  bool trusted_ = false, speculative_ = false, virtual_machines_ = false;
  bool mig_locked_ = false, resized_ = false, interruptible_ = false, tree_ = false;
};

}  // namespace

std::unique_ptr<Verb> MakeAdviseVerb() { return std::make_unique<AdviseVerb>(); }

}  // namespace tranche
