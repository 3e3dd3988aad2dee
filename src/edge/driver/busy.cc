#include "edge/driver/busy.h"

#include <fmt/format.h>

namespace tranche {

std::string DescribeProcess(const GpuProcess& process) {
  std::string about;
  const auto add = [&about](const std::string& text) {
    if (!about.empty()) about += ", ";
    about += text;
  };
  if (!process.command.empty()) add(process.command);
  if (!process.user.empty()) add("user " + process.user);
  if (!process.container.empty()) add("container " + process.container);
  return about.empty() ? fmt::format("pid {}", process.pid)
                       : fmt::format("pid {} ({})", process.pid, about);
}

Error BusyError(const std::string& doing, const std::vector<GpuProcess>& processes) {
  if (processes.empty()) {
    return {
        ErrorCode::kBusy, doing + ": in use by a client that the driver does not list",
        "look for monitoring agents (dcgm, nvidia-persistenced), display servers and MPS daemons "
        "with 'fuser -v /dev/nvidia*', stop them and try again"};
  }
  std::string who;
  for (const GpuProcess& process : processes) {
    if (!who.empty()) who += ", ";
    who += DescribeProcess(process);
  }
  return {ErrorCode::kBusy, doing + ": in use by " + who,
          "stop what is in the way, or wait for it to end, and try again"};
}

}  // namespace tranche
