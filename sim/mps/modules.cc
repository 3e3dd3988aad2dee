#include "sim/mps/modules.h"

#include <algorithm>

namespace tranche::sim::mps {

Answer AnswerOf(const Status& status) { return status ? Answer{} : No(status.error().message); }

Answer CannotLook() { return No("The state of the machine cannot be read"); }

LimitsWish LimitsIn(const Arguments& arguments) {
  LimitsWish wish;
  const auto take = [&](const char* name, std::optional<std::string>* into) {
    if (arguments.Has(name)) *into = arguments.Option(name);
  };
  take("pinned-memory-limit", &wish.memory);
  take("active-thread-percentage", &wish.percentage);
  take("client-priority", &wish.priority);
  return wish;
}

std::string OrDash(const std::string& text) { return text.empty() ? "-" : text; }

std::string MemoryOf(const MpsNamespace& one) { return OrDash(one.memory_as_set); }

std::string PercentageOf(const MpsNamespace& one) {
  return one.thread_percentage > 0 ? Decimals(one.thread_percentage, 2) : "-";
}

std::string PriorityOf(const MpsNamespace& one) {
  return one.priority_is_set != 0 ? std::to_string(one.below_normal) : "-";
}

std::string StatusOf(const MpsServer& server) {
  if (server.ready == 0) return "Initializing";
  return server.faulted != 0 ? "Fault" : "Ready";
}

Result<bool> BooleanIn(const Arguments& arguments, const std::string& option) {
  if (!arguments.Has(option)) return false;
  if (const auto value = Boolean(arguments.Option(option))) return *value;
  return Fail(ErrorCode::kInvalid,
              "'" + arguments.Option(option) + "' of --" + option + " is neither true nor false");
}

Result<std::vector<const MpsServer*>> ServersIn(const NamedDaemon& daemon,
                                                const MachineState& state,
                                                const Arguments& arguments) {
  if (!arguments.Has("server")) return MpsServersOf(state, daemon.serial());
  const auto server = daemon.Find(state, arguments.Option("server"));
  if (!server) return tl::unexpected(server.error());
  return std::vector<const MpsServer*>{*server};
}

Answer FieldOf(const Table& table, const std::string& field) {
  const auto title = std::find(table.titles.begin(), table.titles.end(), field);
  if (title == table.titles.end() || table.rows.empty())
    return No("Unknown field '" + field + "': " + Join(table.titles, ", "));
  return {true, table.rows[0][static_cast<size_t>(title - table.titles.begin())] + "\n"};
}

}  // namespace tranche::sim::mps
