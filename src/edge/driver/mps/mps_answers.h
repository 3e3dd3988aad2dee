#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/units.h"

// What nvidia-cuda-mps-control answers, read. Pure.

namespace tranche {

// A server process of a control daemon.
struct MpsServer {
  int pid = 0;
  std::string name;      // of protocol 3; "" in protocol 2, where servers have none
  bool faulted = false;  // of protocol 3: takes nobody until those of a fault have ended
  bool operator==(const MpsServer&) const = default;
};

// Clients of a server that share limits (protocol 3).
struct MpsNamespace {
  std::string name;
  // Absent: there is no such limit, whatever its server has.
  std::optional<Bytes> memory;
  std::optional<double> thread_percentage;
  std::string pipe_directory;  // where its clients are sent
  bool operator==(const MpsNamespace&) const = default;
};

// SMs that are divided for good, in chunks: what is a client's is nobody else's.
struct MpsPartition {
  std::string name;  // "GPU-.../Dx4A...", as CUDA_MPS_SM_PARTITION says it
  int chunks = 0;
  bool operator==(const MpsPartition&) const = default;
};
struct MpsPartitions {
  int chunks = 0, sms = 0;  // of the GPU, free or not
  std::vector<MpsPartition> list;
};

namespace mps {

std::optional<int> Number(const std::string& text);  // above 0
// Without those that are empty, and without spaces at their end.
std::vector<std::string> Lines(const std::string& text);
// For a message.
std::string FirstLine(const std::string& text);

// Of `get_server_list` and `server list --format=csv,noheader`; kFailed for what is not understood,
// as in all that follow.
Result<std::vector<MpsServer>> ReadServers(const std::string& text);
Result<std::vector<MpsServer>> ReadNamedServers(const std::string& csv);
// pids, of `get_client_list` and of `client list --format=csv,noheader`.
Result<std::vector<int>> ReadClients(const std::string& text);
Result<std::vector<int>> ReadNamedClients(const std::string& csv);
// Of `namespace list --format=csv,noheader`.
Result<std::vector<MpsNamespace>> ReadNamespaces(const std::string& csv);
// Of `lspart`, which abbreviates the GPU's UUID and leaves numbers out ("-"). kUnsupported where it
// lists none of that GPU: the daemon was not started for partitions.
Result<MpsPartitions> ReadPartitions(const std::string& text, const std::string& gpu_uuid);
// Of `sm_partition add`: its name in full.
std::optional<std::string> ReadNewPartition(const std::string& text, const std::string& gpu_uuid);

}  // namespace mps
}  // namespace tranche
