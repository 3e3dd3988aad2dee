#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "limiter/policy/predictions.h"
#include "limiter/policy/turns.h"
#include "sim/gpu_time/world.h"

// What the shim does with the policy, on the virtual clock: it predicts, takes leases at the gate,
// puts markers behind what was launched, reports what they say and learns from it. Only the
// policy's own headers decide anything.
namespace tranche::limiter_control {

struct Share {
  uint32_t weight = 1000000;
  uint32_t limit = 1000000;
  uint32_t request = 0;
  int32_t priority = 0;
};

struct TurnsOptions {
  // Of GPU time that a thread may use up without asking again; 0: it asks for each kernel.
  int64_t lease = limiter::kMarkerEvery;
  bool calibrate = true;
  // Told to the policy; 0: not measured.
  int64_t switch_cost = 0;
  // A launch behind a copy in its stream asks when the copy is done, or the copy would be billed.
  bool wait_for_copies = true;
};

// A number for what is launched in which shape.
uint64_t KeyOf(const sim::Op& op);

class TurnsController : public sim::Controller {
 public:
  TurnsController(std::vector<Share> shares, TurnsOptions options);

  void Start(sim::World& world) override;
  bool Covered(uint32_t tenant, const sim::Op& op) override;
  bool Ask(uint32_t tenant, const sim::Op& op) override;
  void Launched(uint32_t tenant, const sim::Op& op, int64_t at) override;
  void Copied(uint32_t tenant, const sim::Op& op, int64_t at) override;
  void BeforeSync(uint32_t tenant) override;
  void AfterSync(uint32_t tenant) override;
  void MarkerSeen(uint32_t tenant, uint64_t marker) override;
  void Timer(uint64_t tag) override;
  void Died(uint32_t tenant) override;

  limiter::ComputeDevice& device() { return *device_; }
  limiter::Turns turns() { return limiter::Turns(device_.get()); }

 private:
  // From a thread's lease, or its first unit, to its markers.
  struct Batch {
    uint32_t units = 0;
    int64_t predicted = 0;  // asked for at the gate
    int64_t left = 0;
    int64_t launched = 0;  // predicted
    int64_t first_launch = 0;
    int64_t shared = 0;  // when it began
    bool alone = false;  // nothing of the tenant was in flight when it began
    bool unmeasured = false;
    std::vector<limiter::PredictedPart> parts;
    std::vector<uint32_t> streams;
    uint32_t markers = 0;
  };
  struct Tenant {
    std::unique_ptr<limiter::Predictions> predictions;
    Batch open;
    std::map<uint64_t, Batch> flights;
    int64_t last_seen = 0;
    int64_t last_launch = 0;
    uint32_t copies = 0;
    bool tail_armed = false;
    bool waited = false;  // since its last launch
    bool waits_for_marker = false;
  };

  limiter::Prediction* Predicted(uint32_t i, const sim::Op& op);
  int64_t LeaseFor(int64_t expected) const;
  void Close(uint32_t i, int64_t at);
  void Reached(uint32_t i, uint64_t batch, limiter::Seen seen);
  void Wake(uint64_t who);
  void Arm();

  std::vector<Share> shares_;
  TurnsOptions options_;
  sim::World* world_ = nullptr;
  std::unique_ptr<limiter::ComputeDevice> device_;
  std::vector<Tenant> tenants_;
  uint64_t batches_ = 0;
  int64_t armed_ = limiter::kNever;
};

}  // namespace tranche::limiter_control
