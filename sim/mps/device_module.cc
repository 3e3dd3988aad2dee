#include "sim/machine/sm_partitions.h"
#include "sim/mps/modules.h"

namespace tranche::sim::mps {
namespace {

Answer List(NamedDaemon* daemon, const Arguments& arguments) {
  const auto state = daemon->Look();
  if (state == nullptr) return CannotLook();
  const auto servers = ServersIn(*daemon, *state, arguments);
  if (!servers) return No(servers.error().message);
  Table table{{"Ordinal", "Server", "PCI ID", "Device UUID", "Name", "Total SMs", "Total Chunks",
               "Attributes"},
              {}};
  const Devices& devices = daemon->devices();
  for (size_t i = 0; i < devices.size(); ++i) {
    const GpuSpec& gpu = devices.Gpu(i);
    const uint32_t chunks = ChunksOf(gpu);
    const auto add = [&](const std::string& server, const std::string& attributes) {
      table.rows.push_back({std::to_string(i), server, devices.PciId(i), devices.Uuid(i), gpu.name,
                            std::to_string(gpu.sm), chunks == 0 ? "-" : std::to_string(chunks),
                            attributes});
    };
    bool served = false;
    for (const MpsServer* server : *servers) {
      if ((server->gpus >> devices[i].gpu & 1) == 0) continue;
      served = true;
      add(server->name, server->locality_domains != 0 ? "locality-domains" : "-");
    }
    if (!served && !arguments.Has("server")) add("-", "-");
  }
  return {true, Print(table, arguments.format)};
}

}  // namespace

std::vector<Verb> DeviceVerbs() {
  return {{"device",
           "list",
           0,
           0,
           {"server", "format"},
           "[--server=SERVER] [--format=table|csv[,noheader]]",
           List}};
}

}  // namespace tranche::sim::mps
