#include "test/limiter_control/measure.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

namespace tranche::limiter_control {

double Shares::Of(uint32_t i) const {
  double sum = 0;
  for (const std::vector<double>& second : seconds_) sum += second[i];
  return sum / static_cast<double>(seconds_.size());
}

double Shares::Total() const {
  double sum = 0;
  for (uint32_t i = 0; i < seconds_[0].size(); ++i) sum += Of(i);
  return sum;
}

double Shares::RatioError(const std::vector<Who>& who) const {
  double weights = 0, worst = 0;
  for (const Who& w : who) weights += w.share.weight;
  for (uint32_t i = 0; i < who.size(); ++i)
    worst = std::max(worst, std::abs(Ratio(i) - 100 * who[i].share.weight / weights));
  return worst;
}

double Shares::Spread() const {
  double worst = 0;
  for (uint32_t i = 0; i < seconds_[0].size(); ++i) {
    const double mean = Of(i);
    double squares = 0;
    for (const std::vector<double>& second : seconds_)
      squares += (second[i] - mean) * (second[i] - mean);
    worst = std::max(worst, std::sqrt(squares / static_cast<double>(seconds_.size())));
  }
  return worst;
}

double Shares::WorstFive(uint32_t i, double wanted) const {
  double worst = 0;
  for (size_t from = 0; from + 5 <= seconds_.size(); ++from) {
    double sum = 0;
    for (size_t second = from; second < from + 5; ++second) sum += seconds_[second][i];
    worst = std::max(worst, std::abs(sum / 5 - wanted));
  }
  return worst;
}

std::vector<sim::Program> Programs(const std::vector<Who>& who) {
  std::vector<sim::Program> programs;
  for (const Who& w : who) programs.push_back(sim::Shape(w.shape).value());
  return programs;
}

std::vector<Share> SharesOf(const std::vector<Who>& who) {
  std::vector<Share> shares;
  for (const Who& w : who) shares.push_back(w.share);
  return shares;
}

Shares Measure(sim::World& world, int warm_up, int seconds) {
  constexpr int64_t kSecond = 1'000'000'000;
  world.RunUntil(world.now() + warm_up * kSecond);
  std::vector<double> before(world.tenants());
  for (uint32_t i = 0; i < world.tenants(); ++i) before[i] = world.gpu().served(i);
  std::vector<std::vector<double>> all;
  for (int second = 0; second < seconds; ++second) {
    world.RunUntil(world.now() + kSecond);
    all.emplace_back();
    for (uint32_t i = 0; i < world.tenants(); ++i) {
      all.back().push_back((world.gpu().served(i) - before[i]) / (kSecond / 100));
      before[i] = world.gpu().served(i);
    }
  }
  return Shares(std::move(all));
}

Held::Held(const std::vector<Who>& who, const Conditions& setup, TurnsOptions options)
    : controller(SharesOf(who), options),
      world(Programs(who), setup.gpu, setup.host, setup.seed, &controller) {}

double Percentile(std::vector<int64_t> values, double part) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  const auto at = static_cast<size_t>(part * static_cast<double>(values.size() - 1) + 0.5);
  return static_cast<double>(values[at]);
}

}  // namespace tranche::limiter_control
