#include "engine/supervise.h"

#include <fmt/format.h>

#include <algorithm>

namespace tranche {
namespace {

using Process = ReplicaObservation::Process;
using Verdict = HealthState::Verdict;

// Jobs that come to an end; a server never should.
bool MayFinish(WorkloadKind kind) { return kind != WorkloadKind::kInference; }

Duration DelayAfter(int deaths, const SupervisionPolicy& policy) {
  Duration delay = policy.first_delay;
  for (int i = 1; i < deaths && delay < policy.longest_delay; ++i) delay *= 2;
  return std::min(delay, policy.longest_delay);
}

SuperviseDecision Ended(Supervision next, const ReplicaObservation& seen,
                        const SupervisionPolicy& policy) {
  if (next.restarting) {
    next.restarting = false;
    return {AfterDeath(next, seen.now, next.detail, policy)};
  }
  if (seen.port_taken && next.state == ReplicaState::kStarting) {
    // Between choosing a port and listening on it somebody else was faster: no fault of the
    // workload.
    next.started = seen.now;
    next.detail.clear();
    return {next, SuperviseAction::kStart};
  }
  const bool told = seen.seen_to_end && (seen.end.exit_code || seen.end.signal);
  if (MayFinish(policy.kind) && told && seen.end.exit_code == 0) {
    next.state = ReplicaState::kEnded;
    next.detail = "finished with exit code 0";
    return {next};
  }
  if (MayFinish(policy.kind) && !told) {
    // To run a finished job again may do more harm than to wait for its owner.
    next.state = ReplicaState::kEnded;
    next.detail =
        "it ended while Tranche was away, and how is not known; `tranche restart` runs it again";
    return {next};
  }
  const std::string how = told ? seen.end.Text() : "ended while Tranche was away";
  return {AfterDeath(next, seen.now, how, policy)};
}

SuperviseDecision Running(Supervision next, const ReplicaObservation& seen,
                          const SupervisionPolicy& policy) {
  if (seen.now - next.started >= policy.stable) next.deaths = 0;
  if (!policy.probed || seen.health == Verdict::kUp) {
    next.state = ReplicaState::kHealthy;
    next.detail.clear();
    return {next};
  }
  switch (next.state) {
    case ReplicaState::kHealthy:
      // Not asked often enough yet (just adopted, say): what was known still stands.
      if (seen.health == Verdict::kUnknown) return {next};
      next.state = ReplicaState::kUnhealthy;
      next.unhealthy_since = seen.now;
      next.detail = seen.health_detail;
      return {next};
    case ReplicaState::kUnhealthy:
      if (seen.now - next.unhealthy_since < policy.startup_grace) {
        next.detail = seen.health_detail;
        return {next};
      }
      next.detail = fmt::format("unhealthy for {}: {}", FormatDuration(policy.startup_grace),
                                seen.health_detail);
      next.restarting = true;
      return {next, SuperviseAction::kStop};
    default:
      next.state = ReplicaState::kStarting;
      if (seen.now - next.started < policy.startup_grace) {
        next.detail = seen.health_detail;
        return {next};
      }
      next.state = ReplicaState::kUnhealthy;
      next.unhealthy_since = seen.now - policy.startup_grace;
      next.detail = fmt::format("not healthy within its start-up grace of {}: {}",
                                FormatDuration(policy.startup_grace), seen.health_detail);
      next.restarting = true;
      return {next, SuperviseAction::kStop};
  }
}

SuperviseDecision Absent(Supervision next, const ReplicaObservation& seen,
                         const SupervisionPolicy& policy) {
  const bool waiting = next.state == ReplicaState::kStarting ||
                       next.state == ReplicaState::kBackoff || next.state == ReplicaState::kFailing;
  if (!waiting) return Ended(next, seen, policy);
  if (next.state != ReplicaState::kStarting && seen.now < next.retry_at) return {next};
  if (!seen.device_ready) {
    // Not its fault: no death is counted while its slice is away.
    next.state = ReplicaState::kStarting;
    next.detail = seen.device_reason;
    return {next};
  }
  if (next.state != ReplicaState::kStarting) ++next.restarts;
  next.state = ReplicaState::kStarting;
  next.started = seen.now;
  next.detail.clear();
  return {next, SuperviseAction::kStart};
}

}  // namespace

Supervision AfterDeath(Supervision supervision, Duration now, const std::string& reason,
                       const SupervisionPolicy& policy) {
  Supervision next = std::move(supervision);
  const bool was_stable = next.deaths > 0 && now - next.started >= policy.stable;
  next.deaths = was_stable ? 1 : next.deaths + 1;
  const Duration delay = DelayAfter(next.deaths, policy);
  next.retry_at = now + delay;
  next.state = next.deaths >= policy.keeps_dying ? ReplicaState::kFailing : ReplicaState::kBackoff;
  next.detail = next.deaths == 1
                    ? fmt::format("{}; starts again in {}", reason, FormatDuration(delay))
                    : fmt::format("{}; {} times in a row, starts again in {}", reason, next.deaths,
                                  FormatDuration(delay));
  return next;
}

bool TakesRequests(ReplicaState state) { return state == ReplicaState::kHealthy; }

SuperviseDecision Supervise(const Supervision& supervision, const ReplicaObservation& seen,
                            const SupervisionPolicy& policy) {
  Supervision next = supervision;
  const bool running = seen.process == Process::kRunning;
  switch (next.state) {
    case ReplicaState::kStopped:
    case ReplicaState::kEnded:
      return {next, running ? SuperviseAction::kStop : SuperviseAction::kNone};
    case ReplicaState::kFaulted:
      // A process that dies on a broken slice is not started there again.
      return {next};
    default:
      break;
  }
  if (seen.lease_over) {
    next.state = ReplicaState::kEnded;
    next.detail = "its lease ended";
    return {next, running ? SuperviseAction::kStop : SuperviseAction::kNone};
  }
  switch (seen.process) {
    case Process::kRunning:
      return Running(next, seen, policy);
    case Process::kStopping:
      return {next};
    case Process::kEnded:
      return Ended(next, seen, policy);
    case Process::kNone:
      return Absent(next, seen, policy);
  }
  return {next};
}

}  // namespace tranche
