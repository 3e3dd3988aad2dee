#pragma once

#include <map>
#include <memory>
#include <vector>

#include "limiter/policy/mps_shares.h"
#include "limiter/policy/predictions.h"
#include "sim/gpu_time/world.h"
#include "test/limiter_control/turns_controller.h"

namespace tranche::limiter_control {

// What the shim does with the policy for MPS, on the virtual clock: asks for each unit, puts a
// marker behind every 500 us of them, and learns from units that ran alone.
class MpsController : public sim::Controller {
 public:
  MpsController(std::vector<Share> shares, uint32_t sms);

  void Start(sim::World& world) override;
  bool Covered(uint32_t, const sim::Op&) override { return false; }
  bool Ask(uint32_t tenant, const sim::Op& op) override;
  void Launched(uint32_t tenant, const sim::Op& op, int64_t at) override;
  void BeforeSync(uint32_t tenant) override { Close(tenant, world_->now()); }
  void MarkerSeen(uint32_t tenant, uint64_t marker) override;
  void Timer(uint64_t tag) override;

  limiter::ComputeDevice& device() { return *device_; }
  limiter::MpsShares policy() { return limiter::MpsShares(device_.get()); }

 private:
  struct Batch {
    uint32_t units = 0;
    int64_t admitted = 0;
    int64_t expected = 0;  // alone
    int64_t first_launch = 0;
    int64_t shared = 0;  // when it began
    bool alone = false;  // nothing of the tenant was in flight when it began
    bool unmeasured = false;
    std::vector<limiter::PredictedPart> parts;
    uint32_t demand = 0;
    uint32_t stream = 0;
  };
  struct Tenant {
    std::unique_ptr<limiter::Predictions> predictions;
    Batch open;
    std::map<uint64_t, Batch> flights;
    int64_t last_launch = 0;
    uint64_t launches = 0;
    int64_t sampled_at = 0;
    int64_t last_seen = 0;
    bool tail_armed = false;
  };

  uint32_t DemandOf(const sim::Op& op) const;
  void Close(uint32_t i, int64_t at);
  void Wake(uint64_t who);
  void Arm();

  std::vector<Share> shares_;
  uint32_t sms_;
  sim::World* world_ = nullptr;
  std::unique_ptr<limiter::ComputeDevice> device_;
  limiter::MpsShares policy_;
  std::vector<Tenant> tenants_;
  uint64_t batches_ = 0;
  int64_t armed_ = limiter::kNever;
};

}  // namespace tranche::limiter_control
