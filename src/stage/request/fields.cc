#include "stage/request/fields.h"

#include "model/spec_rules.h"

namespace tranche {
namespace {

using std::chrono::hours;
using std::chrono::microseconds;
using std::chrono::seconds;

// Of two shapes, the map where the file has a map and the plain value otherwise.
template <typename T, typename Plain>
Value<T> PlainOrMap(Value<Plain> plain, Value<T> map, std::function<T(const Plain&)> from_plain) {
  Shape shape;
  shape.kind = Shape::Kind::kAnyOf;
  shape.what = plain.shape.what + " or " + map.shape.what;
  shape.example = plain.shape.example;
  // A list or nothing at all is told with both in mind.
  shape.of = {plain.shape, map.shape};
  return {shape,
          [shape, plain, map, from_plain](ReadContext& context, const std::string& key,
                                          const YamlNode& node) -> std::optional<T> {
            if (node.IsMap()) return map.read(context, key, node);
            if (!node.IsScalar()) {
              AddWrongType(context, key, node, shape);
              return std::nullopt;
            }
            const auto value = plain.read(context, key, node);
            if (!value) return std::nullopt;
            return from_plain(*value);
          }};
}

// {request, limit}, or one value for both. That the request is not above the limit is checked here,
// since there is no use for a share that contradicts itself.
template <typename T>
Value<Share<T>> RequestAndLimit(Value<T> value, std::string example) {
  using Pair = Share<T>;
  Fields<Pair> fields = {
      Row("request", &Pair::request, value, "required", "What is guaranteed."),
      Row("limit", &Pair::limit, value, "required",
          "The most that may be borrowed; at least the request."),
  };
  Value<Pair> map = Object<Pair>("a request and a limit", std::move(example), std::move(fields));
  const auto read = map.read;
  map.read = [read](ReadContext& context, const std::string& key,
                    const YamlNode& node) -> std::optional<Pair> {
    const auto pair = read(context, key, node);
    if (!pair || !(pair->request > T{}) || !(pair->limit > T{})) return std::nullopt;
    if (pair->request > pair->limit) {
      const YamlNode* limit = node.Find("limit");
      context.mistakes.Add(
          *limit,
          key + ": the limit " + limit->scalar + " is below the request " +
              node.Find("request")->scalar,
          "the limit is the most a workload may borrow, so it is at least the request");
      return std::nullopt;
    }
    return pair;
  };
  return PlainOrMap<Pair, T>(std::move(value), std::move(map), [](const T& both) {
    return Pair{both, both};
  });
}

Value<Guarantee> GuaranteeWord() {
  return Enum<Guarantee>("a guarantee", {{"hardware", Guarantee::kHardware},
                                         {"kernel", Guarantee::kKernel},
                                         {"driver", Guarantee::kDriver},
                                         {"cooperative", Guarantee::kCooperative},
                                         {"none", Guarantee::kNone}});
}

Value<IsolationAsk> Isolation() {
  const auto axis = [](const char* name, Guarantee Guarantees::*member, const char* doc) {
    return RowTo<IsolationAsk>(
        name, GuaranteeWord(),
        [member](IsolationAsk* isolation, Guarantee got) { isolation->axes.*member = got; }, "none",
        doc);
  };
  Fields<IsolationAsk> fields = {
      axis("memory", &Guarantees::memory, "It keeps to its memory and nobody takes it."),
      axis("compute", &Guarantees::compute,
           "It keeps to its share of the SMs and nobody takes it."),
      axis("fault", &Guarantees::fault, "Another tenant's crash does not reach it."),
      axis("access", &Guarantees::access, "It sees no device but its own."),
      Row("jitter", &IsolationAsk::low_jitter, Enum<bool>("a bound on jitter", {{"low", true}}),
          "not bounded",
          "No co-tenant may stretch a kernel of this workload: only `exclusive` and `mig` remain."),
  };
  Value<IsolationAsk> map =
      Object<IsolationAsk>("a map of axes", "{memory: hardware, fault: hardware}", fields);
  const auto read = map.read;
  map.read = [read](ReadContext& context, const std::string& key, const YamlNode& node) {
    auto isolation = read(context, key, node);
    if (isolation) isolation->word = "axes";
    return isolation;
  };
  return PlainOrMap<IsolationAsk, std::string>(
      OneOf("an isolation", {"hardware", "process", "none"}), map, [](const std::string& word) {
        return IsolationAsk{word, IsolationWordAxes(word).value_or(Guarantees{}), false};
      });
}

template <size_t N>
std::vector<std::string> Words(const std::array<const char*, N>& words) {
  return {words.begin(), words.end()};
}

Value<ModelAsk> Model() {
  const Value<std::string> name = Word("a model", "llama-3.1-8b");
  Fields<ModelAsk> fields = {
      Row("name", &ModelAsk::name, name, "described by `parameters`",
          "A model that the catalog knows, by name or alias."),
      Row("parameters", &ModelAsk::parameters, Parameters(), "those of the named model",
          "How many parameters a model has that the catalog does not know."),
      Row("precision", &ModelAsk::precision, OneOf("a precision", Words(kPrecisions)),
          "the published checkpoint's; `bf16` with `parameters`", "How the weights are stored."),
      Row("context", &ModelAsk::context, Integer("a number of tokens", 1, kMaxTokens, "8192"),
          "4096, or what the model can read if that is less",
          "Tokens that one sequence may reach."),
      Row("concurrency", &ModelAsk::concurrency,
          Integer("a number of sequences", 1, kMaxConcurrency, "8"),
          "as many as `traffic` and `slo` need where both are given with lengths; else 1",
          "Sequences at once."),
      Row("kv_precision", &ModelAsk::kv_precision,
          OneOf("a precision of the KV cache", Words(kKvPrecisions)), "the engine's own",
          "How the KV cache is stored."),
  };
  return PlainOrMap<ModelAsk, std::string>(
      name,
      Object<ModelAsk>("a map that describes a model", "{parameters: 7B, precision: int4}", fields),
      [](const std::string& text) {
        ModelAsk model;
        model.name = text;
        return model;
      });
}

Value<Traffic> TrafficValue() {
  Fields<Traffic> fields = {
      Row("requests_per_second", &Traffic::requests_per_second,
          Number("a rate above 0", 0, kMaxRequestsPerSecond, true, "4"), "required",
          "Mean rate of requests."),
      Row("prompt_tokens", &Traffic::prompt_tokens,
          Integer("a number of tokens", 1, kMaxTokens, "512"), "unknown",
          "Mean length of a prompt."),
      Row("output_tokens", &Traffic::output_tokens,
          Integer("a number of tokens", 1, kMaxTokens, "256"), "unknown",
          "Mean length of an answer."),
  };
  return Object<Traffic>("a map that describes traffic",
                         "{requests_per_second: 4, prompt_tokens: 512, output_tokens: 256}",
                         fields);
}

Value<Slo> SloValue() {
  const auto span = [] { return TimeSpan(microseconds(1), hours(1), "500ms"); };
  Fields<Slo> fields = {
      Row("ttft_p50", &Slo::ttft_p50, span(), "not promised", "Median time to the first token."),
      Row("ttft_p99", &Slo::ttft_p99, span(), "not promised",
          "Time to the first token of 99 in 100 requests."),
      Row("latency_p99", &Slo::latency_p99, span(), "not promised",
          "Time to the whole answer, 99 in 100."),
      Row("tokens_per_second", &Slo::tokens_per_second,
          Number("a rate above 0", 0, kMaxRequestsPerSecond, true, "20"), "not promised",
          "Tokens per second that one sequence sees."),
  };
  return Object<Slo>("a map of objectives", "{ttft_p99: 500ms}", fields);
}

Value<TimeSlice> TimeSliceWord() {
  return Enum<TimeSlice>("a time slice", {{"default", TimeSlice::kDefault},
                                          {"short", TimeSlice::kShort},
                                          {"medium", TimeSlice::kMedium},
                                          {"long", TimeSlice::kLong}});
}

Value<Mechanism> MechanismWord() {
  return Enum<Mechanism>("a mechanism", {{"exclusive", Mechanism::kExclusive},
                                         {"mig", Mechanism::kMig},
                                         {"mps", Mechanism::kMps},
                                         {"time-slicing", Mechanism::kTimeSlicing},
                                         {"fraction", Mechanism::kFraction},
                                         {"vgpu", Mechanism::kVgpu}});
}

template <typename E, size_t N>
std::vector<std::pair<std::string, E>> Named(const std::array<E, N>& all, const char* (*name)(E)) {
  std::vector<std::pair<std::string, E>> names;
  for (const E value : all) names.emplace_back(name(value), value);
  return names;
}

Value<VgpuAsk> VgpuValue() {
  Fields<VgpuAsk> fields = {
      Row("series", &VgpuAsk::series,
          Enum<VgpuSeries>("a series of vGPUs", Named(kAllVgpuSeries, VgpuSeriesName)), "C",
          "What it is licensed for: C computing, Q workstations, A applications, B desktops."),
      Row("scheduler", &VgpuAsk::scheduler,
          Enum<VgpuScheduler>("a vGPU scheduler", Named(kAllVgpuSchedulers, VgpuSchedulerName)),
          "`equal-share` where `isolation` asks for compute; else as it is",
          "How the vGPUs of a GPU take turns, all of them: `best-effort` promises none of its "
          "time, `equal-share` 1 / those that run, `fixed-share` 1 / as many as there could be."),
      Row("mixed_sizes", &VgpuAsk::mixed_sizes, Boolean(), "false",
          "vGPUs of other sizes may be on its GPU, which then holds fewer of some."),
  };
  return Object<VgpuAsk>("a map that describes a virtual GPU", "{series: Q}", fields);
}

Value<GpuSelector> SelectorValue() {
  Fields<GpuSelector> fields = {
      Row("gpu", &GpuSelector::gpu, GpuName(), "not by model",
          "GPUs of this model, by catalog key or alias."),
      Row("count", &GpuSelector::count, Integer("a number of GPUs", 1, kMaxFleetCount, "4"),
          "all that no other tier has", "How many of that model; the first ones."),
      Row("index", &GpuSelector::index, Integer("an index", 0, kMaxFleetCount, "0"), "not by index",
          "The GPU of this index."),
      Row("uuid", &GpuSelector::uuid, GpuUuid(), "not by UUID",
          "The GPU of this UUID, or the one whose UUID begins so."),
  };
  return Object<GpuSelector>("a map that selects GPUs", "{gpu: H100-SXM5-80GB, count: 4}", fields);
}

Value<Tier> TierValue() {
  Fields<Tier> fields = {
      Row("name", &Tier::name, Label("a name", "production"), "required",
          "What workloads say in `tier`."),
      Row("gpus", &Tier::gpus,
          ListOf<GpuSelector>("a list of selectors of GPUs", "selector", true, SelectorValue()),
          "required", "Its GPUs. No other workloads go there, and its own nowhere else."),
      Row("mechanism", &Tier::mechanism, MechanismWord(), "whatever satisfies each workload",
          "How its GPUs are divided, all of them."),
      Row("isolation", &Tier::isolation, Isolation(),
          "the default for its workloads, as far as its `mechanism` goes; its limit is what the "
          "`mechanism` can give",
          "What its workloads get that ask for nothing, and the most that one may ask for."),
      Row("oversubscription", &Tier::oversubscription,
          Integer("a number of tenants", 1, kMaxOversubscription, "4"), "as many as fit",
          "How many workloads may share one GPU, which is what its capacity is counted with."),
      Row("profile", &Tier::profiles, OneOrMore<std::string>("a list of profiles", ProfileName()),
          "as the workloads need",
          "How each of its GPUs is divided by MIG, for good: one profile as often as it fits, or "
          "exactly the instances of a list."),
      Row("time_slice", &Tier::time_slice, TimeSliceWord(), "left as it is",
          "Of its workloads that do not say. Only with `time-slicing`."),
      Row("memory_cap", &Tier::memory_cap, Boolean(), "false",
          "Each of its workloads is held to its memory by the limiter. Only with `time-slicing`."),
  };
  return Object<Tier>("a tier", "{name: production, gpus: [{gpu: H100-SXM5-80GB}]}", fields);
}

Value<MaintenanceWindow> WindowValue() {
  Fields<MaintenanceWindow> fields = {
      Row("days", &MaintenanceWindow::days,
          ListOfPlain<Weekday>("a list of days", true,
                               Enum<Weekday>("a day of the week", {{"mon", Weekday::kMonday},
                                                                   {"tue", Weekday::kTuesday},
                                                                   {"wed", Weekday::kWednesday},
                                                                   {"thu", Weekday::kThursday},
                                                                   {"fri", Weekday::kFriday},
                                                                   {"sat", Weekday::kSaturday},
                                                                   {"sun", Weekday::kSunday}})),
          "every day", "On which it begins."),
      Row("from", &MaintenanceWindow::from_minute, TimeOfDay(), "required", "When it begins."),
      Row("to", &MaintenanceWindow::to_minute, TimeOfDay(), "required",
          "When it ends: on the next day if that is no later than it begins."),
      Row("time_zone", &MaintenanceWindow::time_zone, TimeZone(), "UTC", "Of both."),
  };
  return Object<MaintenanceWindow>("a window", "{days: [sat, sun], from: \"22:00\", to: \"04:00\"}",
                                   fields);
}

struct Quota {
  std::optional<Bytes> memory;
  std::optional<double> gpus;
};

Value<Team> TeamValue() {
  Fields<Quota> quota = {
      Row("memory", &Quota::memory, Size(), "no quota",
          "GPU memory that the team's requests may sum to."),
      Row("gpus", &Quota::gpus, Number("a number of GPUs above 0", 0, 1e6, true, "2.5"), "no quota",
          "GPUs that they may sum to; a share counts as its part of one."),
  };
  Fields<Team> fields = {
      Row("name", &Team::name, Label("a name", "search"), "required",
          "What workloads say in `team`."),
      Row("weight", &Team::weight, Number("a weight above 0", 0, kMaxWeight, true, "2"), "1",
          "Its part of what is left over, against the other teams'."),
      RowTo<Team>(
          "quota", Object<Quota>("a map of quotas", "{memory: 40GiB}", quota),
          [](Team* team, const Quota& got) {
            team->memory_quota = got.memory;
            team->gpu_quota = got.gpus;
          },
          "no quota", "The most that the team's workloads may request together."),
  };
  return Object<Team>("a team", "{name: search, quota: {memory: 40GiB}}", fields);
}

Value<FleetEntry> FleetValue() {
  const auto price = [] { return Number("a price per hour", 0, kMaxPrice, false, "2.40"); };
  Fields<FleetEntry> fields = {
      Row("gpu", &FleetEntry::gpu, GpuName(), "required",
          "A GPU of `tranche catalog gpus`, by key or alias."),
      Row("count", &FleetEntry::count, Integer("a number of GPUs", 1, kMaxFleetCount, "4"), "1",
          "How many of it there are."),
      Row("price_per_hour", &FleetEntry::price_per_hour, price(), "unknown",
          "Of one GPU, on demand."),
      Row("spot_price_per_hour", &FleetEntry::spot_price_per_hour, price(), "unknown",
          "Of one GPU that may be taken away; only for `preemptible` workloads."),
  };
  return Object<FleetEntry>("a map that describes GPUs", "{gpu: H100-SXM5-80GB, count: 4}", fields);
}

Fields<Workload> MakeWorkloadFields() {
  return {
      Row("name", &Workload::name, Label("a name", "chat"), "required",
          "Unique in the file. It becomes part of host names, file names and URLs."),
      Row("team", &Workload::team, Label("a name", "search"), "the default team",
          "Whose it is. With `teams` given, one of them."),
      Row("kind", &Workload::kind,
          Enum("a kind of workload", Named(kAllWorkloadKinds, WorkloadKindName)),
          "`inference` with a `model`, an `engine` that serves, a `port`, `route`, `traffic` or "
          "`slo`; else `batch`",
          "What sort of work it is."),
      Row("isolation", &Workload::isolation, Isolation(), "`process`",
          "How hard its memory, compute and faults are kept from others."),
      Row("trusted", &Workload::trusted, Boolean(), "false",
          "Whether it may share a fault domain with other trusted workloads."),
      Row("memory", &Workload::memory, RequestAndLimit(Size(), "{request: 4GiB, limit: 16GiB}"),
          "worked out from `model`, or all of a `profile`; else required, and for `training` and "
          "`notebook` even with a `model`",
          "GPU memory of one replica, on each of its GPUs. One value is both request and limit."),
      Row("compute", &Workload::compute,
          RequestAndLimit(ShareOfGpu(), "{request: 20%, limit: 50%}"), "what comes with the memory",
          "Share of one GPU's SMs. One value is both request and limit."),
      Row("gpus", &Workload::gpus, Integer("a number of GPUs", 1, kMaxGpusPerWorkload, "2"), "1",
          "GPUs of one replica. From 2 on they are whole GPUs: MIG slices cannot reach each "
          "other's memory."),
      Row("gpu", &Workload::gpu, GpuName(), "any", "Only this GPU, by catalog key or alias."),
      Row("mechanism", &Workload::mechanism, MechanismWord(), "whatever satisfies `isolation`",
          "Only this way of sharing."),
      Row("profile", &Workload::profile, SliceProfile(), "any that is large enough",
          "Only an instance of this MIG profile, of its own; with `mechanism: mps` one that it "
          "shares; with `vgpu` only this type (`A40-8C`, `A100D-1-10C`). `+me` and `+gfx` are "
          "profiles of their own, and only who asks for one gets it."),
      Row("model", &Workload::model, Model(), "none",
          "The model it serves, from which its memory is worked out."),
      Row("traffic", &Workload::traffic, TrafficValue(), "unknown",
          "What is asked of it. `inference` only."),
      Row("slo", &Workload::slo, SloValue(), "none", "What it promises. `inference` only."),
      Row("engine", &Workload::engine,
          Enum("an engine", Named(kAllServingEngines, ServingEngineName)),
          "`command` with a `command` or `image`, or without a `model`; else `vllm`",
          "What serves the model."),
      Row("command", &Workload::command, Arguments(true, "[python, -m, http.server]"), "none",
          "What is run, one list item per argument, by `engine: command`. `${PORT}` is the "
          "replica's port."),
      Row("args", &Workload::args, Arguments(false, "[--max-num-seqs, 8]"), "none",
          "Added to what the engine (or the image) is started with."),
      Row("image", &Workload::image, Word("an image", "ghcr.io/example/server:1.2"), "none",
          "Container image that it runs in."),
      Row("env", &Workload::env, Environment(), "none",
          "Environment variables. Secrets belong in `env_from`, since this is stored and shown."),
      Row("env_from", &Workload::env_from, Path("./secrets.env"), "none",
          "File of NAME=value lines, read when a replica starts and never stored or shown."),
      Row("working_directory", &Workload::working_directory, Path("./chat"), "the spec's directory",
          "Where it is started; relative to the spec."),
      Row("port", &Workload::port, Integer("a port", 1, 65535, "8100"), "chosen at start",
          "Port of the first replica; the others take the ones that follow."),
      Row("route", &Workload::route, Route(), "not routed",
          "Path under which the router offers it, over all replicas."),
      Row("replicas", &Workload::replicas, Integer("a number of replicas", 1, kMaxReplicas, "3"),
          "as many as `traffic` and `slo` need where both are given with the lengths of prompts "
          "and "
          "answers; else 1",
          "How many of it run."),
      Row("startup_grace", &Workload::startup_grace, TimeSpan(seconds(1), hours(24), "10m"),
          "10m for `vllm`, `triton` and `llama.cpp`, which load weights; else 5m",
          "How long after a start it may be unhealthy."),
      Row("lease", &Workload::lease, TimeSpan(seconds(1), hours(24 * 3650), "8h"),
          "until it is stopped", "After this time its slice is given back."),
      Row("preemptible", &Workload::preemptible, Boolean(), "false",
          "It may be stopped to make room, and may use spot GPUs. Of its memory only the request "
          "is "
          "reserved in a `fraction`; more is lent while nobody is promised it."),
      Row("tier", &Workload::tier, Label("a name", "gold"), "none",
          "With `tiers` given, one of them: it goes to the GPUs of that tier. Otherwise a name of "
          "your own, for reports."),
      Row("time_slice", &Workload::time_slice, TimeSliceWord(),
          "the tier's, or whatever the GPU has",
          "How long the driver lets it run before the next process has its turn. Only with "
          "`time-slicing`; workloads of two classes share no GPU."),
      Row("memory_cap", &Workload::memory_cap, Boolean(), "the tier's, or false",
          "The limiter holds it to its memory, so that it cannot take that of the others. Only "
          "with "
          "`time-slicing`."),
      Row("vgpu", &Workload::vgpu, VgpuValue(), "series C, equal sizes",
          "What a virtual GPU is like beside its size. Only with `vgpu`."),
      Row("on_unenforced", &Workload::on_unenforced,
          Enum("what may happen to an unlimited workload",
               std::vector<std::pair<std::string, OnUnenforced>>{{"stop", OnUnenforced::kStop},
                                                                 {"warn", OnUnenforced::kWarn}}),
          "`stop`",
          "What is done with it when a process of it uses the GPU past its limiter: it is stopped "
          "within a second, or only shown in `status`."),
      Row("allow_root", &Workload::allow_root, Boolean(), "the file's `allow_root`",
          "It may run as root."),
  };
}

Value<Workload> WorkloadValue() {
  Value<Workload> value = Object<Workload>("a map that describes a workload",
                                           "{name: chat, model: llama-3.1-8b}", WorkloadFields());
  const auto read = value.read;
  value.read = [read](ReadContext& context, const std::string& key, const YamlNode& node) {
    auto workload = read(context, key, node);
    if (workload) workload->at = {context.mistakes.file(), node.line, node.column};
    return workload;
  };
  return value;
}

Fields<Spec> MakeSpecFields() {
  return {
      Row("version", &Spec::version, Integer("the number 1", 1, 1, "1"), "required",
          "Of this format: 1."),
      Row("currency", &Spec::currency, Currency(), "USD", "Of every price in the file."),
      Row("allow_root", &Spec::allow_root, Boolean(), "false", "Its workloads may run as root."),
      Row("fleet", &Spec::fleet,
          ListOf<FleetEntry>("a list of GPUs", "fleet entry", true, FleetValue()),
          "the machine at hand",
          "GPUs to plan on without having them. Such a plan cannot be applied."),
      Row("prices", &Spec::prices, Prices(), "unknown",
          "Price per hour of the GPUs at hand, by catalog key or alias."),
      Row("teams", &Spec::teams, ListOf<Team>("a list of teams", "team", true, TeamValue()),
          "one default team", "Who shares the GPUs."),
      Row("tiers", &Spec::tiers, ListOf<Tier>("a list of tiers", "tier", true, TierValue()),
          "one pool of all GPUs", "Pools of GPUs, each divided in its own way."),
      Row("maintenance", &Spec::maintenance,
          ListOf<MaintenanceWindow>("a list of windows", "window", true, WindowValue()),
          "at any time", "When layouts may change. Everything else may go on at any time."),
      Row("workloads", &Spec::workloads,
          ListOf<Workload>("a list of workloads", "workload", true, WorkloadValue()),
          "**required**, but with `tiers`, whose GPUs are then laid out for whoever comes",
          "What is to run."),
  };
}

}  // namespace

const Fields<Workload>& WorkloadFields() {
  static const Fields<Workload> fields = MakeWorkloadFields();
  return fields;
}

const Fields<Spec>& SpecFields() {
  static const Fields<Spec> fields = MakeSpecFields();
  return fields;
}

const Shape& SpecShape() {
  static const Shape shape = ObjectShape("a spec", "version: 1", SpecFields());
  return shape;
}

}  // namespace tranche
