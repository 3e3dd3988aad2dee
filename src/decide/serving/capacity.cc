#include "decide/serving/capacity.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

namespace tranche::serving {
namespace {

constexpr int kLargestBatch = 65536;
constexpr int kMostProcesses = 1024;
constexpr int kHalvings = 8;  // of what a full server does: to 0.4 % of it
// Of the time that an objective leaves beside a full batch, spent on filling it.
constexpr double kWaits[] = {0, 0.2, 0.4};
constexpr double kFull = 0.995;

}  // namespace

std::vector<std::string> WhatIsWrong(const std::vector<ProfilePoint>& points) {
  std::vector<std::string> wrong;
  for (size_t i = 0; i < points.size(); ++i) {
    const ProfilePoint& point = points[i];
    const auto say = [&](const std::string& what) {
      wrong.push_back(fmt::format("point {}: {}", i + 1, what));
    };
    if (point.batch < 1 || point.batch > kLargestBatch) {
      say(fmt::format("a batch of {}, which is not 1 to {}", point.batch, kLargestBatch));
    }
    if (point.processes < 1 || point.processes > kMostProcesses) {
      say(fmt::format("{} processes, which is not 1 to {}", point.processes, kMostProcesses));
    }
    if (!(point.seconds > 0) || !std::isfinite(point.seconds)) {
      say(fmt::format("a latency of {} s", point.seconds));
    }
    if (!(point.per_second > 0) || !std::isfinite(point.per_second)) {
      say(fmt::format("a throughput of {} per second", point.per_second));
    }
  }
  return wrong;
}

BatchServer ServerOf(const ProfilePoint& point, const std::vector<ProfilePoint>& points) {
  // What is claimed to come out per second and how long a batch takes rarely agree to the digit:
  // the slower of the two holds.
  const auto seconds_of = [](const ProfilePoint& one) {
    return std::max(one.seconds, one.batch * one.processes / one.per_second);
  };
  std::map<int, double> known;
  for (const ProfilePoint& one : points) {
    if (one.slice == point.slice && one.processes == point.processes && one.batch <= point.batch &&
        one.per_second > 0) {
      known[one.batch] = seconds_of(one);
    }
  }
  const double full = known[point.batch] = seconds_of(point);
  BatchServer server;
  server.processes = point.processes;
  double longest = 0;
  for (int n = 1; n <= point.batch; ++n) {
    const auto above = known.lower_bound(n);
    double seconds = above->second;
    if (above->first != n && above != known.begin()) {
      const auto below = std::prev(above);
      const double part = static_cast<double>(n - below->first) / (above->first - below->first);
      seconds = below->second + part * (above->second - below->second);
    }
    longest = std::max(longest, std::min(seconds, full));
    server.seconds.push_back(longest);
  }
  return server;
}

double CapacityOf(const BatchServer& server, const Objective& objective, const QueueRun& run) {
  if (server.seconds.empty() || server.seconds.front() > objective.seconds) return 0;
  if (objective.may_miss >= 1) return server.MostPerSecond();
  double low = 0, high = server.MostPerSecond();
  for (int i = 0; i < kHalvings; ++i) {
    const double middle = (low + high) / 2;
    const QueueOutcome outcome = SimulateBatches({server}, {1}, middle, objective.seconds, run);
    (outcome.missed_share() <= objective.may_miss ? low : high) = middle;
  }
  return low;
}

std::vector<Setting> BestSettings(const std::vector<ProfilePoint>& points,
                                  const Objective& objective, const QueueRun& run) {
  std::vector<ProfilePoint> good;
  for (const ProfilePoint& point : points) {
    if (point.per_second > 0 && point.seconds <= objective.seconds * objective.batch_part) {
      good.push_back(point);
    }
  }
  // The fastest first: one that could not serve more even when full need not be tried.
  std::stable_sort(good.begin(), good.end(), [](const ProfilePoint& a, const ProfilePoint& b) {
    return a.per_second > b.per_second;
  });
  std::map<int, Setting> best;
  for (const ProfilePoint& point : good) {
    Setting& setting = best[point.slice];
    BatchServer server = ServerOf(point, points);
    for (const double part : kWaits) {
      // What is left of a full server's capacity is not worth another look.
      if (server.MostPerSecond() * kFull <= setting.per_second) break;
      server.wait = part * (objective.seconds - server.seconds.back());
      const double capacity = CapacityOf(server, objective, run);
      if (capacity > setting.per_second) setting = {point, server.wait, capacity};
    }
  }
  std::vector<Setting> settings;
  for (const auto& [slice, setting] : best) {
    if (setting.per_second > 0) settings.push_back(setting);
  }
  return settings;
}

}  // namespace tranche::serving
