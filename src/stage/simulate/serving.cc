#include "stage/simulate/serving.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <queue>

#include "decide/placement/random.h"

namespace tranche::simulate {
namespace {

enum class What { kStep, kRepair, kFailure, kArrival };  // in this order at one time

struct Event {
  double at = 0;
  What what = What::kArrival;
  int subject = 0;  // a request or a replica
  int64_t version = 0;
  // The earliest first.
  bool operator<(const Event& other) const {
    if (at != other.at) return at > other.at;
    if (what != other.what) return what > other.what;
    return subject > other.subject;
  }
};

struct Sequence {
  int request = 0;
  int left = 0;     // tokens to come
  int context = 0;  // tokens so far
};

enum class Doing { kNothing, kPrompt, kTokens };

struct Replica {
  bool up = true;
  std::deque<int> waiting;
  std::vector<Sequence> running;
  int64_t kv_used = 0;  // reserved for all of what is running
  Doing doing = Doing::kNothing;
  int prompt_of = -1;
  double began = 0;
  double step = 0;  // seconds
  int steps = 0;
  int64_t version = 0;

  size_t Load() const { return waiting.size() + running.size() + (prompt_of >= 0 ? 1 : 0); }
};

struct Request {
  double first = 0;
};

Spread SpreadOf(std::vector<double> values) {
  Spread spread;
  if (values.empty()) return spread;
  std::sort(values.begin(), values.end());
  for (const double value : values) spread.mean += value / static_cast<double>(values.size());
  const auto at = [&](size_t percent) { return values[(values.size() - 1) * percent / 100]; };
  spread.p50 = at(50);
  spread.p95 = at(95);
  spread.p99 = at(99);
  return spread;
}

class Service {
 public:
  Service(const std::vector<LlmRequest>& requests, const LlmServer& server,
          const ServingOptions& options)
      : asked_(requests),
        server_(server),
        options_(options),
        random_(options.seed ^ 0x7365727665u),
        requests_(requests.size()),
        replicas_(static_cast<size_t>(options.replicas)) {
    result_.requests = static_cast<int64_t>(requests.size());
    result_.gpus = GpusOf(server, options.replicas);
  }

  ServingResult Go() {
    for (size_t i = 0; i < asked_.size(); ++i) {
      events_.push({asked_[i].arrives, What::kArrival, static_cast<int>(i), 0});
    }
    left_ = asked_.size();
    if (options_.mtbf) {
      for (int r = 0; r < options_.replicas; ++r) {
        events_.push({*options_.mtbf * random_.Exponential(), What::kFailure, r, 0});
      }
    }
    const double longest = asked_.empty() ? 1 : std::max(1.0, asked_.back().arrives);
    const double step = longest / std::max(1, options_.samples);
    double next_sample = step;
    Sample(0);
    while (!events_.empty() && left_ > 0) {
      const Event event = events_.top();
      events_.pop();
      for (; next_sample <= event.at; next_sample += step) Sample(next_sample);
      now_ = event.at;
      Handle(event);
    }
    Sample(now_);
    Finish();
    return std::move(result_);
  }

 private:
  void Handle(const Event& event) {
    const size_t i = static_cast<size_t>(event.subject);
    switch (event.what) {
      case What::kArrival:
        Arrive(event.subject);
        break;
      case What::kStep:
        if (replicas_[i].version == event.version) Done(event.subject);
        break;
      case What::kFailure:
        Fail(event.subject);
        break;
      case What::kRepair: {
        replicas_[i].up = true;
        --down_;
        events_.push(
            {now_ + *options_.mtbf * random_.Exponential(), What::kFailure, event.subject, 0});
        std::deque<int> waiting;
        std::swap(waiting, stranded_);
        for (const int request : waiting) Route(request);
        break;
      }
    }
  }

  int64_t Tokens(int request) const {
    const LlmRequest& asked = asked_[static_cast<size_t>(request)];
    return int64_t{asked.prompt} + asked.answer;
  }

  void Arrive(int request) {
    if (Tokens(request) > server_.kv_tokens) {
      ++result_.too_long;
      ++result_.slo_misses;
      --left_;
      return;
    }
    Route(request);
  }

