#pragma once

#include <string_view>
#include <vector>

#include "sim/machine/machine.h"

// MPS servers of a machine, and what they let their clients do. Called inside a transaction.
namespace tranche::sim {

// SMs of a chunk, which static partitions are made of; 0: this GPU has none (before Ampere).
uint32_t SmsOfChunk(const GpuSpec& gpu);

// The server behind a pipe directory; nullptr: nobody is, so programs that are sent there run as
// without MPS, and are told nothing.
const MpsServer* FindMpsServer(const MachineState& state, std::string_view pipe_directory);
const MpsServer* FindMpsServer(const MachineState& state, uint64_t serial);

// Whether the server can take clients at once: it has no process, or that runs.
bool IsMpsServerUp(const MpsServer& server);

// Daemons that died are forgotten, and so are their servers; clients of a server that died are
// ended.
void ReapMps(MachineState* state);

// kInvalid for a directory that is taken, or no GPUs; kInsufficientResources when there are too
// many servers, or partitions for the SMs of a GPU; kNotSupported where a GPU has no partitions.
// The serial is chosen here.
Rc StartMpsServer(const MachineSpec& spec, MachineState* state, const MpsServer& wanted);
// kNotFound; kInUse while it has clients.
Rc StopMpsServer(MachineState* state, std::string_view pipe_directory);

// May that client open one more context? kMpsNoServer, kMpsNotReady (a client's fault is not yet
// over), kMpsFull, kNoPermission (another user's).
Rc AdmitMpsClient(const MachineSpec& spec, MachineState* state, const MpsClient& client,
                  const Target& target, uint32_t uid);

// The pids of a server's clients, on `target` or on any GPU, in order.
std::vector<uint32_t> MpsClients(const MachineState& state, uint64_t server,
                                 const Target* target = nullptr);

// Ends all contexts of a client, or of all clients (pid 0), with kMpsServerDied or
// kMpsClientTerminated.
void EndMpsClients(MachineState* state, uint64_t server, uint32_t pid, uint32_t why);

// What a client holds of a GPU, over all its contexts there.
uint64_t MemoryOfMpsClient(const MachineState& state, uint32_t gpu, uint32_t pid);

// Contexts of one server that share a GPU end together: after one of them had that fault.
void SpreadMpsFault(MachineState* state, uint64_t server, uint32_t gpu, uint32_t xid);

}  // namespace tranche::sim
