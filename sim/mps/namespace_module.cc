#include "sim/mps/modules.h"

namespace tranche::sim::mps {
namespace {

Words RowOf(const MpsServer& server, const MpsNamespace& one) {
  return {one.name,
          server.name,
          StatusOf(server),
          MemoryOf(one),
          PercentageOf(one),
          PriorityOf(one),
          std::string(server.pipe_directory) + "/" + one.name};
}

Table TableOf(const std::vector<Words>& rows) {
  return {{"name", "server", "server-status", "pinned-memory-limit", "active-thread-percentage",
           "client-priority", "pipe-directory"},
          rows};
}

// Whose --server says.
Answer WithoutServer() { return No("A namespace is of a server: give --server=NAME"); }

Answer Create(NamedDaemon* daemon, const Arguments& arguments) {
  if (!arguments.Has("server")) return WithoutServer();
  return AnswerOf(daemon->CreateNamespace(arguments.Option("server"), arguments.words[0]));
}

Answer Delete(NamedDaemon* daemon, const Arguments& arguments) {
  if (!arguments.Has("server")) return WithoutServer();
  return AnswerOf(daemon->DeleteNamespace(arguments.Option("server"), arguments.words[0],
                                          arguments.Has("force")));
}

Answer List(NamedDaemon* daemon, const Arguments& arguments) {
  const auto state = daemon->Look();
  if (state == nullptr) return CannotLook();
  const auto servers = ServersIn(*daemon, *state, arguments);
  if (!servers) return No(servers.error().message);
  std::vector<Words> rows;
  for (const MpsServer* server : *servers) {
    for (const MpsNamespace* one : MpsNamespacesOf(*state, server->serial)) {
      if (arguments.words.empty() || arguments.words[0] == one->name)
        rows.push_back(RowOf(*server, *one));
    }
  }
  if (rows.empty() && !arguments.words.empty())
    return No("There is no namespace '" + arguments.words[0] + "'");
  return {true, Print(TableOf(rows), arguments.format)};
}

Answer Set(NamedDaemon* daemon, const Arguments& arguments) {
  if (!arguments.Has("server")) return WithoutServer();
  const LimitsWish limits = LimitsIn(arguments);
  if (!limits.any()) return No("Nothing is to be set: give at least one limit");
  return AnswerOf(daemon->SetLimits(arguments.Option("server"), arguments.words[0], limits));
}

Answer Get(NamedDaemon* daemon, const Arguments& arguments) {
  const auto state = daemon->Look();
  if (state == nullptr) return CannotLook();
  const auto one = daemon->FindIn(*state, arguments.words[1], arguments.words[0]);
  if (!one) return No(one.error().message);
  return FieldOf(TableOf({RowOf(*FindMpsServer(*state, (*one)->server), **one)}),
                 arguments.words[2]);
}

}  // namespace

std::vector<Verb> NamespaceVerbs() {
  constexpr const char* kModule = "namespace";
  return {
      {kModule, "create", 1, 1, {"server"}, "NAME --server=SERVER", Create},
      {kModule, "delete", 1, 1, {"server", "--force"}, "NAME --server=SERVER [--force]", Delete},
      {kModule,
       "list",
       0,
       1,
       {"server", "format"},
       "[NAME] [--server=SERVER] [--format=table|csv[,noheader]]",
       List},
      {kModule,
       "set",
       1,
       1,
       {"server", "pinned-memory-limit", "active-thread-percentage", "client-priority"},
       "NAME --server=SERVER [--pinned-memory-limit=SIZE] "
       "[--active-thread-percentage=1..100] [--client-priority=0|1]",
       Set},
      {kModule, "get", 3, 3, {}, "NAME SERVER FIELD", Get}};
}

}  // namespace tranche::sim::mps
