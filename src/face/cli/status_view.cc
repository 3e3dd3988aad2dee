#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <iterator>
#include <map>

#include "base/json.h"
#include "face/cli/views.h"

namespace tranche {
namespace {

constexpr Duration kLately = std::chrono::minutes(10);
constexpr int kMostEvents = 8;
constexpr ReplicaState kOrdinaryStates[] = {ReplicaState::kStarting, ReplicaState::kHealthy,
                                            ReplicaState::kStopped};

Style StyleOf(ReplicaState state) {
  switch (state) {
    case ReplicaState::kHealthy:
      return Style::kGreen;
    case ReplicaState::kStarting:
      return Style::kCyan;
    case ReplicaState::kUnhealthy:
    case ReplicaState::kBackoff:
      return Style::kYellow;
    case ReplicaState::kFailing:
    case ReplicaState::kFaulted:
      return Style::kRed;
    case ReplicaState::kStopped:
    case ReplicaState::kEnded:
      return Style::kDim;
  }
  return Style::kPlain;
}

// Whole seconds and at most two units: "3h12m", "45s".
std::string Roughly(Duration duration) {
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(duration).count();
  if (seconds < 0) return "0s";
  if (seconds < 60) return fmt::format("{}s", seconds);
  if (seconds < 3600) return fmt::format("{}m{}s", seconds / 60, seconds % 60);
  if (seconds < 86400) return fmt::format("{}h{}m", seconds / 3600, seconds / 60 % 60);
  return fmt::format("{}d{}h", seconds / 86400, seconds / 3600 % 24);
}

std::string RouteUrl(const SystemStatus& status, const ReplicaStatus& replica) {
  if (replica.route.empty()) return "";
  return status.router.running ? status.router.url + replica.route : replica.route;
}

Table ReplicaTable(const SystemStatus& status, Time now) {
  Table table;
  table.columns = {{"workload", "WORKLOAD"},
                   {"state", "STATE"},
                   {"slice", "SLICE"},
                   {"memory_used_bytes", "USED", Align::kRight},
                   {"memory_bytes", "HOLDS", Align::kRight},
                   {"restarts", "RESTARTS", Align::kRight},
                   {"uptime", "UP", Align::kRight},
                   {"route", "ROUTE"},
                   {"detail", "DETAIL", Align::kLeft, false, true},
                   {"team", "TEAM", Align::kLeft, true},
                   {"pid", "PID", Align::kRight, true},
                   {"port", "PORT", Align::kRight, true},
                   {"guarantee", "GUARANTEE", Align::kLeft, true},
                   {"device_uuid", "DEVICE", Align::kLeft, true}};
  for (const ReplicaStatus& replica : status.replicas) {
    const std::string state = ReplicaStateName(replica.state);
    table.rows.push_back(
        {fmt::format("{}/{}", replica.workload, replica.replica),
         Cell(state, state, StyleOf(replica.state)), SliceName(replica.slice, replica.gpu_index),
         replica.memory_used
             ? Cell(FormatBytes(*replica.memory_used), std::to_string(replica.memory_used->value))
             : Cell(),
         Cell(FormatBytes(replica.slice.memory), std::to_string(replica.slice.memory.value)),
         std::to_string(replica.restarts),
         replica.started_at
             ? Cell(Roughly(now - *replica.started_at), FormatTime(*replica.started_at))
             : Cell(),
         RouteUrl(status, replica), replica.detail, replica.team,
         replica.pid ? Cell(std::to_string(*replica.pid)) : Cell(),
         replica.port ? Cell(std::to_string(*replica.port)) : Cell(),
         GuaranteesText(replica.guarantee), replica.device_uuid});
  }
  return table;
}

Table LeaseTable(const SystemStatus& status, Time now) {
  Table table;
  table.columns = {{"lease", "LEASE"},
                   {"program", "PROGRAM"},
                   {"gpu", "GPU", Align::kRight},
                   {"memory_used_bytes", "USED", Align::kRight},
                   {"memory_bytes", "MEMORY", Align::kRight},
                   {"compute", "COMPUTE", Align::kRight},
                   {"compute_used_ns", "GPU TIME", Align::kRight},
                   {"processes", "PROCESSES", Align::kRight},
                   {"uptime", "UP", Align::kRight},
                   {"guarantee", "GUARANTEE", Align::kLeft, true},
                   {"pid", "PID", Align::kRight, true},
                   {"uid", "UID", Align::kRight, true}};
  for (const Lease& lease : status.leases) {
    std::string compute;
    if (lease.compute) {
      compute = FormatPercent(lease.compute->request.value);
      if (lease.compute->limit != lease.compute->request)
        compute += fmt::format("..{}", FormatPercent(lease.compute->limit.value));
    }
    table.rows.push_back(
        {lease.id, lease.program, std::to_string(lease.gpu_index),
         Cell(FormatBytes(lease.memory_used), std::to_string(lease.memory_used.value)),
         lease.memory ? Cell(FormatBytes(*lease.memory), std::to_string(lease.memory->value))
                      : Cell(),
         compute,
         lease.compute_used
             ? Cell(fmt::format("{:.1f}s", static_cast<double>(lease.compute_used->count()) / 1e9),
                    std::to_string(lease.compute_used->count()))
             : Cell(),
         std::to_string(lease.processes), Roughly(now - lease.since),
         GuaranteesText(lease.guarantee()), std::to_string(lease.pid), std::to_string(lease.uid)});
  }
  return table;
}

}  // namespace

std::string ReplicaCounts(const SystemStatus& status) {
  std::map<ReplicaState, int> counts;
  for (const ReplicaStatus& replica : status.replicas) ++counts[replica.state];
  std::string out;
  // Worst last in the enum, best near the front; people look for what is not healthy.
  for (const auto& [state, count] : counts) {
    out += fmt::format("{}{} {}", out.empty() ? "" : ", ", count, ReplicaStateName(state));
  }
  return out.empty() ? "nothing is deployed" : out;
}

// What happened lately to what is deployed and is not told by its state.
std::string LatelyText(const SystemStatus& status, Time now) {
  std::string text;
  int shown = 0;
  for (const StatusEvent& event : status.events) {
    if (now - event.time > kLately || shown == kMostEvents) break;
    const bool only_state =
        std::any_of(std::begin(kOrdinaryStates), std::end(kOrdinaryStates),
                    [&](ReplicaState state) { return event.message == ReplicaStateName(state); });
    if (only_state) continue;
    ++shown;
    text += fmt::format("  {:>4} ago  {}: {}\n", Roughly(now - event.time), event.subject,
                        event.message);
  }
  return text.empty() ? "" : "\nLately\n" + text;
}

// GPUs that processes take turns on, and those that are kept free.
std::string SharingText(const SystemStatus& status) {
  std::string text;
  for (const TimeSlicedGpu& gpu : status.time_sliced) {
    text += fmt::format(
        "gpu{} is time-sliced among {}{}{}{}\n", gpu.gpu_index, gpu.tenants,
        gpu.time_slice ? fmt::format(", in {} slices", TimeSliceName(*gpu.time_slice)) : "",
        gpu.note.empty() ? "" : ": ", gpu.note);
  }
  for (const MpsDevice& device : status.mps) {
    text += fmt::format("gpu{}{} is shared by {} through MPS, which fails {}{}\n", device.gpu_index,
                        device.device_uuid == device.gpu_uuid ? "" : " " + device.device_uuid,
                        device.tenants,
                        device.fails_open.empty() ? "closed" : "open: ", device.fails_open);
    for (const std::string& held : device.held) text += "  " + held + "\n";
  }
  for (const DrainStatus& drain : status.drained) {
    text += fmt::format("gpu{} is drained{}\n", drain.gpu_index,
                        drain.waiting_for.empty()
                            ? ", and free"
                            : fmt::format("; still on it: {}", fmt::join(drain.waiting_for, ", ")));
  }
  return text.empty() ? "" : "\n" + text;
}

Answer ViewStatus(const SystemStatus& status, Time now) {
  Answer answer;
  answer.json = ToJson(status);
  Table table = ReplicaTable(status, now);
  std::string tail;
  if (status.replicas.empty()) {
    if (status.leases.empty()) answer.blocks.emplace_back("Nothing is deployed.\n");
    answer.csv = std::move(table);
  } else {
    answer.blocks.emplace_back(std::move(table));
    tail = "\n" + ReplicaCounts(status) + ".";
    if (status.router.running)
      tail += " Routes at " + status.router.url + ".";
    else if (!status.router.detail.empty())
      tail += " No routes: " + status.router.detail + ".";
    tail += "\n";
  }
  if (!status.leases.empty()) {
    if (!tail.empty()) answer.blocks.emplace_back(Printable(tail + "\n", true));
    tail.clear();
    answer.blocks.emplace_back(LeaseTable(status, now));
  }
  if (!status.tiers.empty()) {
    answer.blocks.emplace_back(Printable(tail + "\n", true));
    answer.blocks.emplace_back(TierTable(status.tiers));
    tail = TierNotes(status.tiers);
  }
  tail += SharingText(status);
  tail += LatelyText(status, now);
  for (const std::string& warning : status.warnings) tail += "warning: " + warning + "\n";
  if (!tail.empty()) answer.blocks.emplace_back(Printable(tail, true));
  return answer;
}

}  // namespace tranche
