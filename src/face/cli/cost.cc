#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/suggest.h"
#include "face/cli/context.h"
#include "face/cli/cost_view.h"
#include "face/cli/number_options.h"
#include "face/cli/price_files.h"
#include "face/cli/verb.h"
#include "model/spec_rules.h"

namespace tranche {
namespace {

constexpr int kMostCount = 1000000;

struct Question {
  const char* name;
  const char* options;  // those it takes besides prices, each between spaces
};

// Every question may be asked with a price of its own or with those of a file.
constexpr const char* kPriceOptions =
    " --price-per-hour --prices --provider --region --spot --currency --gpu ";
constexpr std::array<Question, 6> kQuestions = {
    {{"prices", " "},
     {"tokens", " --tokens-per-second --tenants --utilization "},
     {"share", " --gpus --tenants --mechanism --overhead --utilization "},
     {"slice", " "},
     {"compare",
      " --spot-price-per-hour --workloads --memory --tenants --mechanism --hours-per-month "},
     {"break-even",
      " --tokens-per-second --shared-tokens-per-second --tenants --mechanism --overhead "
      "--traffic "}}};

class CostVerb final : public Verb {
 public:
  Info info() const override {
    return {"cost",
            "Says what GPUs, slices, workloads and tokens cost, shared and not",
            {"tranche cost tokens --price-per-hour 2.01 --tokens-per-second 4000",
             "tranche cost share --gpus 10 --price-per-hour 3.50 --tenants 4 --mechanism "
             "time-slicing",
             "tranche cost slice --gpu H100-PCIE-80GB --price-per-hour 2.01",
             "tranche cost compare --gpu A100-SXM4-80GB --price-per-hour 3.25 --workloads 4 "
             "--memory 8GiB",
             "tranche cost break-even --price-per-hour 2.01 --tokens-per-second 4000 --tenants 3 "
             "--shared-tokens-per-second 1100",
             "tranche cost prices --prices vms.csv"},
            "A price is what is given with --price-per-hour, or the lowest of --gpu in a price "
            "list: --prices FILE or folder, else prices.csv, prices.json or the folder prices in "
            "the configuration directory. Lists of SkyPilot and gpuhunt are read as they are; "
            "one's own is a CSV with the columns gpu and price_per_hour."};
  }

  void Declare(Arguments& arguments) override {
    arguments.Positional("WHAT", what_, "prices, tokens, share, slice, compare or break-even", true)
        .Option("--gpu", "GPU", gpu_, "which GPU")
        .Option("--price-per-hour", "PRICE", price_, "of one GPU")
        .Option("--spot-price-per-hour", "PRICE", spot_price_, "of 'compare': the same, on spot")
        .Option("--prices", "PATH", prices_, "a price list, or a folder of them")
        .Option("--provider", "NAME", provider_, "only its prices")
        .Option("--region", "NAME", region_, "only prices of this region")
        .Flag("--spot", spot_, "the spot price of the list")
        .Option("--currency", "CODE", currency_, "of prices given here (USD)")
        .Option("--gpus", "N", gpus_, "of 'share': how many GPUs")
        .Option("--tenants", "N", tenants_, "workloads on one GPU")
        .Option("--mechanism", "MECHANISM", mechanism_, "how they share it")
        .Option("--overhead", "SHARE", overhead_,
                "what sharing takes of the throughput (default: the mechanism's)")
        .Option("--utilization", "SHARE", utilization_,
                "of 'tokens': part of the time that it works; of 'share': what one tenant wants")
        .Option("--tokens-per-second", "N", tokens_, "on a GPU of its own; of 'tokens': made")
        .Option("--shared-tokens-per-second", "N", shared_tokens_, "of 'break-even': in one part")
        .Option("--traffic", "N", traffic_, "of 'break-even': at this many tokens per second")
        .Option("--workloads", "N", workloads_, "of 'compare': how many")
        .Option("--memory", "SIZE", memory_, "of 'compare': of one workload")
        .Option("--hours-per-month", "N", hours_, "of 'compare' (730)");
  }

