#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "catalog/catalog.h"
#include "edge/routes/health.h"
#include "edge/routes/router.h"
#include "edge/runtime/runtime.h"
#include "edge/store/store.h"
#include "engine/device.h"
#include "engine/fraction_slices.h"
#include "engine/supervise.h"
#include "stage/apply/precheck.h"

namespace tranche {

// Finds the device behind a slice, on the machine as it is now or was a moment ago.
using DeviceFinder = std::function<Result<SliceDevice>(const Slice& slice)>;

struct SupervisorOptions {
  std::string log_directory;
  std::string program_directory;  // of Tranche's own programs
  std::string root = "/";
  Duration stop_grace = std::chrono::seconds(15);
  int first_port = 18000;  // where ports that no spec fixes are looked for
};

// Keeps the workloads of an installation running: starts them, watches them, takes them in and out
// of the routes, and writes down what it must know to find them again after a crash. Decides
// through Supervise().
//
// All methods are safe from any thread. Those that wait (StopReplica, WaitHealthy, StopAll, and
// UpdateRoutes while the router reloads) hold no lock over the table meanwhile.
class Supervisor {
 public:
  struct Parts {
    Store& store;
    Runtime& runtime;
    Result<std::unique_ptr<Router>> router;  // without one, nothing with a route can be applied
    std::unique_ptr<HealthChecker> health;
    std::shared_ptr<const Catalog> catalog;
    std::shared_ptr<Clock> clock;
    DeviceFinder find_device;
    FractionSlices& fractions;
  };
  Supervisor(Parts parts, SupervisorOptions options);

  // ---- Opening ----

  // Takes over what runs and is known from the store; `candidates` are the installations that it
  // may have been started from. Processes of ours that fit none of them are stopped.
  Status Adopt(const std::vector<const Installation*>& candidates);

  // Makes the table that of `installation`: what it lacks is added and will be started, what it has
  // no place for is stopped.
  Status Align(const Installation& installation);

  // ---- Steps of a plan ----

  // Takes it out of the route, stops it gracefully, and leaves it alone from then on. OK when it is
  // not there.
  Status StopReplica(const ReplicaKey& key);
  // Starts it now. On failure nothing is left running.
  Result<std::string> StartReplica(const Launch& launch, const DeployedReplica& deployed);
  // As it was before StopReplica: under supervision, started at once where that is possible.
  Status RestoreReplica(const Launch& launch, const DeployedReplica& deployed);
  bool IsRunning(const ReplicaKey& key);
  // Whether a process started from exactly this runs, or one did and has finished.
  bool WasStarted(const DeployedReplica& deployed);
  // Whether what is in the table, running or not, came from exactly this.
  bool IsFrom(const DeployedReplica& deployed);
  // Waits until it takes requests; kFailed, saying what is wrong with it, when it dies or its grace
  // is over.
  Status WaitHealthy(const ReplicaKey& key);
  // From now on the routes follow the table; kUnavailable when there is no router.
  Status BeginRouting();
  // Ends the router. No route comes back before the next BeginRouting, whatever is in the table: a
  // plan that takes everything down ends the router before the replicas.
  Status Unroute();
  // Whether a router could be had at all.
  Status RouterAvailable() const;

  // ---- On request ----

  void Stop(const ReplicaKey& key);  // asynchronous; it stays in the table as kStopped
  Status Restart(const ReplicaKey& key);
  Status StopAll();

  // ---- On a timer ----

  void Supervise();
  // Takes the replicas of these slices out of their routes until they are restarted or their slice
  // is remade.
  void Fault(const std::function<bool(const Slice&)>& concerns, const std::string& reason);
  // Ends a replica whose process is not held to its slice, and leaves it ended until a restart is
  // asked for.
  void StopUnenforced(const ReplicaKey& key, const std::string& reason);
  // Ends a replica that has not given back what was lent to it; it starts again with what is its
  // own.
  void TakeBack(const ReplicaKey& key, const std::string& reason);
  // Starts the replica of this slice anew, because its device is another one now.
  void DeviceReplaced(const Slice& slice, const std::string& reason);
  // Starts those anew that share this device through MPS, because what they had on it is lost.
  void DeviceFailed(const std::string& device_uuid, const std::string& reason);
  // Ends the process of this slice, whose device is gone; true when none is left.
  bool ClearSlice(const std::string& gpu_uuid, MigPlacement placement);

  // ---- Asking ----

  std::vector<ReplicaStatus> GetReplicas();
  RouterStatus GetRouter();
  std::optional<ReplicaKey> OwnerOf(int pid);
  std::string LogPath(const ReplicaKey& key) const;
  // Whether that replica ever wrote a log here, deployed or not.
  bool HasLog(const ReplicaKey& key) const;
  std::set<ReplicaKey> Ended();  // those that finished by themselves

 private:
  struct Entry {
    ReplicaRecord record;
    Launch launch;
    Supervision supervision;
    bool held = false;      // a step of a plan has it in hand
    bool vanished = false;  // its process ended while nobody watched
    std::string access_reason;
    Guarantee access = Guarantee::kNone;
    std::string health_detail;
  };
  using Table = std::map<ReplicaKey, Entry>;

  // All of these with mutex_ held.
  void SuperviseEntry(const ReplicaKey& key, Entry& entry,
                      const std::map<std::string, HealthReport>& reports);
  ReplicaObservation Observe(const ReplicaKey& key, Entry& entry,
                             const std::map<std::string, HealthReport>& reports);
  Status Start(const ReplicaKey& key, Entry& entry);
  Result<int> ChoosePort(const ReplicaKey& key, const Entry& entry) const;
  // Whether somebody else listens on the port that this replica chose.
  bool LostItsPort(const ReplicaKey& key, const Entry& entry) const;
  void Save(Entry& entry);
  void Note(const ReplicaKey& key, const std::string& message);
  void SetTargets();
  std::vector<Route> Routes() const;
  static SupervisionPolicy PolicyOf(const Launch& launch);
  Entry MakeEntry(const Launch& launch, const DeployedReplica& deployed) const;
  ReplicaMark MarkOf(const ReplicaKey& key, uint64_t generation) const;

  // Its process is ended, not counted as a death, and started again.
  void StartAnew(const ReplicaKey& key, Entry& entry, const std::string& reason);
  void RotateLogs();

  Store& store_;
  Runtime& runtime_;
  Result<std::unique_ptr<Router>> router_;
  std::unique_ptr<HealthChecker> health_;
  std::shared_ptr<const Catalog> catalog_;
  std::shared_ptr<Clock> clock_;
  DeviceFinder find_device_;
  FractionSlices& fractions_;
  const SupervisorOptions options_;

  std::mutex mutex_;
  Table table_;                        // guarded by mutex_
  std::vector<HealthTarget> targets_;  // what health_ was told; guarded by mutex_
  bool shut_down_ = false;             // guarded by mutex_
  Duration logs_rotated_{0};           // guarded by mutex_

  // Puts the routes of the table into force when routing has begun.
  Status UpdateRoutes();
  Status UpdateRoutesLocked();  // holding route_mutex_

  // Held while routes are computed and put into force, so that an older set never replaces a newer
  // one. Taken before mutex_.
  std::mutex route_mutex_;
  bool routing_ = false;                      // guarded by route_mutex_
  std::optional<std::vector<Route>> routed_;  // in force; guarded by route_mutex_
};

}  // namespace tranche
