#include <algorithm>

#include "sim/mps/modules.h"

namespace tranche::sim::mps {
namespace {

// A client on one device; a program that uses two of them has two rows.
struct Client {
  uint32_t pid = 0;
  size_t device = 0;
  std::string server, name_space;
};

std::vector<Client> ClientsOf(const NamedDaemon& daemon, const MachineState& state,
                              const std::vector<const MpsServer*>& servers) {
  std::vector<Client> clients;
  for (const MpsServer* server : servers) {
    for (size_t i = 0; i < daemon.devices().size(); ++i) {
      const Target target = daemon.devices()[i];
      for (const MpsNamespace* one : MpsNamespacesOf(state, server->serial)) {
        for (const uint32_t pid : MpsClients(state, server->serial, {&target, one->serial, 0}))
          clients.push_back({pid, i, server->name, one->name});
      }
    }
  }
  std::stable_sort(clients.begin(), clients.end(), [](const Client& a, const Client& b) {
    return std::pair(a.pid, a.device) < std::pair(b.pid, b.device);
  });
  return clients;
}

Answer List(NamedDaemon* daemon, const Arguments& arguments) {
  const auto state = daemon->Look();
  if (state == nullptr) return CannotLook();
  if (arguments.Has("server") && arguments.Has("all"))
    return No("Either the clients of one server are listed, or all: --server or --all");
  const auto servers = ServersIn(*daemon, *state, arguments);
  if (!servers) return No(servers.error().message);
  Table table{{"pid", "server", "device", "namespace", "cmd"}, {}};
  for (const Client& client : ClientsOf(*daemon, *state, *servers)) {
    table.rows.push_back({std::to_string(client.pid), client.server, std::to_string(client.device),
                          client.name_space, CommandOf(client.pid, true)});
  }
  return {true, Print(table, arguments.format)};
}

Answer Get(NamedDaemon* daemon, const Arguments& arguments) {
  const auto state = daemon->Look();
  if (state == nullptr) return CannotLook();
  Words devices, ids, servers, namespaces;
  const auto add = [](Words* words, const std::string& word) {
    if (std::find(words->begin(), words->end(), word) == words->end()) words->push_back(word);
  };
  for (const Client& client : ClientsOf(*daemon, *state, MpsServersOf(*state, daemon->serial()))) {
    if (std::to_string(client.pid) != arguments.words[0]) continue;
    add(&devices, std::to_string(client.device));
    add(&ids, daemon->devices().PciId(client.device));
    add(&servers, client.server);
    add(&namespaces, client.name_space);
  }
  if (devices.empty()) return No("There is no client " + arguments.words[0]);
  const auto pid = static_cast<uint32_t>(*Number(arguments.words[0]));
  const Table table{{"pid", "server", "device", "pci-id", "linux-ns", "maws-ns", "cmd"},
                    {{arguments.words[0], Join(servers, ","), Join(devices, ","), Join(ids, ","),
                      PidNamespaceOf(pid), Join(namespaces, ","), CommandOf(pid, true)}}};
  return FieldOf(table, arguments.words[1]);
}

Answer Terminate(NamedDaemon* daemon, const Arguments& arguments) {
  const auto pid = Number(arguments.words[0]);
  if (!pid || *pid == 0 || *pid >= kNoId) return No("'" + arguments.words[0] + "' is no pid");
  return AnswerOf(daemon->TerminateClient(static_cast<uint32_t>(*pid)));
}

}  // namespace

std::vector<Verb> ClientVerbs() {
  constexpr const char* kModule = "client";
  return {{kModule,
           "list",
           0,
           0,
           {"server", "--all", "format"},
           "[--server=SERVER | --all] [--format=table|csv[,noheader]]",
           List},
          {kModule, "get", 2, 2, {}, "PID pid|server|device|pci-id|linux-ns|maws-ns|cmd", Get},
          {kModule, "terminate", 1, 1, {}, "PID", Terminate}};
}

}  // namespace tranche::sim::mps