  Result<int> Run(Context& context) override {
    if (auto ok = CheckQuestion(); !ok) return tl::unexpected<Error>(ok.error());
    auto catalog = context.catalog();
    if (!catalog) return tl::unexpected<Error>(catalog.error());
    catalog_ = *catalog;
    auto answer = Ask(context);
    if (!answer) return tl::unexpected<Error>(answer.error());
    context.Print(*answer);
    return 0;
  }

 private:
  // The question is known and is given nothing that belongs to another.
  Status CheckQuestion() const {
    const auto question =
        std::find_if(kQuestions.begin(), kQuestions.end(),
                     [this](const Question& known) { return what_ == known.name; });
    if (question == kQuestions.end()) {
      std::vector<std::string> names;
      for (const Question& known : kQuestions) names.emplace_back(known.name);
      const std::string meant = DidYouMean(what_, names);
      return Fail(ErrorCode::kInvalid, "cost does not know '" + what_ + "'",
                  meant.empty() ? fmt::format("it knows {}", fmt::join(names, ", ")) : meant);
    }
    const std::string allowed = std::string(kPriceOptions) + question->options;
    NumberOptions mistakes;
    for (const auto& [option, text] : Given()) {
      if (!text->empty() && allowed.find(fmt::format(" {} ", option)) == std::string::npos) {
        mistakes.Add(fmt::format("'cost {}' takes no {}", what_, option), "tranche help cost");
      }
    }
    if (!currency_.empty() && !IsCurrency(currency_)) {
      mistakes.Add(fmt::format("--currency '{}' is not three capital letters", currency_),
                   "--currency EUR");
    }
    return mistakes.status();
  }

  std::vector<std::pair<const char*, const std::string*>> Given() const {
    return {{"--gpus", &gpus_},
            {"--tenants", &tenants_},
            {"--mechanism", &mechanism_},
            {"--overhead", &overhead_},
            {"--utilization", &utilization_},
            {"--tokens-per-second", &tokens_},
            {"--shared-tokens-per-second", &shared_tokens_},
            {"--traffic", &traffic_},
            {"--workloads", &workloads_},
            {"--memory", &memory_},
            {"--hours-per-month", &hours_},
            {"--spot-price-per-hour", &spot_price_}};
  }

  Result<Answer> Ask(Context& context) {
    if (what_ == "prices") return Prices(context);
    if (what_ == "tokens") return Tokens(context);
    if (what_ == "share") return Share(context);
    if (what_ == "slice") return Slice(context);
    if (what_ == "compare") return Compare(context);
    return Even(context);
  }

  std::string currency() const {
    if (!currency_.empty()) return currency_;
    return list_ ? list_->currency : "USD";
  }

  // The price list that was named, else the one of this machine; read once.
  Status LoadList(Context& context) {
    auto list = prices_.empty() ? LoadConfiguredPrices(context.world().configurations, *catalog_)
                                : LoadPrices(prices_, *catalog_);
    if (!list) return tl::unexpected<Error>(list.error());
    if (!list->prices.empty() && !currency_.empty() && currency_ != list->currency) {
      return Fail(ErrorCode::kInvalid,
                  fmt::format("the price list is in {}, not in {}", list->currency, currency_),
                  "Tranche does not convert money");
    }
    list_ = std::move(*list);
    return {};
  }

  Result<const CatalogGpu*> Gpu() const {
    if (gpu_.empty()) {
      return Fail(ErrorCode::kInvalid, "which GPU is not said", "--gpu H100-SXM5-80GB");
    }
    return catalog_->FindGpu(gpu_);
  }