  void Route(int request) {
    int best = -1;
    for (int r = 0; r < options_.replicas; ++r) {
      const Replica& replica = replicas_[static_cast<size_t>(r)];
      if (!replica.up) continue;
      if (best < 0 || replica.Load() < replicas_[static_cast<size_t>(best)].Load()) best = r;
    }
    if (best < 0) {
      stranded_.push_back(request);
      return;
    }
    Replica& replica = replicas_[static_cast<size_t>(best)];
    replica.waiting.push_back(request);
    if (replica.doing == Doing::kNothing) {
      Begin(best);
    } else if (replica.doing == Doing::kTokens && replica.steps > 1 && MayBegin(replica)) {
      // It is let in after the step that is being worked on.
      const int done = static_cast<int>(std::floor((now_ - replica.began) / replica.step)) + 1;
      if (done >= replica.steps) return;
      busy_ -= replica.step * (replica.steps - done);
      replica.steps = done;
      ++replica.version;
      events_.push({replica.began + done * replica.step, What::kStep, best, replica.version});
    }
  }

  bool MayBegin(const Replica& replica) const {
    return !replica.waiting.empty() &&
           replica.running.size() < static_cast<size_t>(server_.most_sequences) &&
           replica.kv_used + Tokens(replica.waiting.front()) <= server_.kv_tokens;
  }

  // Whatever it does next.
  void Begin(int index) {
    Replica& replica = replicas_[static_cast<size_t>(index)];
    replica.began = now_;
    ++replica.version;
    replica.doing = Doing::kNothing;
    if (MayBegin(replica)) {
      replica.doing = Doing::kPrompt;
      replica.prompt_of = replica.waiting.front();
      replica.waiting.pop_front();
      replica.kv_used += Tokens(replica.prompt_of);
      const LlmRequest& asked = asked_[static_cast<size_t>(replica.prompt_of)];
      waits_.push_back(now_ - asked.arrives);
      replica.steps = 1;
      replica.step = PredictLlm(server_.work, server_.rate, 1, asked.prompt, asked.prompt,
                                server_.coefficients)
                         .prefill_seconds;
    } else if (!replica.running.empty()) {
      replica.doing = Doing::kTokens;
      int64_t context = 0;
      replica.steps = INT32_MAX;
      for (const Sequence& sequence : replica.running) {
        context += sequence.context;
        replica.steps = std::min(replica.steps, sequence.left);
      }
      const int sequences = static_cast<int>(replica.running.size());
      replica.step = PredictLlm(server_.work, server_.rate, sequences, 1,
                                static_cast<int>(context / sequences) + replica.steps / 2,
                                server_.coefficients)
                         .step_seconds;
    }
    if (replica.doing == Doing::kNothing) return;
    busy_ += replica.step * replica.steps;
    events_.push({now_ + replica.steps * replica.step, What::kStep, index, replica.version});
  }

  void Done(int index) {
    Replica& replica = replicas_[static_cast<size_t>(index)];
    if (replica.doing == Doing::kPrompt) {
      const int request = std::exchange(replica.prompt_of, -1);
      const LlmRequest& asked = asked_[static_cast<size_t>(request)];
      requests_[static_cast<size_t>(request)].first = now_;
      firsts_.push_back(now_ - asked.arrives);
      ++tokens_;
      if (asked.answer == 1) {
        End(&replica, request);
      } else {
        replica.running.push_back({request, asked.answer - 1, asked.prompt + 1});
      }
    } else {
      tokens_ += int64_t{replica.steps} * static_cast<int64_t>(replica.running.size());
      for (size_t i = 0; i < replica.running.size();) {
        Sequence& sequence = replica.running[i];
        sequence.left -= replica.steps;
        sequence.context += replica.steps;
        if (sequence.left > 0) {
          ++i;
          continue;
        }
        End(&replica, sequence.request);
        sequence = replica.running.back();
        replica.running.pop_back();
      }
    }
    Begin(index);
  }

  void End(Replica* replica, int request) {
    const LlmRequest& asked = asked_[static_cast<size_t>(request)];
    const double first = requests_[static_cast<size_t>(request)].first;
    replica->kv_used -= Tokens(request);
    const double each = asked.answer > 1 ? (now_ - first) / (asked.answer - 1) : 0;
    if (asked.answer > 1) betweens_.push_back(each);
    const bool late = options_.first_token_slo && first - asked.arrives > *options_.first_token_slo;
    const bool slow = options_.token_slo && each > *options_.token_slo;
    if (late || slow) ++result_.slo_misses;
    ++result_.finished;
    --left_;
  }

