#include "sim/machine/sm_partitions.h"
#include "sim/mps/named_daemon.h"
#include "sim/mps/named_words.h"

namespace tranche::sim::mps {

Result<NamedDaemon::MadePartition> NamedDaemon::CreatePartition(const std::string& server,
                                                                const PartitionWish& wish) {
  if (!IsName(wish.name)) return tl::unexpected(NoName("SM partition", wish.name).error());
  const auto device = FindDevice(wish.device);
  if (!device) return tl::unexpected(device.error());
  const auto chunks = Number(wish.chunks);
  if (!chunks || *chunks == 0 || *chunks > 1024)
    return Fail(ErrorCode::kInvalid, "'" + wish.chunks + "' is no number of chunks");
  MadePartition made;
  made.device = *device;
  const Target target = devices_[*device];
  made.partition.protocol = 3;
  made.partition.gpu = target.gpu;
  made.partition.chunks = static_cast<uint32_t>(*chunks);
  made.partition.asked_remainder = wish.include_remainder ? 1 : 0;
  Keep(wish.name, made.partition.name);
  const std::string on = "on device " + devices_.Uuid(*device);
  const Status status = Change(server, [&](MachineState* state, MpsServer* one) -> Status {
    made.partition.server = one->serial;
    if ((one->gpus >> target.gpu & 1) == 0)
      return Fail(ErrorCode::kInvalid, "Server '" + server + "' does not serve that device");
    if (one->locality_domains != 0) {
      return Fail(ErrorCode::kInvalid,
                  "Server '" + server + "' has locality domains, which exclude SM partitions");
    }
    for (const SmPartition* other : SmPartitionsOn(*state, one->serial, target.gpu)) {
      if (other->name == wish.name)
        return Fail(ErrorCode::kBusy, "There is an SM partition '" + wish.name + "' " + on);
    }
    const std::vector<uint32_t> clients = MpsClients(*state, one->serial, {&target});
    if (!clients.empty())
      return Fail(ErrorCode::kBusy, "There are clients " + on + ": " + Listed(clients));
    const uint32_t free =
        ChunksOf(devices_.Gpu(*device)) - UsedChunks(*state, one->serial, target.gpu);
    const Rc rc = AddSmPartition(machine_->spec(), state, made.partition, &made.partition.serial);
    for (const SmPartition* mine : SmPartitionsOn(*state, one->serial, target.gpu)) {
      if (rc == Rc::kOk && mine->serial == made.partition.serial) made.partition = *mine;
    }
    if (rc == Rc::kOk) return {};
    if (rc == Rc::kNotSupported)
      return Fail(ErrorCode::kUnsupported, "No SM partition can be made " + on);
    return Fail(ErrorCode::kDoesNotFit,
                *chunks > free ? "Only " + std::to_string(free) + " chunks are free " + on
                               : "The remainder is another partition's, or there are too many");
  });
  if (!status) return tl::unexpected(status.error());
  return made;
}

Status NamedDaemon::DeletePartition(const std::string& server, const std::string& device,
                                    const std::string& name) {
  const auto on = FindDevice(device);
  if (!on) return tl::unexpected(on.error());
  return Change(server, [&](MachineState* state, MpsServer* one) -> Status {
    for (const SmPartition* partition : SmPartitionsOn(*state, one->serial, devices_[*on].gpu)) {
      if (partition->name != name) continue;
      if (RemoveSmPartition(state, partition->serial) == Rc::kOk) return {};
      return Fail(ErrorCode::kBusy, "SM partition '" + name + "' has clients");
    }
    return Fail(ErrorCode::kNotFound,
                "There is no SM partition '" + name + "' on device " + devices_.Uuid(*on));
  });
}

}  // namespace tranche::sim::mps
