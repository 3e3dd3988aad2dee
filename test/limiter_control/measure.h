#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "sim/gpu_time/world.h"
#include "test/limiter_control/turns_controller.h"

// Runs programs under a controller and says what each got of the GPU.
namespace tranche::limiter_control {

struct Who {
  std::string shape;
  Share share;
};

struct Conditions {
  sim::GpuTiming gpu;
  sim::HostTiming host;
  uint32_t seed = 1;
};

// What each tenant got, in percent of the GPU's time (as its work would take alone).
class Shares {
 public:
  explicit Shares(std::vector<std::vector<double>> seconds) : seconds_(std::move(seconds)) {}

  double Of(uint32_t i) const;
  double Total() const;
  // Part of what all got together.
  double Ratio(uint32_t i) const { return 100 * Of(i) / Total(); }
  // How far the parts of any are from their weights, in points, at most.
  double RatioError(const std::vector<Who>& who) const;
  // Standard deviation of one-second shares, the largest of any.
  double Spread() const;
  // Distance of the worst run of 5 s of any from `wanted` percent.
  double WorstFive(uint32_t i, double wanted) const;

 private:
  std::vector<std::vector<double>> seconds_;  // [second][tenant]
};

std::vector<sim::Program> Programs(const std::vector<Who>& who);
std::vector<Share> SharesOf(const std::vector<Who>& who);

// From `world`'s now: `warm_up` seconds that do not count, then `seconds` that do.
Shares Measure(sim::World& world, int warm_up, int seconds);

// A world with our controller in it.
struct Held {
  Held(const std::vector<Who>& who, const Conditions& setup = {}, TurnsOptions options = {});

  TurnsController controller;
  sim::World world;
};

// Of all values, in the unit given; `part` 0.99 is the 99th percentile. 0 for none.
double Percentile(std::vector<int64_t> values, double part);

}  // namespace tranche::limiter_control
