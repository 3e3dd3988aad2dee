#include "face/cli/simulate_requests.h"

#include <fmt/format.h>

#include <algorithm>

#include "decide/sizing/weights.h"
#include "face/cli/coefficients_file.h"
#include "face/cli/files.h"
#include "face/cli/model_files.h"
#include "face/cli/simulate_view.h"
#include "stage/simulate/capacity.h"
#include "stage/simulate/chart.h"

namespace tranche {
namespace {

constexpr size_t kLargestTrace = size_t{64} << 20;
constexpr int kMostReplicas = 100000;
constexpr int kMostTokens = 10'000'000;
constexpr double kMostRequests = 20e6;

// What the options mean.
struct RequestsAsk {
  simulate::RequestLoad load;
  std::optional<double> first_token, token;
  int replicas = 1;
  int tensor_parallel = 1;
};

double SecondsOf(Duration time) { return std::chrono::duration<double>(time).count(); }

RequestsAsk Read(const RequestOptions& options, const RequestsSetting& setting,
                 NumberOptions* mistakes) {
  RequestsAsk ask;
  if (options.model.empty()) {
    mistakes->Add("--model is missing: which model answers", "--model llama-3.1-8b");
  }
  if (options.gpus.empty()) {
    mistakes->Add("--gpu is missing: on which GPU", "--gpu H100-SXM5-80GB");
  }
  if (!options.file.empty() && !options.rate.empty()) {
    mistakes->Add("--requests replays a trace and --rate draws one: say one of them");
  }
  if (options.rate.empty()) {
    for (const auto& [name, text] :
         {std::pair{"--duration", &options.duration},
          std::pair{"--daily-peak", &options.daily_peak}, std::pair{"--prompt", &options.prompt},
          std::pair{"--completion", &options.completion}}) {
      if (!text->empty()) mistakes->Add(fmt::format("{} is of --rate only", name));
    }
  }
  ask.load.per_second = mistakes->Positive("--rate", options.rate, 1e6).value_or(1);
  if (const auto time = mistakes->Time("--duration", options.duration)) {
    ask.load.duration = SecondsOf(*time);
  }
  ask.load.daily_peak = mistakes->Positive("--daily-peak", options.daily_peak, 2).value_or(1);
  if (ask.load.daily_peak < 1) {
    mistakes->Add("--daily-peak is below 1: it is a multiple of the mean", "--daily-peak 1.8");
  }
  ask.load.prompt = mistakes->Count("--prompt", options.prompt, kMostTokens).value_or(512);
  ask.load.answer = mistakes->Count("--completion", options.completion, kMostTokens).value_or(128);
  if (ask.load.per_second * ask.load.duration * setting.inflate > kMostRequests) {
    mistakes->Add(fmt::format("that would be more than {:g} requests", kMostRequests),
                  "a shorter --duration");
  }
  if (const auto time = mistakes->Time("--ttft", options.first_token)) {
    ask.first_token = SecondsOf(*time);
  }
  if (const auto time = mistakes->Time("--tpot", options.token)) ask.token = SecondsOf(*time);
  const auto within = [&](const char* name, std::optional<int> value, int most, int otherwise) {
    if (value && (*value < 1 || *value > most)) {
      mistakes->Add(fmt::format("{} is {}, not from 1 to {}", name, *value, most));
    }
    return value.value_or(otherwise);
  };
  ask.replicas = within("--replicas", options.replicas, kMostReplicas, 1);
  ask.tensor_parallel = within("--tensor-parallel", options.tensor_parallel, 64, 1);
  within("--context", options.context, kMostTokens, 0);
  if (setting.find_capacity && options.replicas) {
    mistakes->Add("--find-capacity looks for --replicas: leave that out");
  }
  if (setting.find_capacity && !ask.first_token && !ask.token) {
    mistakes->Add("--find-capacity needs an objective", "--ttft 500ms --tpot 50ms");
  }
  return ask;
}

// One of --gpu: "H100-SXM5-80GB" or "H100-SXM5-80GB:2g.20gb".
struct Place {
  std::string name;
  const CatalogGpu* gpu = nullptr;
  const MigProfile* profile = nullptr;
};

Result<Place> FindPlace(const std::string& word, const Catalog& catalog) {
  const size_t colon = word.find(':');
  const auto gpu = catalog.FindGpu(word.substr(0, colon));
  if (!gpu) return tl::unexpected<Error>(gpu.error());
  Place place{(*gpu)->key, *gpu, nullptr};
  if (colon == std::string::npos) return place;
  const std::string slice = word.substr(colon + 1);
  std::vector<std::string> names;
  for (const MigProfile& profile : (*gpu)->mig_profiles) {
    if (profile.variant == MigVariant::kPlain) names.push_back(profile.name);
    if (profile.name == slice) place.profile = &profile;
  }
  place.name += ":" + slice;
  if (place.profile != nullptr) return place;
  return Fail(ErrorCode::kNotFound, fmt::format("{} has no MIG profile '{}'", (*gpu)->key, slice),
              names.empty() ? "it has no MIG" : fmt::format("it has {}", fmt::join(names, ", ")));
}

// The server on such a place, or why there can be none (kDoesNotFit).
Result<simulate::LlmServer> ServerOn(const Place& place, const SizedModel& model,
                                     const RequestOptions& options, const RequestsAsk& ask,
                                     int longest, const PerformanceCoefficients& coefficients) {
  const CatalogGpu& gpu = *place.gpu;
  const auto whole = RateOf(gpu);
  if (!whole || !gpu.memory) {
    return Fail(ErrorCode::kInvalid, fmt::format("how fast a {} is is not known", gpu.key));
  }
  if (place.profile != nullptr && ask.tensor_parallel > 1) {
    return Fail(ErrorCode::kDoesNotFit, "tensor parallelism does not go with slices of MIG");
  }
  const auto precision =
      ParsePrecision(options.precision.empty() ? "checkpoint" : options.precision, model.model);
  if (!precision) return tl::unexpected<Error>(precision.error());
  SizedModel sized = model;
  if (*precision != model.model.dtype) {
    sized.exact_weights.reset();
    sized.model.unquantised.clear();
  }
  ServerSpace space;
  space.gpu = gpu.key;
  space.memory = VisibleMemory(gpu);
  if (place.profile != nullptr) {
    space.slice = place.profile->name;
    space.memory = place.profile->memory;
  }
  ServerAsk server_ask;
  server_ask.precision = *precision;
  const int most = model.model.max_position > 0 ? model.model.max_position : kMostTokens;
  server_ask.context = options.context.value_or(std::min(std::max(longest, 1), most));
  server_ask.tensor_parallel = ask.tensor_parallel;
  const auto engine = ParseEngine("vllm", "");
  if (!engine) return tl::unexpected<Error>(engine.error());
  const ServerSize size = SizeServer(sized, server_ask, *engine, space);
  if (!size.fits.value_or(true)) return Fail(ErrorCode::kDoesNotFit, size.because);
  simulate::LlmServer server;
  server.work.model = sized.model;
  server.work.weight_bytes = static_cast<double>(size.weights.value);
  server.work.expert_bytes = std::min(
      server.work.weight_bytes, ExpertBytesPerGpu(sized.model, *precision, ask.tensor_parallel));
  server.work.kv_bytes_per_token = static_cast<double>(size.kv_per_token.value);
  server.work.gpus = ask.tensor_parallel;
  server.work.eight_bit = *precision == "fp8" || *precision == "int8";
  server.rate = place.profile == nullptr ? *whole : RateOfInstance(*whole, gpu, *place.profile);
  server.coefficients = coefficients.roofline;
  server.kv_tokens = static_cast<int64_t>(size.kv_tokens);
  server.most_sequences = std::max(1, size.steps.sequences);
  server.gpus = place.profile == nullptr ? ask.tensor_parallel
                                         : 1.0 / std::max(1, place.profile->max_instances);
  return server;
}

// The batch that keeps to the objective between tokens, with prompts of that length; a step of a
// full batch that is late makes everybody late.
int LargestOnTime(const simulate::LlmServer& server, const RequestsAsk& ask, double context) {
  if (!ask.token) return server.most_sequences;
  return LargestBatch(server.work, server.rate, {std::nullopt, ask.token}, 1,
                      static_cast<int>(context), server.most_sequences, server.coefficients);
}

}  // namespace

void DeclareRequests(Arguments* arguments, RequestOptions* options) {
  arguments->Option("--requests", "FILE", options->file, "requests to a language model (CSV)")
      .Option("--rate", "N", options->rate, "or drawn ones, so many per second on average")
      .Option("--duration", "DURATION", options->duration, "with --rate: for so long (1h)")
      .Option("--daily-peak", "RATIO", options->daily_peak,
              "with --rate: at 15:00 so many times the mean, from midnight on (1: always the same)")
      .Option("--prompt", "N", options->prompt, "with --rate: tokens of a prompt, the mean (512)")
      .Option("--completion", "N", options->completion,
              "with --rate: tokens of an answer, the mean (128)")
      .Option("--model", "MODEL", options->model, "with requests: which model answers")
      .Option("--gpu", "GPUS", options->gpus,
              "with requests: H100-SXM5-80GB,A100-80:3g.40gb; each by itself")
      .Option("--replicas", "N", options->replicas, "with requests: so many servers (1)")
      .Option("--precision", "P", options->precision, "with requests: of the weights (checkpoint)")
      .Option("--tensor-parallel", "N", options->tensor_parallel,
              "with requests: each server over so many GPUs (1)")
      .Option("--context", "N", options->context,
              "with requests: tokens a server takes at most (the longest request)")
      .Option("--ttft", "TIME", options->first_token,
              "with requests: a first token later is a miss")
      .Option("--tpot", "TIME", options->token,
              "with requests: tokens further apart are, on the mean of an answer")
      .Option("--coefficients", "FILE", options->coefficients,
              "with requests: speeds by this file, from 'tranche calibrate' (else as configured)");
}

void RefuseRequestOptions(const RequestOptions& options, NumberOptions* mistakes) {
  const std::pair<const char*, bool> given[] = {
      {"--duration", !options.duration.empty()},
      {"--daily-peak", !options.daily_peak.empty()},
      {"--prompt", !options.prompt.empty()},
      {"--completion", !options.completion.empty()},
      {"--model", !options.model.empty()},
      {"--gpu", !options.gpus.empty()},
      {"--replicas", options.replicas.has_value()},
      {"--precision", !options.precision.empty()},
      {"--tensor-parallel", options.tensor_parallel.has_value()},
      {"--context", options.context.has_value()},
      {"--ttft", !options.first_token.empty()},
      {"--tpot", !options.token.empty()},
      {"--coefficients", !options.coefficients.empty()}};
  for (const auto& [name, is_given] : given) {
    if (is_given) mistakes->Add(fmt::format("{} goes with --requests or --rate", name));
  }
}

Result<int> SimulateRequests(Context& context, const RequestOptions& options,
                             RequestsSetting setting, NumberOptions* mistakes) {
  RequestsAsk ask = Read(options, setting, mistakes);
  if (const Status status = mistakes->status(); !status) {
    return tl::unexpected<Error>(status.error());
  }
  const auto loaded = context.catalog();
  if (!loaded) return tl::unexpected<Error>(loaded.error());
  const Catalog& catalog = **loaded;
  const auto model = FindModel(options.model, catalog);
  if (!model) return tl::unexpected<Error>(model.error());
  const auto coefficients = LoadCoefficients(options.coefficients, context);
  if (!coefficients) return tl::unexpected<Error>(coefficients.error());
  std::vector<Place> places;
  std::vector<std::string> gpu_names;
  for (size_t begin = 0; begin <= options.gpus.size();) {
    const size_t end = std::min(options.gpus.find(',', begin), options.gpus.size());
    const auto place = FindPlace(options.gpus.substr(begin, end - begin), catalog);
    if (!place) return tl::unexpected<Error>(place.error());
    places.push_back(*place);
    gpu_names.push_back(place->gpu->key);
    begin = end + 1;
  }
  const auto costs = CostsOf(gpu_names, catalog, &setting.costs);
  if (!costs) return tl::unexpected<Error>(costs.error());

  std::vector<simulate::LlmRequest> requests;
  if (options.file.empty()) {
    ask.load.longest = options.context.value_or(
        model->model.max_position > 0 ? model->model.max_position : kMostTokens);
    ask.load.per_second *= setting.inflate;
    requests = simulate::DrawRequests(ask.load, setting.seed);
    if (requests.empty()) {
      return Fail(ErrorCode::kInvalid, "no request comes in that time", "a longer --duration");
    }
  } else {
    const auto text = ReadWholeFile(options.file, kLargestTrace);
    if (!text) return tl::unexpected<Error>(text.error());
    auto parsed = simulate::ParseRequests(*text, options.file);
    if (!parsed) return tl::unexpected<Error>(parsed.error());
    requests = std::move(*parsed);
    simulate::Quicken(&requests, setting.inflate);
  }
  int longest = 1;
  double mean_context = 0;
  for (const simulate::LlmRequest& request : requests) {
    longest = std::max(longest, request.prompt + request.answer);
    mean_context += (request.prompt + 0.5 * request.answer) / static_cast<double>(requests.size());
  }

  ServingsAnswer answer;
  answer.requests = requests.size();
  answer.seconds = requests.back().arrives;
  answer.model = model->model.name;
  answer.find_capacity = setting.find_capacity;
  answer.may_miss = setting.may_miss;
  answer.error = coefficients->values->roofline.error;
  answer.coefficients = NameOf(*coefficients);
  answer.currency = setting.costs.currency;
  for (size_t i = 0; i < places.size(); ++i) {
    ServingRow row;
    row.name = places[i].name;
    const auto server = ServerOn(places[i], *model, options, ask, longest, *coefficients->values);
    if (!server) {
      // Of several, the others may still do.
      if (server.error().code != ErrorCode::kDoesNotFit || places.size() == 1) {
        return tl::unexpected<Error>(server.error());
      }
      row.none = server.error().message;
      answer.rows.push_back(std::move(row));
      continue;
    }
    simulate::LlmServer sized = *server;
    const int on_time = LargestOnTime(sized, ask, mean_context);
    sized.most_sequences = std::max(1, on_time);
    row.most_sequences = sized.most_sequences;
    row.kv_tokens = sized.kv_tokens;
    row.gpus_per_replica = sized.gpus;
    simulate::ServingOptions serving;
    serving.first_token_slo = ask.first_token;
    serving.token_slo = ask.token;
    serving.mtbf = setting.mtbf;
    serving.repair = setting.repair;
    serving.costs = (*costs)[i];
    serving.seed = setting.seed;
    serving.replicas = ask.replicas;
    const auto run = [&](int replicas) {
      serving.replicas = replicas;
      return simulate::Serve(requests, sized, serving);
    };
    if (setting.find_capacity) {
      int64_t never = 0;  // prompts that are late even where nobody else is
      for (const simulate::LlmRequest& request : requests) {
        const LlmSpeed alone = PredictLlm(sized.work, sized.rate, 1, request.prompt,
                                          request.prompt + request.answer / 2, sized.coefficients);
        const bool late = (ask.first_token && alone.prefill_seconds > *ask.first_token) ||
                          (ask.token && request.answer > 1 && alone.step_seconds > *ask.token) ||
                          request.prompt + request.answer > sized.kv_tokens;
        never += late ? 1 : 0;
      }
      if (static_cast<double>(never) > setting.may_miss * static_cast<double>(requests.size())) {
        row.none =
            fmt::format("{:.1f} % of the requests miss the objective even alone on a server of it",
                        100.0 * static_cast<double>(never) / static_cast<double>(requests.size()));
        answer.rows.push_back(std::move(row));
        continue;
      }
      const auto found = simulate::SmallestThatHolds(1, setting.most, [&](int replicas) {
        return run(replicas).missed_share() <= setting.may_miss;
      });
      if (!found) {
        row.none = fmt::format("{} replicas miss {:.1f} % of them still", setting.most,
                               100 * run(setting.most).missed_share());
        answer.rows.push_back(std::move(row));
        continue;
      }
      if (*found > 1) row.missed_share_with_less = run(*found - 1).missed_share();
      serving.replicas = *found;
    }
    row.replicas = serving.replicas;
    row.result = run(serving.replicas);
    if ((*costs)[i].price_per_hour) {
      row.cost_per_hour = *(*costs)[i].price_per_hour * row.result.gpus;
    }
    answer.rows.push_back(std::move(row));
  }
  if (setting.find_capacity) {
    std::stable_sort(
        answer.rows.begin(), answer.rows.end(), [](const ServingRow& a, const ServingRow& b) {
          const auto rank = [](const ServingRow& row) {
            return std::pair(!row.none.empty(), row.cost_per_hour.value_or(row.result.gpus));
          };
          return rank(a) < rank(b);
        });
  }
  if (!setting.html.empty()) {
    std::vector<simulate::NamedServing> named;
    for (const ServingRow& row : answer.rows) {
      if (row.none.empty()) {
        named.push_back({fmt::format("{} x {}", row.replicas, row.name), row.result});
      }
    }
    const std::string title = fmt::format("{} requests to {}", requests.size(), answer.model);
    const Status written = WriteWholeFile(setting.html, simulate::ServingPage(title, named));
    if (!written) return tl::unexpected<Error>(written.error());
    context.Say("charts: " + setting.html);
  }
  context.Print(ViewServings(answer));
  const bool any = std::any_of(answer.rows.begin(), answer.rows.end(),
                               [](const ServingRow& row) { return row.none.empty(); });
  return any ? 0 : ExitCodeOf(ErrorCode::kDoesNotFit);
}

}  // namespace tranche
