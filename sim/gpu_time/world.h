#pragma once

#include <array>
#include <cstdint>
#include <deque>
#include <memory>
#include <queue>
#include <random>
#include <vector>

#include "sim/gpu_time/gpu.h"
#include "sim/gpu_time/programs.h"

// Programs on a host that share a GPU, as discrete events, with a place where something may stand
// between them and it.
namespace tranche::sim {

// Costs of the host, in nanoseconds. Assumed, not measured.
struct HostTiming {
  int64_t launch = 3000;
  int64_t graph_launch = 8000;
  int64_t visible = 4000;  // from the launch until the GPU sees it
  int64_t sync_return = 5000;
  int64_t marker = 1000;  // of the stream's time
  int64_t marker_seen_from = 1000, marker_seen_to = 5000;
  int64_t wake_from = 8000, wake_to = 30000;  // from a futex wake until the thread runs
  size_t queue_depth = 1024;
};

class World;

// What stands between. `at` is the time of the thread that calls, which may be ahead of the events.
class Controller {
 public:
  virtual ~Controller() = default;
  virtual void Start(World& world) = 0;
  // May this be launched without asking anybody? Such launches may run ahead of the events.
  virtual bool Covered(uint32_t tenant, const Op& op) = 0;
  // May it be launched now? If not, the thread sleeps until World::Wake().
  virtual bool Ask(uint32_t tenant, const Op& op) = 0;
  virtual void Launched(uint32_t, const Op&, int64_t /*at*/) {}
  virtual void Copied(uint32_t, const Op&, int64_t /*at*/) {}
  virtual void BeforeSync(uint32_t) {}
  // It has waited: nothing that it launched is left.
  virtual void AfterSync(uint32_t) {}
  virtual void MarkerSeen(uint32_t, uint64_t /*marker*/) {}
  virtual void Timer(uint64_t /*tag*/) {}
  virtual void Died(uint32_t) {}
};

// Lets everything through.
class NoController : public Controller {
 public:
  void Start(World&) override {}
  bool Covered(uint32_t, const Op&) override { return true; }
  bool Ask(uint32_t, const Op&) override { return true; }
};

class World {
 public:
  World(std::vector<Program> programs, GpuTiming gpu, HostTiming host, uint32_t seed,
        Controller* controller);

  void RunUntil(int64_t end);
  int64_t now() const { return now_; }
  uint32_t tenants() const { return static_cast<uint32_t>(tenants_.size()); }
  TimedGpu& gpu() { return gpu_; }
  const HostTiming& host() const { return host_; }

  // For controllers.
  void Wake(uint32_t tenant);  // if it sleeps
  void TimerAt(int64_t at, uint64_t tag);
  void PutMarker(uint32_t tenant, uint32_t stream, uint64_t marker, int64_t at);
  int64_t Random(int64_t from, int64_t to);

  // The program is killed: it launches nothing more. What it has queued still runs.
  void KillAt(uint32_t tenant, int64_t at);

  // Nanoseconds; from when a request's first launch was wished until it began on the GPU, and until
  // all of the request was done.
  const std::vector<int64_t>& starts(uint32_t i) const { return tenants_[i].starts; }
  const std::vector<int64_t>& ends(uint32_t i) const { return tenants_[i].ends; }
  uint64_t launches(uint32_t i) const { return tenants_[i].launches; }
  uint64_t wakes() const { return wakes_; }
  uint64_t markers() const { return markers_; }

 private:
  struct Event {
    enum Kind { kStep, kMarker, kTimer, kDeath };
    int64_t at;
    uint64_t order;
    Kind kind;
    uint32_t tenant;
    uint64_t tag;
    bool operator<(const Event& other) const {
      return at != other.at ? at > other.at : order > other.order;
    }
  };
  struct Tenant {
    Program program;
    size_t next = 0;
    std::mt19937_64 random;
    uint32_t outstanding = 0;  // launched, not complete; markers too
    bool asleep = false, full = false, syncing = false, synced = false, dead = false;
    bool asked = false;      // the wish of `next` is known to be refused
    int64_t wished_at = -1;  // of the present request
    int64_t arrival = 0;
    uint64_t launches = 0;
    std::vector<int64_t> starts, ends;
  };

  void At(int64_t at, Event::Kind kind, uint32_t tenant, uint64_t tag = 0);
  void Handle(const Event& event);
  void Step(uint32_t i);
  void Launch(uint32_t i, const Op& op, int64_t at);
  void Finished();
  int64_t Duration(Tenant& tenant, const Op& op);

  std::vector<Tenant> tenants_;
  TimedGpu gpu_;
  HostTiming host_;
  std::mt19937_64 random_;
  Controller* controller_;
  std::priority_queue<Event> events_;
  std::vector<TimedGpu::Done> done_;
  uint64_t order_ = 0;
  int64_t now_ = 0;
  uint64_t wakes_ = 0, markers_ = 0;
};

}  // namespace tranche::sim
