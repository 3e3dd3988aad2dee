#include "sim/mps/named_daemon.h"
#include "sim/mps/named_words.h"
#include "sim/mps/sockets.h"

namespace tranche::sim::mps {
namespace {

constexpr char kUnits[] = "GMK";

// All that is wrong with limits, before any is set.
Status CheckLimits(const LimitsWish& wish) {
  Words wrong;
  if (wish.memory && !Size(*wish.memory, kUnits))
    wrong.push_back("'" + *wish.memory + "' is no memory limit (a whole number with G, M or K)");
  if (wish.percentage && !Percentage(*wish.percentage, 1))
    wrong.push_back("'" + *wish.percentage + "' is no active thread percentage (1 to 100)");
  if (wish.priority && *wish.priority != "0" && *wish.priority != "1")
    wrong.push_back("'" + *wish.priority + "' is no client priority (0 normal, 1 below normal)");
  return wrong.empty() ? Status() : Fail(ErrorCode::kInvalid, Join(wrong, "; "));
}

}  // namespace

Status NamedDaemon::CreateNamespace(const std::string& server, const std::string& name) {
  if (!IsName(name)) return NoName("namespace", name);
  const std::string pipe = settings_.pipe_directory + "/" + server + "/" + name;
  if (!FitsSocket(pipe)) return TooLong(pipe);
  return Change(server, [&](MachineState* state, MpsServer* one) -> Status {
    switch (AddMpsNamespace(state, one->serial, name)) {
      case Rc::kOk:
        return {};
      case Rc::kInvalid:
        return Fail(ErrorCode::kBusy,
                    "There is a namespace '" + name + "' in server '" + server + "' already");
      default:
        return Fail(ErrorCode::kDoesNotFit,
                    "Server '" + server + "' has as many namespaces as there may be: " +
                        std::to_string(kMaxMpsNamespacesOfServer) + ", or " +
                        std::to_string(kMaxMpsNamespaces) + " on the machine");
    }
  });
}

Status NamedDaemon::DeleteNamespace(const std::string& server, const std::string& name,
                                    bool force) {
  return Change(server, [&](MachineState* state, MpsServer* one) -> Status {
    const auto found = FindIn(*state, server, name);
    if (!found) return tl::unexpected(found.error());
    if (name == kDefaultNamespace)
      return Fail(ErrorCode::kInvalid, "The namespace 'default' is a part of its server");
    const std::vector<uint32_t> clients =
        MpsClients(*state, one->serial, {nullptr, (*found)->serial, 0});
    if (!clients.empty() && !force) {
      return Fail(ErrorCode::kBusy, "Namespace '" + name + "' has clients: " + Listed(clients) +
                                        " (--force terminates them)");
    }
    RemoveMpsNamespace(state, (*found)->serial);
    return {};
  });
}

Status NamedDaemon::SetLimits(const std::string& server, const std::string& name,
                              const LimitsWish& wish) {
  return Change(server, [&](MachineState* state, MpsServer* one) -> Status {
    return Limit(state, *one, name, wish);
  });
}

Status NamedDaemon::Limit(MachineState* state, const MpsServer& server, const std::string& name,
                          const LimitsWish& wish) const {
  if (const Status good = CheckLimits(wish); !good) return good;
  const auto found = FindIn(*state, server.name, name);
  if (!found) return tl::unexpected(found.error());
  auto* one = const_cast<MpsNamespace*>(*found);
  if (wish.memory) {
    one->memory_limit = *Size(*wish.memory, kUnits);
    Keep(*wish.memory, one->memory_as_set);
  }
  if (wish.percentage) one->thread_percentage = *Percentage(*wish.percentage, 1);
  if (wish.priority) {
    one->priority_is_set = 1;
    one->below_normal = *wish.priority == "1" ? 1 : 0;
  }
  return {};
}

}  // namespace tranche::sim::mps
