#include "stage/simulate/requests.h"

#include <algorithm>
#include <cmath>

#include "decide/placement/random.h"
#include "stage/simulate/csv.h"

namespace tranche::simulate {
namespace {

constexpr int64_t kMostTokens = 10'000'000;
constexpr double kDay = 86400;
constexpr double kBusiest = 15.0 / 24;  // of a day

int Length(double mean, int most, placement::Random* random) {
  const double drawn = std::ceil(mean * random->Exponential());
  return static_cast<int>(std::clamp(drawn, 1.0, static_cast<double>(most)));
}

}  // namespace

Result<std::vector<LlmRequest>> ParseRequests(std::string_view text, const std::string& name) {
  CsvReader csv(text, name);
  const auto arrived = csv.Column("arrived_at", true);
  const auto prompt = csv.Column("num_prefill_tokens", true);
  const auto answer = csv.Column("num_decode_tokens", true);
  const std::string hint =
      "a list of requests has the columns arrived_at,num_prefill_tokens,num_decode_tokens";
  if (const Status status = csv.status(hint); !status) return tl::unexpected<Error>(status.error());
  std::vector<LlmRequest> requests;
  while (csv.Next()) {
    LlmRequest request;
    const auto at = csv.Seconds(arrived);
    if (!at && csv.Text(arrived).empty()) csv.Mistake("arrived_at is empty");
    request.arrives = at.value_or(0);
    request.prompt = static_cast<int>(csv.Number(prompt, 1, kMostTokens));
    request.answer = static_cast<int>(csv.Number(answer, 1, kMostTokens));
    requests.push_back(request);
  }
  if (requests.empty()) csv.Mistake("no request");
  if (const Status status = csv.status(hint); !status) return tl::unexpected<Error>(status.error());
  std::stable_sort(requests.begin(), requests.end(),
                   [](const auto& a, const auto& b) { return a.arrives < b.arrives; });
  const double first = requests.front().arrives;
  for (LlmRequest& request : requests) request.arrives -= first;
  return requests;
}

std::vector<LlmRequest> DrawRequests(const RequestLoad& load, uint64_t seed) {
  placement::Random random(seed);
  std::vector<LlmRequest> requests;
  const double most = load.per_second * load.daily_peak;
  double now = 0;
  for (;;) {
    now += random.Exponential() / most;
    if (now >= load.duration) return requests;
    const double hour = std::cos(2 * std::acos(-1.0) * (now / kDay - kBusiest));
    const double rate = load.per_second * (1 + (load.daily_peak - 1) * hour);
    // Thinning: of moments at the highest rate, those that the rate of the hour keeps.
    if (load.daily_peak > 1 && random.Uniform() * most >= rate) continue;
    LlmRequest request;
    request.arrives = now;
    request.prompt = Length(load.prompt, std::max(1, load.longest - 1), &random);
    request.answer = Length(load.answer, std::max(1, load.longest - request.prompt), &random);
    requests.push_back(request);
  }
}

void Quicken(std::vector<LlmRequest>* requests, double ratio) {
  for (LlmRequest& request : *requests) request.arrives /= ratio;
}

}  // namespace tranche::simulate
