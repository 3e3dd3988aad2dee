#include "edge/store/installation.h"

#include <fmt/format.h>

#include <limits>

#include "base/json.h"

namespace tranche {
namespace {

Json LaunchToJson(const Launch& launch) {
  Json json;
  json["replica"] = launch.replica;
  json["workload"] = ToJson(launch.workload);
  json["engine_flags"] = launch.engine_flags;
  json["guarantee"] =
      Json::array({GuaranteeName(launch.guarantee.memory), GuaranteeName(launch.guarantee.compute),
                   GuaranteeName(launch.guarantee.fault), GuaranteeName(launch.guarantee.access)});
  json["uid"] = launch.uid;
  json["gid"] = launch.gid;
  json["allow_root"] = launch.allow_root;
  json["ended"] = launch.ended;
  return json;
}

uint32_t ReadId(JsonReader& reader, const char* key) {
  const uint64_t value = reader.Unsigned(key);
  if (value > std::numeric_limits<uint32_t>::max()) {
    reader.Add(Fail(ErrorCode::kInvalid,
                    fmt::format("{}.{} is {}: too large", reader.where(), key, value)));
    return std::numeric_limits<uint32_t>::max();
  }
  return static_cast<uint32_t>(value);
}

Guarantees ReadGuarantees(JsonReader& reader) {
  Guarantees guarantees;
  Guarantee* const axes[] = {&guarantees.memory, &guarantees.compute, &guarantees.fault,
                             &guarantees.access};
  const std::vector<std::string> names = reader.Strings("guarantee");
  for (size_t i = 0; i < std::size(axes); ++i) {
    const Result<Guarantee> axis = ParseGuarantee(i < names.size() ? names[i] : "");
    if (axis) {
      *axes[i] = *axis;
    } else {
      reader.Add(FailedWhile(reader.where() + ".guarantee", axis.error()));
    }
  }
  return guarantees;
}

Launch ReadLaunch(const Json& json, const std::string& where, JsonReader& parent) {
  JsonReader reader(json, where);
  Launch launch;
  const int64_t replica = reader.Int("replica");
  launch.replica = static_cast<int>(replica);
  if (replica < 0 || replica > std::numeric_limits<int>::max()) {
    reader.Add(Fail(ErrorCode::kInvalid, fmt::format("{}.replica is {}", where, replica)));
  }
  if (Result<Workload> workload = WorkloadFromJson(reader.Object("workload"))) {
    launch.workload = std::move(*workload);
  } else {
    reader.Add(FailedWhile(where, workload.error()));
  }
  launch.engine_flags = reader.Strings("engine_flags");
  launch.guarantee = ReadGuarantees(reader);
  launch.uid = ReadId(reader, "uid");
  launch.gid = ReadId(reader, "gid");
  launch.allow_root = reader.Bool("allow_root");
  launch.ended = reader.Bool("ended");
  parent.Add(reader.status());
  return launch;
}

}  // namespace

const Launch* Installation::FindLaunch(const std::string& workload, int replica) const {
  for (const Launch& launch : launches) {
    if (launch.replica == replica && launch.workload.name == workload) return &launch;
  }
  return nullptr;
}

Json ToJson(const Installation& installation) {
  Json json;
  json["deployment"] = ToJson(installation.deployment);
  Json launches = Json::array();
  for (const Launch& launch : installation.launches) launches.push_back(LaunchToJson(launch));
  json["launches"] = std::move(launches);
  if (installation.spec) json["spec"] = ToJson(*installation.spec);
  return json;
}

Result<Installation> InstallationFromJson(const Json& json) {
  JsonReader reader(json, "installation");
  Installation installation;
  if (Result<Deployment> deployment = DeploymentFromJson(reader.Object("deployment"))) {
    installation.deployment = std::move(*deployment);
  } else {
    reader.Add(FailedWhile("installation", deployment.error()));
  }
  for (const Json& launch : reader.Array("launches")) {
    const std::string where =
        fmt::format("installation.launches[{}]", installation.launches.size());
    installation.launches.push_back(ReadLaunch(launch, where, reader));
  }
  if (reader.Has("spec")) {
    if (Result<Spec> spec = SpecFromJson(reader.Object("spec"))) {
      installation.spec = std::move(*spec);
    } else {
      reader.Add(FailedWhile("installation", spec.error()));
    }
  }
  if (!reader.status()) return tl::unexpected(reader.status().error());
  return installation;
}

}  // namespace tranche