  Result<KnownPrice> FromList(const CatalogGpu& gpu, bool spot) const {
    const auto price = FindPrice(*list_, {gpu.key, spot, provider_, region_});
    if (!price) return tl::unexpected<Error>(price.error());
    return KnownPrice{price->per_hour, price->source};
  }

  // The price of one GPU that a question is asked with.
  Result<KnownPrice> PriceOf(Context& context, NumberOptions* numbers) {
    const auto given = numbers->Positive("--price-per-hour", price_, kMaxPrice);
    if (!price_.empty()) return KnownPrice{given.value_or(1), ""};
    if (gpu_.empty()) {
      numbers->Add("no price: neither --price-per-hour nor --gpu is given",
                   "--price-per-hour 2.01, or --gpu H100-SXM5-80GB with --prices FILE");
      return KnownPrice{1, ""};
    }
    const auto gpu = Gpu();
    if (!gpu) return tl::unexpected<Error>(gpu.error());
    if (auto ok = LoadList(context); !ok) return tl::unexpected<Error>(ok.error());
    return FromList(**gpu, spot_);
  }

  std::optional<Mechanism> ReadMechanism(NumberOptions* numbers) const {
    if (mechanism_.empty()) return std::nullopt;
    const auto parsed = ParseMechanism(mechanism_);
    if (parsed) return *parsed;
    numbers->Add("--mechanism: " + parsed.error().message, parsed.error().hint);
    return std::nullopt;
  }

  // What is left of a GPU's throughput, as the user or the mechanism says.
  double Throughput(const SharingOverheads& overheads, Mechanism mechanism,
                    NumberOptions* numbers) const {
    // 0 is the one overhead that is no share.
    if (overhead_ == "0" || overhead_ == "0%") return 1;
    const auto overhead = numbers->Share("--overhead", overhead_);
    if (overhead && *overhead >= 1) {
      numbers->Add(fmt::format("--overhead {} leaves nothing", overhead_));
      return 1;
    }
    return overhead ? 1 - *overhead : overheads.Of(mechanism).throughput;
  }

  Result<Answer> Prices(Context& context) {
    if (!price_.empty()) {
      return Fail(ErrorCode::kInvalid, "'cost prices' takes no --price-per-hour");
    }
    if (auto ok = LoadList(context); !ok) return tl::unexpected<Error>(ok.error());
    if (list_->prices.empty()) {
      return Fail(
          ErrorCode::kNotFound, "no price list",
          "name one with --prices FILE, or put prices.csv into the configuration directory");
    }
    std::string key;
    if (!gpu_.empty()) {
      const auto gpu = Gpu();
      if (!gpu) return tl::unexpected<Error>(gpu.error());
      key = (*gpu)->key;
    }
    const auto unwanted = [&](const Price& price) {
      return (!key.empty() && price.gpu != key) || (spot_ && !price.spot) ||
             (!provider_.empty() && price.provider != provider_) ||
             (!region_.empty() && price.region != region_);
    };
    auto& prices = list_->prices;
    prices.erase(std::remove_if(prices.begin(), prices.end(), unwanted), prices.end());
    return ViewPrices(*list_);
  }

  Result<Answer> Tokens(Context& context) {
    NumberOptions numbers;
    TokensCost cost;
    numbers.Require("--tokens-per-second", tokens_, "4000");
    cost.tokens_per_second = numbers.Positive("--tokens-per-second", tokens_).value_or(1);
    cost.utilization = numbers.Share("--utilization", utilization_).value_or(1);
    cost.tenants = numbers.Count("--tenants", tenants_, kMostCount).value_or(1);
    const auto price = PriceOf(context, &numbers);
    if (auto ok = numbers.status(); !ok) return tl::unexpected<Error>(ok.error());
    if (!price) return tl::unexpected<Error>(price.error());
    cost.price = *price;
    const auto million = CostPerMillionTokens(price->per_hour / cost.tenants,
                                              cost.tokens_per_second, cost.utilization);
    if (!million) return tl::unexpected<Error>(million.error());
    cost.cost_per_million = *million;
    return ViewTokensCost(cost, currency());
  }

