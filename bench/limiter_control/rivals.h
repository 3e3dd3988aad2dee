#pragma once

#include <cstdint>
#include <deque>
#include <vector>

#include "sim/gpu_time/world.h"

// Models of the compute controllers that others ship, from descriptions of their sources. They show
// what steering by utilisation does; they are not those programs.
namespace tranche::limiter_control {

// What NVML's per-process utilisation would say: the part of the last second, in percent.
class Utilisation {
 public:
  void Sample(int64_t now, double served);
  double LastSecond() const;

 private:
  struct Point {
    int64_t at;
    double served;
  };
  std::deque<Point> points_;
};

// HAMi-core: a pool of thread blocks that each kernel launch takes its grid from; whoever finds it
// below zero sleeps 10 ms. Every 120 ms the refill moves by a step in SMs squared times the
// distance of utilisation from the limit. Graphs are not hooked.
class HamiController : public sim::Controller {
 public:
  // In percent; 100 is off.
  explicit HamiController(std::vector<double> limits) : tenants_(limits.size()) {
    for (size_t i = 0; i < limits.size(); ++i) tenants_[i].limit = limits[i];
  }
  void Start(sim::World& world) override;
  bool Covered(uint32_t tenant, const sim::Op& op) override;
  bool Ask(uint32_t tenant, const sim::Op& op) override;
  void Launched(uint32_t tenant, const sim::Op& op, int64_t at) override;
  void Timer(uint64_t tag) override;

 private:
  static constexpr double kSms = 132, kThreads = 2048;
  struct Tenant {
    double limit = 100;
    double total = kSms * kThreads * 32;
    double pool = kSms * kThreads * 32;
    double share = 0;
    Utilisation utilisation;
  };
  sim::World* world_ = nullptr;
  std::vector<Tenant> tenants_;
};

// vgpu.rs: a token bucket of 2 s whose refill a PID controller (kp 0.5, ki 0.1, kd 0.05 over a
// moving average of 0.3) sets from utilisation; sleeps of 10 ms. Its update period (100 ms) and
// unit of cost (blocks) are our guesses. Graphs are not hooked.
class PidController : public sim::Controller {
 public:
  explicit PidController(std::vector<double> limits) : tenants_(limits.size()) {
    for (size_t i = 0; i < limits.size(); ++i) tenants_[i].limit = limits[i];
  }
  void Start(sim::World& world) override;
  bool Covered(uint32_t tenant, const sim::Op& op) override;
  bool Ask(uint32_t tenant, const sim::Op& op) override;
  void Launched(uint32_t tenant, const sim::Op& op, int64_t at) override;
  void Timer(uint64_t tag) override;

 private:
  struct Tenant {
    double limit = 100;
    double rate = 1e6;  // tokens per second
    double tokens = 0;
    int64_t refilled_at = 0;
    double average = 0, integral = 0, last = 0;
    Utilisation utilisation;
  };
  void Refill(Tenant* tenant);

  sim::World* world_ = nullptr;
  std::vector<Tenant> tenants_;
};

}  // namespace tranche::limiter_control
