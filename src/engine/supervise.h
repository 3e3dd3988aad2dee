#pragma once

#include <string>

#include "base/process.h"
#include "base/units.h"
#include "edge/routes/health.h"
#include "model/spec.h"
#include "model/status.h"

namespace tranche {

// What becomes of one replica, decided from what is seen of it. Pure: the same inputs, the same
// answer.

struct SupervisionPolicy {
  WorkloadKind kind = WorkloadKind::kInference;
  bool probed = true;  // it is asked whether it is well; otherwise running is enough
  // May be unhealthy this long after a start, and this long in a row later on, before it is started
  // anew: what it needs to load is what it may take to come back.
  Duration startup_grace = std::chrono::minutes(5);
  Duration first_delay = std::chrono::seconds(1);  // doubled with every death in a row
  Duration longest_delay = std::chrono::minutes(1);
  Duration stable = std::chrono::minutes(1);  // ran this long: the next death is the first again
  int keeps_dying = 5;                        // deaths in a row that make it kFailing
};

// Carried from one decision to the next. All times are of Clock::Monotonic.
struct Supervision {
  ReplicaState state = ReplicaState::kStarting;
  std::string detail = {};
  Duration started{0};          // the last start
  Duration unhealthy_since{0};  // in kUnhealthy
  Duration retry_at{0};         // in kBackoff and kFailing
  int deaths = 0;               // in a row
  int restarts = 0;             // starts after the first, ever
  bool restarting = false;      // told to stop because it was unhealthy for too long

  bool operator==(const Supervision&) const = default;
};

// What is seen now.
struct ReplicaObservation {
  enum class Process { kNone, kRunning, kStopping, kEnded };

  Duration now{0};
  Process process = Process::kNone;
  ProcessEnd end = {};      // of kEnded
  bool seen_to_end = true;  // false: it ended while nobody watched, so `end` says nothing
  HealthState::Verdict health = HealthState::Verdict::kUnknown;
  std::string health_detail = {};
  bool device_ready = true;  // its slice is there
  std::string device_reason = {};
  bool lease_over = false;
  bool port_taken = false;  // it ended, and another program listens on the port it was given
};

enum class SuperviseAction { kNone, kStart, kStop };

struct SuperviseDecision {
  Supervision next;
  SuperviseAction action = SuperviseAction::kNone;
};

SuperviseDecision Supervise(const Supervision& supervision, const ReplicaObservation& seen,
                            const SupervisionPolicy& policy);

// After a death, or a start that failed: when it is tried again, and what it is called meanwhile.
Supervision AfterDeath(Supervision supervision, Duration now, const std::string& reason,
                       const SupervisionPolicy& policy);

// Whether its requests may come.
bool TakesRequests(ReplicaState state);

}  // namespace tranche
