#include <cstdio>

#include "sim/machine/sm_partitions.h"
#include "sim/mps/text_protocol.h"

namespace tranche::sim::mps {
namespace {

constexpr const char* kNotEnabled = "Static SM partitioning is not enabled\n";

std::string Row(const Words& cells) {
  char row[200];
  std::snprintf(row, sizeof(row), "%-13s %-38s %-5s %-5s %-5s %-5s %s\n", cells[0].c_str(),
                cells[1].c_str(), cells[2].c_str(), cells[3].c_str(), cells[4].c_str(),
                cells[5].c_str(), cells[6].c_str());
  return row;
}

}  // namespace

std::string TextProtocol::Partition(const Words& words) {
  if (!settings_.static_partitions) return kNotEnabled;
  const bool add = words.size() == 4 && words[1] == "add";
  const bool remove = words.size() == 4 && words[1] == "rm";
  if (!add && !remove) return "Usage: sm_partition add GPU CHUNKS | rm GPU PARTITION\n";
  const auto device = devices_.NamedByUuid(words[2]);
  if (!device) return "Invalid GPU\n";
  return add ? AddPartition(*device, words[3]) : RemovePartition(*device, words[3]);
}

std::string TextProtocol::AddPartition(size_t device, const std::string& chunks) {
  const auto number = Number(chunks);
  if (!number || *number == 0 || *number > 1024) return "Invalid number of chunks\n";
  SmPartition wanted;
  wanted.server = serial_;
  wanted.gpu = devices_[device].gpu;
  wanted.chunks = static_cast<uint32_t>(*number);
  const Rc rc = machine_->Update([&](MachineState& state) {
    return AddSmPartition(machine_->spec(), &state, wanted, &wanted.serial);
  });
  if (rc == Rc::kNotSupported) return "The device cannot be partitioned\n";
  if (rc != Rc::kOk) return "Not enough free SM chunks\n";
  return "Partition " + devices_.Uuid(device) + "/" + SmPartitionId(wanted) + " created\n";
}

std::string TextProtocol::RemovePartition(size_t device, const std::string& id) {
  const Rc rc = machine_->Update([&](MachineState& state) {
    const SmPartition* found = FindSmPartition(state, serial_, devices_[device].gpu, id);
    return RemoveSmPartition(&state, found == nullptr ? 0 : found->serial);
  });
  if (rc == Rc::kInUse) return "Partition is in use\n";
  if (rc != Rc::kOk) return "Partition not found\n";
  return "Partition " + devices_.Uuid(device) + "/" + id + " removed\n";
}

std::string TextProtocol::ListPartitions(const Words&) {
  if (!settings_.static_partitions) return kNotEnabled;
  std::string list = Row({"GPU", "Partition", "free", "used", "free", "used", "clients"}) +
                     Row({"", "", "chunk", "chunk", "SM", "SM", ""});
  machine_->Read([&](const MachineState& state) {
    for (size_t i = 0; i < devices_.size(); ++i) {
      const GpuSpec& gpu = devices_.Gpu(i);
      const uint32_t number = devices_[i].gpu, chunk = SmsOfChunk(gpu);
      if (chunk == 0 || devices_[i].ci != 0) continue;
      const std::string name = devices_.ShortUuid(i);
      const uint32_t used = UsedChunks(state, serial_, number), free = ChunksOf(gpu) - used;
      // The GPU itself: its SMs by whole chunks, whoever has the remainder.
      list += Row({name, "-", std::to_string(free), std::to_string(used),
                   std::to_string(free * chunk), std::to_string(used * chunk), "-"});
      for (const SmPartition* one : SmPartitionsOn(state, serial_, number)) {
        const bool in_use = !MpsClients(state, serial_, {nullptr, 0, one->serial}).empty();
        list += Row({name, SmPartitionId(*one), "-", std::to_string(one->chunks), "-",
                     std::to_string(one->sms), in_use ? "Yes" : "-"});
      }
    }
    return Rc::kOk;
  });
  return list;
}

}  // namespace tranche::sim::mps
