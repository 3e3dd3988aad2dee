#pragma once

#include <string_view>
#include <vector>

#include "sim/machine/machine.h"

// MPS daemons and servers of a machine, and what they let their clients do. Called inside a
// transaction.
namespace tranche::sim {

inline constexpr char kDefaultNamespace[] = "default";

const MpsDaemon* FindMpsDaemon(const MachineState& state, uint64_t serial);
// The server behind a pipe directory; nullptr: nobody is, so programs that are sent there run as
// without MPS, and are told nothing.
const MpsServer* FindMpsServer(const MachineState& state, std::string_view pipe_directory);
const MpsServer* FindMpsServer(const MachineState& state, uint64_t serial);
const MpsServer* FindMpsServer(const MachineState& state, uint64_t daemon, std::string_view name);
const MpsNamespace* FindMpsNamespace(const MachineState& state, uint64_t serial);
const MpsNamespace* FindMpsNamespace(const MachineState& state, uint64_t server,
                                     std::string_view name);
// In the order in which they were made.
std::vector<const MpsServer*> MpsServersOf(const MachineState& state, uint64_t daemon);
std::vector<const MpsNamespace*> MpsNamespacesOf(const MachineState& state, uint64_t server);

// Where a program of a user that has this pipe directory is sent.
struct MpsRoute {
  uint64_t daemon = 0;      // serial; 0: nobody's, or of a server without one
  uint64_t server = 0;      // 0: there is none, but the daemon may start one when it is asked
  uint64_t name_space = 0;  // 0: the server has none
  bool up = false;          // the server can take clients at once
};
MpsRoute RouteMpsClient(const MachineState& state, std::string_view pipe_directory, uint32_t uid);
// The server to which programs of a user are sent that name none: "uid_1000".
bool IsServerOfUser(const MpsServer& server, const MpsDaemon& daemon, uint32_t uid);

// Daemons that died are forgotten, and so are their servers; clients of a server that died are
// ended. A server of protocol 3 is forgotten, too. Faults are over when those that had them have
// ended.
void ReapMps(MachineState* state);

// kInvalid for a directory that is taken; kInsufficientResources. Serials are chosen here.
Rc StartMpsDaemon(MachineState* state, const MpsDaemon& wanted, uint64_t* serial);
// Its servers are forgotten with it, and their clients ended.
void RemoveMpsDaemon(MachineState* state, uint64_t serial);
// kInvalid for a directory that is taken, or a GPU that the machine has not;
// kInsufficientResources when there are too many. Of a daemon of protocol 3 it has its default
// namespace from the start, and may have no GPU: its process then finds that out.
Rc StartMpsServer(const MachineSpec& spec, MachineState* state, const MpsServer& wanted,
                  uint64_t* serial = nullptr);
// With its namespaces and partitions; its clients are ended.
void RemoveMpsServer(MachineState* state, uint64_t serial);
// Of one without a daemon. kNotFound; kInUse while it has clients.
Rc StopMpsServer(MachineState* state, std::string_view pipe_directory);
// kInvalid: it has one of that name; kInsufficientResources.
Rc AddMpsNamespace(MachineState* state, uint64_t server, std::string_view name);
// Its clients are ended.
void RemoveMpsNamespace(MachineState* state, uint64_t serial);

// May that client open one more context? kMpsNoServer, kMpsNotReady (a client's fault is not yet
// over), kMpsFull, kNoPermission (another user's).
Rc AdmitMpsClient(const MachineSpec& spec, const MachineState& state, const MpsClient& client,
                  const Target& target, uint32_t uid);

// Which clients of a server.
struct MpsFilter {
  const Target* target = nullptr;          // nullptr: on any device
  uint64_t name_space = 0, partition = 0;  // 0: in any, or in none
};
// Their pids, in order.
std::vector<uint32_t> MpsClients(const MachineState& state, uint64_t server,
                                 const MpsFilter& filter = {});

// Ends all contexts of a client, or of all clients (pid 0), with kMpsServerDied or
// kMpsClientTerminated.
void EndMpsClients(MachineState* state, uint64_t server, uint32_t pid, uint32_t why,
                   uint64_t name_space = 0);

// What a client holds of a GPU, over all its contexts there.
uint64_t MemoryOfMpsClient(const MachineState& state, uint32_t gpu, uint32_t pid);

// Contexts of one server that share a GPU end together: after one of them had that fault.
void SpreadMpsFault(MachineState* state, uint64_t server, uint32_t gpu, uint32_t xid);

}  // namespace tranche::sim
