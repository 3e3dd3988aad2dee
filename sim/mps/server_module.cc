#include "sim/mps/modules.h"

namespace tranche::sim::mps {
namespace {

Result<uint32_t> UserIn(const Arguments& arguments) {
  if (!arguments.Has("uid")) return arguments.uid;
  const auto uid = Number(arguments.Option("uid"));
  if (uid && *uid < kNoId) return static_cast<uint32_t>(*uid);
  return Fail(ErrorCode::kInvalid, "'" + arguments.Option("uid") + "' is no user id");
}

Words RowOf(const MpsServer& server) {
  return {server.name,
          std::to_string(server.uid),
          server.process.pid == 0 ? "-" : std::to_string(server.process.pid),
          StatusOf(server),
          server.pipe_directory,
          OrDash(server.allowed_devices),
          "-"};
}

Table TableOf(const std::vector<const MpsServer*>& servers) {
  Table table{{"name", "uid", "pid", "status", "pipe-directory", "allowed-devices", "context-ids"},
              {}};
  for (const MpsServer* server : servers) table.rows.push_back(RowOf(*server));
  return table;
}

Answer Create(NamedDaemon* daemon, const Arguments& arguments) {
  if (arguments.words.empty() && !arguments.Has("uid"))
    return No("A server needs a name, or --uid");
  const auto uid = UserIn(arguments);
  const auto locality = BooleanIn(arguments, "locality-domains");
  if (!uid) return No(uid.error().message);
  if (!locality) return No(locality.error().message);
  const std::string name =
      arguments.words.empty() ? "uid_" + std::to_string(*uid) : arguments.words[0];
  const Status recorded =
      daemon->RecordServer({name, *uid, arguments.Option("allowed-devices"), *locality});
  return AnswerOf(recorded ? daemon->StartProcess(name) : recorded);
}

Answer Delete(NamedDaemon* daemon, const Arguments& arguments) {
  return AnswerOf(daemon->DeleteServer(arguments.words[0], arguments.Has("force")));
}

Answer List(NamedDaemon* daemon, const Arguments& arguments) {
  const auto state = daemon->Look();
  if (state == nullptr) return CannotLook();
  std::vector<const MpsServer*> servers = MpsServersOf(*state, daemon->serial());
  if (!arguments.words.empty()) {
    const auto one = daemon->Find(*state, arguments.words[0]);
    if (!one) return No(one.error().message);
    servers = {*one};
  }
  return {true, Print(TableOf(servers), arguments.format)};
}

Answer Set(NamedDaemon* daemon, const Arguments& arguments) {
  if (arguments.options.empty()) return No("Nothing is to be set: give at least one option");
  const auto locality = BooleanIn(arguments, "locality-domains");
  const auto uid = UserIn(arguments);
  if (!locality) return No(locality.error().message);
  if (!uid) return No(uid.error().message);
  ServerChange change{LimitsIn(arguments), std::nullopt, std::nullopt};
  if (arguments.Has("locality-domains")) change.locality_domains = *locality;
  if (arguments.Has("uid")) change.uid = *uid;
  return AnswerOf(daemon->SetServer(arguments.words[0], change));
}

Answer Get(NamedDaemon* daemon, const Arguments& arguments) {
  const auto state = daemon->Look();
  if (state == nullptr) return CannotLook();
  const auto server = daemon->Find(*state, arguments.words[0]);
  if (!server) return No(server.error().message);
  return FieldOf(TableOf({*server}), arguments.words[1]);
}

}  // namespace

std::vector<Verb> ServerVerbs() {
  constexpr const char* kModule = "server";
  return {
      {kModule,
       "create",
       0,
       1,
       {"uid", "allowed-devices", "locality-domains"},
       "[NAME] [--uid=N] [--allowed-devices=LIST] [--locality-domains=BOOL]",
       Create},
      {kModule, "delete", 1, 1, {"--force"}, "NAME [--force]", Delete},
      {kModule, "list", 0, 1, {"format"}, "[NAME] [--format=table|csv[,noheader]]", List},
      {kModule,
       "set",
       1,
       1,
       {"pinned-memory-limit", "active-thread-percentage", "client-priority", "locality-domains",
        "uid"},
       "NAME [--pinned-memory-limit=SIZE] [--active-thread-percentage=1..100] "
       "[--client-priority=0|1] [--locality-domains=BOOL] [--uid=N]",
       Set},
      {kModule, "get", 2, 2, {}, "NAME name|uid|pid|status|pipe-directory|allowed-devices", Get}};
}

}  // namespace tranche::sim::mps
