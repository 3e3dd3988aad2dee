#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "sim/machine/mps.h"
#include "sim/mps/devices.h"
#include "sim/mps/processes.h"
#include "sim/mps/protocol.h"

namespace tranche::sim::mps {

// A server, as somebody wants it.
struct ServerWish {
  std::string name;
  uint32_t uid = 0;
  std::string allowed_devices;  // "" = all
  bool locality_domains = false;
};
// Limits of a namespace; what is absent stays as it is.
struct LimitsWish {
  std::optional<std::string> memory, percentage, priority;  // as they were said
  bool any() const { return memory || percentage || priority; }
};
// What is absent stays as it is.
struct ServerChange {
  LimitsWish limits;  // of its default namespace
  std::optional<bool> locality_domains;
  std::optional<uint32_t> uid;
};
struct PartitionWish {
  std::string name, device;
  std::string chunks;
  bool include_remainder = false;
};

// The state of a control daemon of protocol 3: what its commands do. Those that may fail say why.
class NamedDaemon {
 public:
  NamedDaemon(Machine* machine, Settings settings, Processes* processes);

  Status Begin();
  void End();

  Machine* machine() const { return machine_; }
  const Devices& devices() const { return devices_; }
  const Settings& settings() const { return settings_; }
  uint64_t serial() const { return serial_; }

  // Servers, by name. A recorded one has no process yet.
  Status RecordServer(const ServerWish& wish);
  Status StartProcess(const std::string& server);
  Status DeleteServer(const std::string& name, bool force);
  Status SetServer(const std::string& server, const ServerChange& change);
  Status CheckUser(uint32_t uid) const;
  // Waits until what is behind that directory can take that user's programs; it may have to be
  // made.
  std::string Admit(const std::string& directory, uint32_t uid);
  void ServerEnded(uint32_t pid);

  Status CreateNamespace(const std::string& server, const std::string& name);
  Status DeleteNamespace(const std::string& server, const std::string& name, bool force);
  Status SetLimits(const std::string& server, const std::string& name, const LimitsWish& wish);

  // What was made, and its GPU's ordinal.
  struct MadePartition {
    SmPartition partition;
    size_t device = 0;
  };
  Result<MadePartition> CreatePartition(const std::string& server, const PartitionWish& wish);
  Status DeletePartition(const std::string& server, const std::string& device,
                         const std::string& name);

  Status TerminateClient(uint32_t pid);

  // Of the accounting of memory, and of contexts that are shared: what was set is remembered.
  struct Feature {
    bool enabled = false, is_default = true;
  };
  std::map<std::string, Feature>& features() { return features_; }
  bool& audit_log() { return audit_log_; }

  // Looks at the machine.
  std::unique_ptr<MachineState> Look() const { return machine_->Snapshot(); }
  // The server of that name in what was seen, or that there is none.
  Result<const MpsServer*> Find(const MachineState& state, const std::string& server) const;
  Result<const MpsNamespace*> FindIn(const MachineState& state, const std::string& server,
                                     const std::string& name) const;
  // By ordinal or UUID.
  Result<size_t> FindDevice(const std::string& name) const;

 private:
  // Sets limits of a namespace, within a transaction.
  Status Limit(MachineState* state, const MpsServer& server, const std::string& name,
               const LimitsWish& wish) const;
  // One transaction with that server in it, which is undone if it fails.
  Status Change(const std::string& server,
                const std::function<Status(MachineState*, MpsServer*)>& change);

  Machine* const machine_;
  const Settings settings_;
  const Devices devices_;
  Processes* const processes_;
  uint64_t serial_ = 0;
  std::map<std::string, Feature> features_;
  bool audit_log_ = false;
};

}  // namespace tranche::sim::mps
