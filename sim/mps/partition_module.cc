#include "sim/machine/sm_partitions.h"
#include "sim/mps/modules.h"

namespace tranche::sim::mps {
namespace {

Answer WithoutDevice() {
  return No("An SM partition is of a server and a device: give --server=NAME and --device=DEVICE");
}

Answer Create(NamedDaemon* daemon, const Arguments& arguments) {
  if (!arguments.Has("server") || !arguments.Has("device")) return WithoutDevice();
  if (!arguments.Has("chunks")) return No("Of how many chunks: give --chunks=N");
  const auto remainder = BooleanIn(arguments, "include-remainder");
  if (!remainder) return No(remainder.error().message);
  const std::string& name = arguments.words[0];
  const auto made = daemon->CreatePartition(
      arguments.Option("server"),
      {name, arguments.Option("device"), arguments.Option("chunks"), *remainder});
  if (!made) return No(made.error().message);
  const auto state = daemon->Look();
  if (state == nullptr) return CannotLook();
  const MpsServer* server = FindMpsServer(*state, made->partition.server);
  const bool runs = server != nullptr && server->ready != 0;
  const std::string& uuid = daemon->devices().Uuid(made->device);
  return {true, "SM partition '" + name + "' " + (runs ? "created" : "configured") + " on device " +
                    uuid + " (sm-count=" + std::to_string(made->partition.sms) +
                    ")\nCUDA_MPS_SM_PARTITION=" + uuid + "/" + SmPartitionId(made->partition) +
                    "\n"};
}

Answer Delete(NamedDaemon* daemon, const Arguments& arguments) {
  if (!arguments.Has("server") || !arguments.Has("device")) return WithoutDevice();
  return AnswerOf(daemon->DeletePartition(arguments.Option("server"), arguments.Option("device"),
                                          arguments.words[0]));
}

Words RowOf(const MpsServer& server, const std::string& device, const SmPartition& one) {
  return {server.name,
          device,
          one.name,
          std::to_string(one.chunks),
          std::to_string(one.sms),
          one.asked_remainder != 0 ? "true" : "false",
          server.ready != 0 ? "created" : "configured",
          SmPartitionId(one)};
}

Answer List(NamedDaemon* daemon, const Arguments& arguments) {
  const auto state = daemon->Look();
  if (state == nullptr) return CannotLook();
  const auto servers = ServersIn(*daemon, *state, arguments);
  if (!servers) return No(servers.error().message);
  std::optional<size_t> only;
  if (arguments.Has("device")) {
    const auto device = daemon->FindDevice(arguments.Option("device"));
    if (!device) return No(device.error().message);
    only = *device;
  }
  Table table{{"server", "device", "name", "chunks", "sm-count", "include-remainder", "status",
               "visible-uuid"},
              {}};
  const Devices& devices = daemon->devices();
  for (const MpsServer* server : *servers) {
    for (size_t i = 0; i < devices.size(); ++i) {
      const uint32_t gpu = devices[i].gpu;
      const bool served = (server->gpus >> gpu & 1) != 0;
      if (!served || (only && *only != i)) continue;
      for (const SmPartition* one : SmPartitionsOn(*state, server->serial, gpu))
        table.rows.push_back(RowOf(*server, devices.ShortUuid(i), *one));
      const uint32_t free = ChunksOf(devices.Gpu(i)) - UsedChunks(*state, server->serial, gpu);
      if (!arguments.Has("all") || free == 0) continue;
      table.rows.push_back({server->name, devices.ShortUuid(i), "-", std::to_string(free),
                            std::to_string(free * SmsOfChunk(devices.Gpu(i))), "-", "unallocated",
                            "-"});
    }
  }
  return {true, Print(table, arguments.format)};
}

}  // namespace

std::vector<Verb> PartitionVerbs() {
  constexpr const char* kModule = "sm-partition";
  return {{kModule,
           "create",
           1,
           1,
           {"server", "device", "chunks", "include-remainder"},
           "NAME --server=SERVER --device=ORDINAL|UUID --chunks=N [--include-remainder=BOOL]",
           Create},
          {kModule,
           "delete",
           1,
           1,
           {"server", "device"},
           "NAME --server=SERVER --device=ORDINAL|UUID",
           Delete},
          {kModule,
           "list",
           0,
           0,
           {"server", "device", "--all", "format"},
           "[--server=SERVER] [--device=ORDINAL|UUID] [--all] "
           "[--format=table|csv[,noheader]]",
           List}};
}

}  // namespace tranche::sim::mps