  Result<Answer> Share(Context& context) {
    const auto overheads = SharingOverheads::Load();
    if (!overheads) return tl::unexpected<Error>(overheads.error());
    NumberOptions numbers;
    ShareAsk ask;
    numbers.Require("--tenants", tenants_, "4");
    numbers.Require("--mechanism", mechanism_, "time-slicing");
    ask.gpus = numbers.Count("--gpus", gpus_, kMostCount).value_or(1);
    ask.tenants = numbers.Count("--tenants", tenants_, 1000).value_or(1);
    ask.mechanism = ReadMechanism(&numbers).value_or(Mechanism::kTimeSlicing);
    ask.utilization = numbers.Share("--utilization", utilization_);
    ask.throughput = Throughput(*overheads, ask.mechanism, &numbers);
    const auto price = PriceOf(context, &numbers);
    if (auto ok = numbers.status(); !ok) return tl::unexpected<Error>(ok.error());
    if (!price) return tl::unexpected<Error>(price.error());
    ask.price_per_hour = price->per_hour;
    const auto cost = CostOfSharing(ask);
    if (!cost) return tl::unexpected<Error>(cost.error());
    return ViewShareCost(ask, *cost, overheads->Of(ask.mechanism), *price, currency());
  }

  Result<Answer> Slice(Context& context) {
    const auto gpu = Gpu();
    if (!gpu) return tl::unexpected<Error>(gpu.error());
    NumberOptions numbers;
    const auto price = PriceOf(context, &numbers);
    if (auto ok = numbers.status(); !ok) return tl::unexpected<Error>(ok.error());
    if (!price) return tl::unexpected<Error>(price.error());
    const auto slices = CostOfSlices(**gpu, price->per_hour);
    if (!slices) return tl::unexpected<Error>(slices.error());
    return ViewSliceCosts(**gpu, *slices, *price, currency());
  }

  Result<Answer> Compare(Context& context) {
    const auto overheads = SharingOverheads::Load();
    if (!overheads) return tl::unexpected<Error>(overheads.error());
    NumberOptions numbers;
    CompareAsk ask;
    numbers.Require("--workloads", workloads_, "4");
    numbers.Require("--memory", memory_, "8GiB");
    ask.workloads = numbers.Count("--workloads", workloads_, kMostCount).value_or(1);
    ask.memory = numbers.Size("--memory", memory_).value_or(GiB(1));
    ask.tenants = numbers.Count("--tenants", tenants_, 1000);
    ask.hours_per_month = numbers.Positive("--hours-per-month", hours_, 744).value_or(730);
    ask.price_per_hour = numbers.Positive("--price-per-hour", price_, kMaxPrice);
    ask.spot_price_per_hour = numbers.Positive("--spot-price-per-hour", spot_price_, kMaxPrice);
    if (const auto mechanism = ReadMechanism(&numbers)) ask.mechanisms = {*mechanism};
    if (auto ok = numbers.status(); !ok) return tl::unexpected<Error>(ok.error());

    auto gpus = GpusToCompare(context, ask);
    if (!gpus) return tl::unexpected<Error>(gpus.error());
    std::vector<GpuComparison> comparisons;
    for (const CatalogGpu* gpu : *gpus) {
      CompareAsk one = ask;
      one.gpu = gpu;
      if (list_ && !one.price_per_hour && !one.spot_price_per_hour) {
        if (const auto price = FromList(*gpu, false)) one.price_per_hour = price->per_hour;
        if (const auto price = FromList(*gpu, true)) one.spot_price_per_hour = price->per_hour;
      }
      auto comparison = CompareSharing(one, *overheads);
      if (comparison) {
        comparisons.push_back({gpu->key, std::move(*comparison)});
      } else if (gpus->size() == 1) {
        return tl::unexpected<Error>(comparison.error());
      }
    }
    if (comparisons.empty()) {
      return Fail(ErrorCode::kDoesNotFit,
                  fmt::format("no priced GPU holds a workload of {}", FormatBytes(ask.memory)),
                  "'tranche cost prices' lists what has a price");
    }
    return ViewComparison(comparisons, ask, currency());
  }