  void Fail(int index) {
    Replica& replica = replicas_[static_cast<size_t>(index)];
    std::vector<int> lost;
    if (replica.prompt_of >= 0) lost.push_back(replica.prompt_of);
    for (const Sequence& sequence : replica.running) lost.push_back(sequence.request);
    result_.restarted += static_cast<int64_t>(lost.size());
    lost.insert(lost.end(), replica.waiting.begin(), replica.waiting.end());
    if (replica.doing != Doing::kNothing) {
      busy_ += std::min(0.0, now_ - replica.began - replica.step * replica.steps);
    }
    const int64_t version = replica.version + 1;
    replica = Replica();
    replica.version = version;
    replica.up = false;
    ++down_;
    events_.push({now_ + options_.repair, What::kRepair, index, 0});
    for (const int request : lost) Route(request);
  }

  double Cost(double at) const {
    return at / 3600 * result_.gpus * options_.costs.price_per_hour.value_or(0);
  }
  double Energy(double at, double busy) const {
    return (at * result_.gpus * options_.costs.idle_watts.value_or(0) +
            busy * server_.gpus * options_.costs.busy_watts) /
           3600 / 1000;
  }

  void Sample(double at) {
    ServingSample sample;
    sample.at = at;
    for (const Replica& replica : replicas_) {
      sample.running +=
          static_cast<int64_t>(replica.running.size()) + (replica.prompt_of >= 0 ? 1 : 0);
      sample.waiting += static_cast<int64_t>(replica.waiting.size());
    }
    sample.waiting += static_cast<int64_t>(stranded_.size());
    sample.replicas_down = down_;
    const double seconds = at - sampled_at_;
    if (seconds > 0) {
      sample.busy_percent =
          std::clamp(100 * (busy_ - sampled_busy_) / seconds / options_.replicas, 0.0, 100.0);
      sample.tokens_per_second = static_cast<double>(tokens_ - sampled_tokens_) / seconds;
    }
    if (firsts_.size() > sampled_firsts_) {
      double sum = 0;
      for (size_t i = sampled_firsts_; i < firsts_.size(); ++i) sum += firsts_[i];
      sample.first_token_seconds = sum / static_cast<double>(firsts_.size() - sampled_firsts_);
    }
    sample.slo_misses = result_.slo_misses;
    if (options_.costs.price_per_hour) sample.cost = Cost(at);
    if (options_.costs.idle_watts) sample.energy_kwh = Energy(at, busy_);
    sampled_at_ = at;
    sampled_busy_ = busy_;
    sampled_tokens_ = tokens_;
    sampled_firsts_ = firsts_.size();
    result_.samples.push_back(sample);
  }

  void Finish() {
    result_.duration = now_;
    result_.wait = SpreadOf(std::move(waits_));
    result_.first_token = SpreadOf(std::move(firsts_));
    result_.token = SpreadOf(std::move(betweens_));
    if (now_ > 0) {
      result_.tokens_per_second = static_cast<double>(tokens_) / now_;
      result_.busy_percent = 100 * busy_ / now_ / options_.replicas;
    }
    if (options_.costs.price_per_hour) {
      result_.cost = Cost(now_);
      if (tokens_ > 0) {
        result_.cost_per_million_tokens = *result_.cost / static_cast<double>(tokens_) * 1e6;
      }
    }
    if (options_.costs.idle_watts) result_.energy_kwh = Energy(now_, busy_);
  }

  const std::vector<LlmRequest>& asked_;
  const LlmServer& server_;
  const ServingOptions& options_;
  placement::Random random_;
  std::vector<Request> requests_;
  std::vector<Replica> replicas_;
  std::deque<int> stranded_;  // while no replica is up
  std::priority_queue<Event> events_;
  std::vector<double> waits_, firsts_, betweens_;
  size_t left_ = 0;
  int64_t tokens_ = 0;
  int64_t down_ = 0;
  double now_ = 0;
  double busy_ = 0;  // seconds of a replica, of all that has begun
  double sampled_at_ = 0, sampled_busy_ = 0;
  int64_t sampled_tokens_ = 0;
  size_t sampled_firsts_ = 0;
  ServingResult result_;
};

}  // namespace

int GpusOf(const LlmServer& server, int replicas) {
  if (server.gpus >= 1) return static_cast<int>(std::lround(server.gpus)) * replicas;
  const int on_one = std::max(1, static_cast<int>(std::floor(1 / server.gpus + 1e-9)));
  return (replicas + on_one - 1) / on_one;
}

ServingResult Serve(const std::vector<LlmRequest>& requests, const LlmServer& server,
                    const ServingOptions& options) {
  return Service(requests, server, options).Go();
}

}  // namespace tranche::simulate
