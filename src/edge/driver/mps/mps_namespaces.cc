#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <thread>

#include "edge/driver/mps/mps_control.h"

// The commands of protocol 3: named servers, and namespaces with limits of their own. As in
// NVIDIA's documentation of MPS, release 615, "MPS v3 Interface".

namespace tranche {
namespace {

constexpr const char* kForPrograms = "--format=csv,noheader";
constexpr Duration kReadyWithin = std::chrono::seconds(30);

bool Has(const std::vector<MpsServer>& servers, const std::string& name) {
  return std::any_of(servers.begin(), servers.end(),
                     [&](const MpsServer& server) { return server.name == name; });
}

std::vector<std::string> Limits(const MpsDefaults& limits) {
  std::vector<std::string> options;
  if (limits.memory)
    options.push_back(fmt::format("--pinned-memory-limit={}M", limits.memory->value >> 20));
  if (limits.thread_percentage)
    options.push_back(fmt::format("--active-thread-percentage={}", *limits.thread_percentage));
  options.push_back(fmt::format("--client-priority={}", limits.below_normal_priority ? 1 : 0));
  return options;
}

bool Took(const MpsNamespace& has, const MpsDefaults& limits) {
  const bool memory =
      !limits.memory || (has.memory && has.memory->value >> 20 == limits.memory->value >> 20);
  const bool sms = !limits.thread_percentage ||
                   (has.thread_percentage &&
                    std::abs(*has.thread_percentage - *limits.thread_percentage) < 0.01);
  return memory && sms;
}

}  // namespace

Status MpsControl::AwaitServer(const MpsDaemonFiles& files, const std::string& server) const {
  // A server that cannot have its devices is accepted, ends, and leaves the list; its clients would
  // then run without MPS, and be told nothing. Only asking tells: the program reports no event.
  const auto until = std::chrono::steady_clock::now() + kReadyWithin;
  while (std::chrono::steady_clock::now() < until) {
    const auto status = Do(files, {"server", "get", server, "status"});
    if (!status) break;
    if (status->find("Ready") != std::string::npos) return {};
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return Fail(ErrorCode::kFailed, fmt::format("the MPS server {} is not ready", server),
              fmt::format("its log is in {}/{}", files.log_directory, server));
}

Result<std::string> MpsControl::EnsureServer(const MpsDaemonFiles& files, uint32_t uid) const {
  const std::string name = fmt::format("uid_{}", uid);
  const auto servers = Servers(files);
  if (!servers) return tl::unexpected(servers.error());
  if (!Has(*servers, name)) {
    const auto made = Do(files, {"server", "create", name, fmt::format("--uid={}", uid)});
    if (!made) return FailedWhile("making an MPS server", made.error());
  }
  if (const Status ready = AwaitServer(files, name); !ready) return tl::unexpected(ready.error());
  return name;
}

Status MpsControl::RemoveServer(const MpsDaemonFiles& files, const std::string& server) const {
  const auto servers = Servers(files);
  if (!servers) return tl::unexpected(servers.error());
  for (const MpsServer& one : *servers) {
    if (one.name != server) continue;
    const auto clients = Clients(files, one.pid);
    if (!clients) return tl::unexpected(clients.error());
    if (!clients->empty()) {
      return Fail(ErrorCode::kBusy,
                  fmt::format("{} programs use the MPS server {}", clients->size(), server),
                  "stop them first");
    }
    const auto gone = Do(files, {"server", "delete", server});
    return gone ? Status() : tl::unexpected(gone.error());
  }
  return {};
}

Result<std::vector<MpsNamespace>> MpsControl::Namespaces(const MpsDaemonFiles& files,
                                                         const std::string& server) const {
  const auto list = Do(files, {"namespace", "list", "--server=" + server, kForPrograms});
  if (!list) return tl::unexpected(list.error());
  return mps::ReadNamespaces(*list);
}

Result<std::string> MpsControl::SetNamespace(const MpsDaemonFiles& files, const std::string& server,
                                             const std::string& name,
                                             const MpsDefaults& limits) const {
  const auto find = [&]() -> Result<std::optional<MpsNamespace>> {
    const auto all = Namespaces(files, server);
    if (!all) return tl::unexpected(all.error());
    for (const MpsNamespace& one : *all) {
      if (one.name == name) return std::optional(one);
    }
    return std::optional<MpsNamespace>();
  };
  const auto before = find();
  if (!before) return tl::unexpected(before.error());
  const std::string of = "--server=" + server;
  if (!*before && name != "default") {
    const auto made = Do(files, {"namespace", "create", name, of});
    if (!made) return FailedWhile("making a namespace of MPS", made.error());
  }
  std::vector<std::string> command = {"namespace", "set", name, of};
  for (std::string& option : Limits(limits)) command.push_back(std::move(option));
  const auto set = Do(files, std::move(command));
  if (!set) return FailedWhile("setting the limits of a namespace of MPS", set.error());
  const auto after = find();
  if (!after) return tl::unexpected(after.error());
  if (*after && Took(**after, limits)) return (*after)->pipe_directory;
  return Fail(
      ErrorCode::kFailed,
      fmt::format("the namespace {} of the MPS server {} did not take its limits", name, server));
}

Status MpsControl::RemoveNamespace(const MpsDaemonFiles& files, const std::string& server,
                                   const std::string& name) const {
  const auto gone = Do(files, {"namespace", "delete", name, "--server=" + server});
  return gone ? Status() : tl::unexpected(gone.error());
}

}  // namespace tranche