  // The GPU that was named, or all that have a price.
  Result<std::vector<const CatalogGpu*>> GpusToCompare(Context& context, const CompareAsk& ask) {
    const bool priced_here = ask.price_per_hour || ask.spot_price_per_hour;
    if (!priced_here) {
      if (auto ok = LoadList(context); !ok) return tl::unexpected<Error>(ok.error());
    }
    if (!gpu_.empty() || priced_here) {
      const auto gpu = Gpu();
      if (!gpu) return tl::unexpected<Error>(gpu.error());
      if (!priced_here && !FromList(**gpu, false) && !FromList(**gpu, true)) {
        return tl::unexpected<Error>(FromList(**gpu, false).error());
      }
      return std::vector<const CatalogGpu*>{*gpu};
    }
    std::vector<const CatalogGpu*> gpus;
    for (const CatalogGpu& gpu : catalog_->gpus()) {
      if (FromList(gpu, false) || FromList(gpu, true)) gpus.push_back(&gpu);
    }
    if (gpus.empty()) {
      return Fail(ErrorCode::kInvalid, "no price of any GPU is known",
                  "--gpu A100-SXM4-80GB --price-per-hour 3.25, or --prices FILE");
    }
    return gpus;
  }

  Result<Answer> Even(Context& context) {
    const auto overheads = SharingOverheads::Load();
    if (!overheads) return tl::unexpected<Error>(overheads.error());
    NumberOptions numbers;
    BreakEvenAsk ask;
    numbers.Require("--tokens-per-second", tokens_, "4000");
    numbers.Require("--tenants", tenants_, "3");
    if (shared_tokens_.empty() && mechanism_.empty()) {
      numbers.Add("neither --shared-tokens-per-second nor --mechanism is given",
                  "--shared-tokens-per-second 1100 when it was measured, else --mechanism mig");
    }
    ask.tokens_per_second = numbers.Positive("--tokens-per-second", tokens_).value_or(1);
    ask.tenants = numbers.Count("--tenants", tenants_, 1000).value_or(2);
    const Mechanism mechanism = ReadMechanism(&numbers).value_or(Mechanism::kExclusive);
    const double throughput = Throughput(*overheads, mechanism, &numbers);
    ask.shared_tokens_per_second = numbers.Positive("--shared-tokens-per-second", shared_tokens_)
                                       .value_or(ask.tokens_per_second * throughput / ask.tenants);
    const auto traffic = numbers.Positive("--traffic", traffic_);
    const auto price = PriceOf(context, &numbers);
    if (auto ok = numbers.status(); !ok) return tl::unexpected<Error>(ok.error());
    if (!price) return tl::unexpected<Error>(price.error());
    ask.price_per_hour = price->per_hour;
    const auto found = FindBreakEven(ask);
    if (!found) return tl::unexpected<Error>(found.error());
    std::optional<TrafficCost> at;
    if (traffic) at = CostAtTraffic(ask, *traffic);
    return ViewBreakEven(ask, *found, *price, at, currency());
  }

  std::string what_, gpu_, price_, spot_price_, prices_, provider_, region_, currency_;
  std::string gpus_, tenants_, mechanism_, overhead_, utilization_;
  std::string tokens_, shared_tokens_, traffic_, workloads_, memory_, hours_;
  bool spot_ = false;
  std::shared_ptr<const Catalog> catalog_;
  std::optional<PriceList> list_;
};

}  // namespace

std::unique_ptr<Verb> MakeCostVerb() { return std::make_unique<CostVerb>(); }

}  // namespace tranche
