#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/suggest.h"
#include "face/cli/context.h"
#include "face/cli/files.h"
#include "face/cli/number_options.h"
#include "face/cli/simulate_costs.h"
#include "face/cli/simulate_requests.h"
#include "face/cli/simulate_view.h"
#include "face/cli/verb.h"
#include "stage/simulate/chart.h"
#include "stage/simulate/compare.h"
#include "stage/simulate/mig_fleet.h"
#include "stage/simulate/trace.h"

namespace tranche {
namespace {

using simulate::CompareOptions;
using simulate::Fleet;
using simulate::TracePod;

constexpr size_t kLargestTrace = size_t{64} << 20;
constexpr uint64_t kMostSeeds = 1000;
constexpr double kMostLoad = 100;
constexpr int kMostArrivals = 10'000'000;
constexpr double kMostWatts = 10000;
constexpr int kMostNodes = 100000;
constexpr int kMostByDefault = 1024;
constexpr double kDay = 86400;
constexpr double kMeanRuns = 3600;  // seconds, of lifetimes that are drawn

// Parts between commas.
std::vector<std::string> SplitList(const std::string& text) {
  std::vector<std::string> parts;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size());
    parts.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return parts;
}

std::optional<uint64_t> WholeNumber(const std::string& text) {
  uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (text.empty() || error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

// "42-51", "42,44,50-59".
std::vector<uint64_t> ReadSeeds(const std::string& text, NumberOptions* mistakes) {
  std::vector<uint64_t> seeds;
  for (const std::string& part : SplitList(text)) {
    const size_t dash = part.find('-');
    const auto first = WholeNumber(part.substr(0, dash));
    const auto last = dash == std::string::npos ? first : WholeNumber(part.substr(dash + 1));
    if (!first || !last || *last < *first) {
      mistakes->Add(fmt::format("--seeds '{}' is neither a number nor a range", part),
                    "--seeds 42-51");
      return seeds;
    }
    if (*last - *first >= kMostSeeds - std::min<uint64_t>(seeds.size(), kMostSeeds)) {
      mistakes->Add(fmt::format("--seeds: more than {} seeds", kMostSeeds), "--seeds 42-51");
      return seeds;
    }
    for (uint64_t seed = *first; seed <= *last; ++seed) seeds.push_back(seed);
  }
  return seeds;
}

std::vector<std::string> ReadPolicies(const std::string& text, NumberOptions* mistakes) {
  std::vector<std::string> policies;
  for (const std::string& name : SplitList(text)) {
    const auto& known = simulate::PolicyNames();
    if (std::find(known.begin(), known.end(), name) == known.end()) {
      const std::string meant = DidYouMean(name, known);
      mistakes->Add(fmt::format("--policy: there is no policy '{}'{}", name,
                                meant.empty() ? "" : ", " + meant),
                    fmt::format("there are {}", fmt::join(known, ", ")));
    } else if (std::find(policies.begin(), policies.end(), name) == policies.end()) {
      policies.push_back(name);
    }
  }
  return policies;
}

// How far a long run is: redrawn on a terminal; elsewhere a line now and then. Nothing in the first
// second.
class Progress {
 public:
  explicit Progress(Context& context)
      : context_(context), begin_(context.world().clock->Monotonic()) {}
  ~Progress() {
    if (shown_) context_.Redraw("");
  }
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void operator()(const std::string& policy, size_t done, size_t all) {
    const Duration now = context_.world().clock->Monotonic() - begin_;
    if (now < std::chrono::seconds(1)) return;
    const std::string line = all > 0 ? fmt::format("replayed {} of {}, now {}", done, all, policy)
                                     : fmt::format("simulated {}, now {}", done, policy);
    if (context_.err_terminal().can_redraw()) {
      context_.Redraw(line);
    } else if (!shown_ || now - last_ >= std::chrono::seconds(5)) {
      context_.Say(line);
      last_ = now;
    }
    shown_ = true;
  }

 private:
  Context& context_;
  Duration begin_;
  Duration last_{0};
  bool shown_ = false;
};

class SimulateVerb final : public Verb {
 public:
  Info info() const override {
    return {
        "simulate",
        "Replays workloads on a cluster that need not exist, or requests to model servers",
        {"tranche simulate --nodes nodes.csv --pods pods.csv --policy fgd,tranche --seeds 42-51",
         "tranche simulate --nodes nodes.csv --pods pods.csv --departures --inflate 0.95",
         "tranche simulate --nodes nodes.csv --pods pods.csv --timeline --html out.html",
         "tranche simulate --nodes kinds.csv --pods pods.csv --find-capacity --wait-slo 5m",
         "tranche simulate --rate 20 --model llama-3.1-8b --gpu L40S,H100-SXM5-80GB --ttft 500ms "
         "--find-capacity"},
        "Nodes have the columns sn,cpu_milli,memory_mib,gpu,model; pods name,cpu_milli,"
        "memory_mib,num_gpu,gpu_milli and perhaps gpu_spec: the format of the public openb "
        "traces. A pod with a mig_profile wants an instance of it; one that is preemptible "
        "gives way to others. For each seed the pods come in another order, as many as --inflate "
        "says, and "
        "what finds no room is dropped. Policies: random, dotprod, clustering, packing, "
        "bestfit and fgd as published, and tranche, our own, which learns from what comes."};
  }

  void Declare(Arguments& arguments) override {
    arguments.Option("--nodes", "FILE", nodes_, "the nodes (CSV)")
        .Option("--pods", "FILE", pods_, "the workloads (CSV)")
        .Option("--policy", "NAMES", policies_, "which policies, between commas (fgd,tranche)")
        .Option("--seeds", "SEEDS", seeds_, "42-51 or 1,2,3 (42)")
        .Option("--inflate", "RATIO", inflate_,
                "GPU asked for, as a multiple of what there is (1.3; 1.1 with --departures)")
        .Flag("--departures", departures_, "workloads also leave")
        .Option("--arrivals", "N", arrivals_, "with --departures: how many come (30000)")
        .Option("--repack", "SHARE", repack_, "of the running workloads, so many may be moved")
        .Flag("--timeline", timeline_,
              "by the clock: who finds no room waits; with the trace's own times, or --departures")
        .Option("--html", "FILE", html_, "with --timeline: charts, in one page")
        .Option("--patience", "DURATION", patience_,
                "with --timeline: waits at most so long (as long as it takes)")
        .Option("--wait-slo", "DURATION", wait_slo_, "with --timeline: waiting longer is a miss")
        .Option("--lease", "DURATION", lease_,
                "with --timeline: nobody stays longer at once; who has not ended waits again")
        .Option("--layouts", "WHEN", layouts_,
                "with --timeline: MIG as workloads come (policy), or fixed ahead: daily, 12h")
        .Option("--mtbf", "DURATION", mtbf_, "with --timeline: a node fails after so long")
        .Option("--gpu-mtbf", "DURATION", gpu_mtbf_,
                "with --timeline: each GPU fails after so long")
        .Option("--repair", "DURATION", repair_, "with these two: and is back after so long (1h)")
        .Option("--checkpoint", "DURATION", checkpoint_,
                "with --timeline: what is interrupted loses no more than so much of its work")
        .Option("--price-per-hour", "PRICE", price_, "with --timeline: of each GPU that is there")
        .Option("--prices", "FILE", prices_, "the same by model of GPU")
        .Option("--idle-watts", "W", idle_watts_, "with --timeline: of a GPU that does nothing")
        .Option("--busy-watts", "W", busy_watts_,
                "with --idle-watts: of one that is fully used (what its model may draw)")
        .Flag("--find-capacity", find_capacity_,
              "how many nodes of which kind, or replicas on which GPU, hold it")
        .Option("--may-miss", "SHARE", may_miss_,
                "with --find-capacity: so many may miss their objective (1%)")
        .Option("--max-allocation", "SHARE", max_allocation_,
                "with --find-capacity: no more of the GPUs in use, on average over time")
        .Option("--most", "N", most_, "with --find-capacity: nodes or replicas to try (1024)");
    DeclareRequests(&arguments, &requests_);
  }

  Result<int> Run(Context& context) override {
    NumberOptions numbers;
    ReadCapacity(&numbers);
    if (requests_.asked()) return RunRequests(context, &numbers);
    RefuseRequestOptions(requests_, &numbers);
    numbers.Require("--nodes", nodes_, "--nodes nodes.csv");
    numbers.Require("--pods", pods_, "--pods pods.csv");
    CompareOptions options;
    const std::string by_default = find_capacity_ ? "tranche" : "fgd,tranche";
    options.policies = ReadPolicies(policies_.empty() ? by_default : policies_, &numbers);
    if (find_capacity_ && options.policies.size() > 1) {
      numbers.Add("--find-capacity is about one policy", "--policy tranche");
    }
    if (find_capacity_ && wait_slo_.empty() && max_allocation_.empty()) {
      numbers.Add("--find-capacity needs something to hold to", "--wait-slo 5m");
    }
    if (find_capacity_ && !html_.empty()) numbers.Add("--html does not go with --find-capacity");
    options.seeds = ReadSeeds(seeds_, &numbers);
    options.departures = departures_;
    options.load =
        numbers.Positive("--inflate", inflate_, kMostLoad).value_or(departures_ ? 1.1 : 1.3);
    if (!arrivals_.empty() && !departures_) {
      numbers.Add("--arrivals is of --departures only", "--inflate says how many come");
    }
    options.arrivals =
        numbers.Count("--arrivals", arrivals_, kMostArrivals).value_or(options.arrivals);
    options.repack = numbers.Share("--repack", repack_).value_or(0);
    const simulate::TimelineOptions timing = ReadTiming(&numbers);
    if (by_the_clock() && options.repack > 0) {
      numbers.Add("--repack does not go with --timeline", "leave one of them out");
    }
    if (by_the_clock() && !departures_ && !inflate_.empty()) {
      numbers.Add("--inflate does not change a trace's own times",
                  "add --departures to have workloads drawn instead");
    }
    const auto loaded = context.catalog();
    if (!loaded) return tl::unexpected<Error>(loaded.error());
    const std::optional<Fleet> fleet = ReadNodes(**loaded, &numbers);
    const auto pods = ReadPods(fleet, &numbers);
    if (const Status status = numbers.status(); !status) {
      return tl::unexpected<Error>(status.error());
    }

    if (by_the_clock()) return RunTimeline(context, *fleet, *pods, options, timing);
    std::vector<simulate::PolicyOutcome> outcomes;
    {
      Progress progress(context);
      outcomes = simulate::ComparePolicies(*fleet, *pods, options, *context.world().clock,
                                           std::ref(progress));
    }
    context.Print(ViewComparison(*fleet, *pods, options, outcomes));
    return 0;
  }

 private:
  std::optional<Fleet> ReadNodes(const Catalog& catalog, NumberOptions* mistakes) const {
    if (nodes_.empty()) return std::nullopt;
    const auto text = ReadWholeFile(nodes_, kLargestTrace);
    auto fleet = text ? simulate::ParseNodes(*text, nodes_) : tl::unexpected<Error>(text.error());
    if (!fleet) {
      mistakes->Add(fleet.error().message, fleet.error().hint);
      return std::nullopt;
    }
    simulate::AddMig(catalog, &*fleet);
    return std::move(*fleet);
  }

  // Without a fleet only whether they can be read is seen.
  std::optional<std::vector<TracePod>> ReadPods(const std::optional<Fleet>& fleet,
                                                NumberOptions* mistakes) const {
    if (pods_.empty()) return std::nullopt;
    const auto text = ReadWholeFile(pods_, kLargestTrace);
    if (text && !fleet) return std::nullopt;
    auto pods =
        text ? simulate::ParsePods(*text, pods_, *fleet) : tl::unexpected<Error>(text.error());
    if (pods) return std::move(*pods);
    mistakes->Add(pods.error().message, pods.error().hint);
    return std::nullopt;
  }

  // Capacity is found by simulating what happens over time.
  bool by_the_clock() const { return timeline_ || find_capacity_; }

  void ReadCapacity(NumberOptions* numbers) {
    if (!find_capacity_) {
      for (const auto& [option, text] :
           {std::pair{"--may-miss", &may_miss_}, std::pair{"--max-allocation", &max_allocation_},
            std::pair{"--most", &most_}}) {
        if (!text->empty()) numbers->Add(fmt::format("{} is of --find-capacity only", option));
      }
    }
    target_.may_miss = numbers->Share("--may-miss", may_miss_).value_or(target_.may_miss);
    target_.most_allocation = numbers->Share("--max-allocation", max_allocation_);
    most_count_ = numbers->Count("--most", most_, kMostNodes).value_or(kMostByDefault);
  }

  Result<int> RunRequests(Context& context, NumberOptions* numbers) {
    const std::pair<const char*, bool> of_pods[] = {{"--nodes", !nodes_.empty()},
                                                    {"--pods", !pods_.empty()},
                                                    {"--policy", !policies_.empty()},
                                                    {"--departures", departures_},
                                                    {"--arrivals", !arrivals_.empty()},
                                                    {"--repack", !repack_.empty()},
                                                    {"--timeline", timeline_},
                                                    {"--patience", !patience_.empty()},
                                                    {"--wait-slo", !wait_slo_.empty()},
                                                    {"--lease", !lease_.empty()},
                                                    {"--layouts", !layouts_.empty()},
                                                    {"--gpu-mtbf", !gpu_mtbf_.empty()},
                                                    {"--checkpoint", !checkpoint_.empty()},
                                                    {"--max-allocation", !max_allocation_.empty()}};
    for (const auto& [option, given] : of_pods) {
      if (given) numbers->Add(fmt::format("{} is not about requests", option));
    }
    RequestsSetting setting;
    const auto seeds = ReadSeeds(seeds_, numbers);
    if (seeds.size() > 1) numbers->Add("requests are replayed for one seed", "--seeds 42");
    if (!seeds.empty()) setting.seed = seeds.front();
    setting.inflate = numbers->Positive("--inflate", inflate_, kMostLoad).value_or(1);
    const auto seconds = [&](const char* option, const std::string& text) {
      const auto time = numbers->Time(option, text);
      return time ? std::optional(std::chrono::duration<double>(*time).count()) : std::nullopt;
    };
    setting.mtbf = seconds("--mtbf", mtbf_);
    setting.repair = seconds("--repair", repair_).value_or(setting.repair);
    if (!repair_.empty() && mtbf_.empty()) numbers->Add("--repair needs --mtbf");
    ReadCosts(numbers);
    setting.html = html_;
    setting.find_capacity = find_capacity_;
    setting.may_miss = target_.may_miss;
    setting.most = most_count_;
    setting.costs = costs_;
    return SimulateRequests(context, requests_, std::move(setting), numbers);
  }

  simulate::TimelineOptions ReadTiming(NumberOptions* numbers) {
    simulate::TimelineOptions timing;
    if (!by_the_clock()) {
      const std::pair<const char*, const std::string*> of_timeline[] = {
          {"--html", &html_},
          {"--patience", &patience_},
          {"--wait-slo", &wait_slo_},
          {"--lease", &lease_},
          {"--layouts", &layouts_},
          {"--mtbf", &mtbf_},
          {"--gpu-mtbf", &gpu_mtbf_},
          {"--repair", &repair_},
          {"--checkpoint", &checkpoint_},
          {"--price-per-hour", &price_},
          {"--prices", &prices_},
          {"--idle-watts", &idle_watts_},
          {"--busy-watts", &busy_watts_}};
      for (const auto& [option, text] : of_timeline) {
        if (!text->empty()) numbers->Add(fmt::format("{} is of --timeline only", option));
      }
      return timing;
    }
    const auto seconds = [&](const char* option, const std::string& text) {
      std::optional<double> value;
      if (const auto time = numbers->Time(option, text)) {
        value = std::chrono::duration<double>(*time).count();
      }
      return value;
    };
    timing.patience = seconds("--patience", patience_);
    timing.wait_slo = seconds("--wait-slo", wait_slo_);
    timing.lease = seconds("--lease", lease_);
    timing.checkpoint = seconds("--checkpoint", checkpoint_);
    if (layouts_ == "daily") {
      timing.layouts_for = kDay;
    } else if (layouts_ != "policy") {
      timing.layouts_for = seconds("--layouts", layouts_);
    }
    timing.mtbf = seconds("--mtbf", mtbf_);
    timing.gpu_mtbf = seconds("--gpu-mtbf", gpu_mtbf_);
    timing.repair = seconds("--repair", repair_).value_or(timing.repair);
    if (!repair_.empty() && mtbf_.empty() && gpu_mtbf_.empty()) {
      numbers->Add("--repair is of --mtbf and --gpu-mtbf only");
    }
    ReadCosts(numbers);
    return timing;
  }

  void ReadCosts(NumberOptions* numbers) {
    costs_.prices_file = prices_;
    costs_.price_per_hour = numbers->Positive("--price-per-hour", price_);
    costs_.idle_watts = numbers->Positive("--idle-watts", idle_watts_, kMostWatts);
    costs_.busy_watts = numbers->Positive("--busy-watts", busy_watts_, kMostWatts);
    if (!prices_.empty() && !price_.empty()) {
      numbers->Add("--prices and --price-per-hour are two ways to say the same");
    }
    if (idle_watts_.empty() && !busy_watts_.empty()) {
      numbers->Add("--busy-watts needs --idle-watts", "--idle-watts 60 --busy-watts 400");
    } else if (costs_.busy_watts && costs_.idle_watts && *costs_.busy_watts < *costs_.idle_watts) {
      numbers->Add("--busy-watts is below --idle-watts");
    }
  }

  Result<int> RunTimeline(Context& context, const Fleet& fleet, const std::vector<TracePod>& pods,
                          const CompareOptions& options, simulate::TimelineOptions timing) {
    const uint64_t seed = options.seeds.front();
    if (options.seeds.size() > 1) {
      return Fail(ErrorCode::kInvalid, "--timeline shows one seed", "--seeds 42");
    }
    const placement::Cluster cluster = simulate::ShuffledCluster(fleet, seed);
    const std::vector<simulate::TimedWorkload> workloads =
        departures_
            ? simulate::Paced(simulate::ComingAndGoing(pods, cluster.total_gpu_milli(),
                                                       options.load, options.arrivals, seed),
                              kMeanRuns)
            : simulate::TimesOf(pods);
    if (workloads.empty()) {
      return Fail(ErrorCode::kInvalid,
                  fmt::format("{} has no workload with creation_time and deletion_time", pods_),
                  "add --departures to have times drawn");
    }
    timing.seed = seed;
    const auto loaded = context.catalog();
    if (!loaded) return tl::unexpected<Error>(loaded.error());
    const auto costs = CostsOf(fleet.models, **loaded, &costs_);
    if (!costs) return tl::unexpected<Error>(costs.error());
    timing.costs = *costs;
    if (find_capacity_) return RunCapacity(context, fleet, pods, workloads, options, timing);
    const auto mix = simulate::MixOf(pods);
    const placement::Fragmentation fragmentation(mix);
    std::vector<simulate::NamedTimeline> timelines;
    {
      Progress progress(context);
      for (const std::string& policy : options.policies) {
        progress(policy, timelines.size(), options.policies.size());
        placement::Scheduler scheduler(cluster, simulate::MakePolicy(policy, cluster, mix, seed));
        timelines.push_back(
            {policy, simulate::Simulate(scheduler, workloads, fragmentation, timing)});
      }
    }
    const Answer answer = ViewTimelines(fleet, workloads.size(), timelines);
    if (!html_.empty()) {
      const std::string title =
          fmt::format("{} workloads on {} nodes", workloads.size(), fleet.nodes.size());
      const Status written = WriteWholeFile(html_, simulate::TimelinePage(title, timelines));
      if (!written) return tl::unexpected<Error>(written.error());
      context.Say("charts: " + html_);
    }
    context.Print(answer);
    return 0;
  }

  Result<int> RunCapacity(Context& context, const Fleet& fleet, const std::vector<TracePod>& pods,
                          const std::vector<simulate::TimedWorkload>& workloads,
                          const CompareOptions& options,
                          const simulate::TimelineOptions& timing) const {
    const auto mix = simulate::MixOf(pods);
    simulate::CapacityFindings findings;
    {
      Progress progress(context);
      size_t done = 0;
      findings = simulate::FindCapacity(
          fleet, workloads, mix, options.policies.front(), timing, target_, most_count_,
          [&](const std::string& what) { progress(what, done++, 0); });
    }
    context.Print(ViewCapacity(
        fleet,
        {workloads.size(), options.policies.front(), target_, timing.wait_slo, costs_.currency},
        findings));
    return findings.answers.empty() ? ExitCodeOf(ErrorCode::kDoesNotFit) : 0;
  }

  std::string nodes_;
  std::string pods_;
  std::string policies_;
  std::string seeds_ = "42";
  std::string inflate_;
  bool departures_ = false;
  std::string arrivals_;
  std::string repack_;
  bool timeline_ = false;
  std::string html_;
  std::string patience_;
  std::string wait_slo_;
  std::string mtbf_;
  std::string lease_;
  std::string layouts_;
  std::string gpu_mtbf_;
  std::string repair_;
  std::string checkpoint_;
  std::string price_;
  std::string prices_;
  std::string idle_watts_;
  std::string busy_watts_;
  SimulateCosts costs_;
  bool find_capacity_ = false;
  std::string may_miss_;
  std::string max_allocation_;
  std::string most_;
  simulate::CapacityTarget target_;
  int most_count_ = kMostByDefault;
  RequestOptions requests_;
};

}  // namespace

std::unique_ptr<Verb> MakeSimulateVerb() { return std::make_unique<SimulateVerb>(); }

}  // namespace tranche
