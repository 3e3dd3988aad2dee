#pragma once

#include "sim/mps/verbs.h"

// What the modules of protocol 3 have in common.
namespace tranche::sim::mps {

Answer AnswerOf(const Status& status);
Answer CannotLook();

LimitsWish LimitsIn(const Arguments& arguments);
// "4G", "30.00", "1"; "-": not set.
std::string MemoryOf(const MpsNamespace& one);
std::string PercentageOf(const MpsNamespace& one);
std::string PriorityOf(const MpsNamespace& one);
// "Initializing", "Ready", or "Fault" while clients of a fault have not ended.
std::string StatusOf(const MpsServer& server);
std::string OrDash(const std::string& text);

// A yes or no of an option; false where it is not given.
Result<bool> BooleanIn(const Arguments& arguments, const std::string& option);
// The servers of which --server speaks: that one, or all.
Result<std::vector<const MpsServer*>> ServersIn(const NamedDaemon& daemon,
                                                const MachineState& state,
                                                const Arguments& arguments);
// One field of a table with one row, by the title of its column.
Answer FieldOf(const Table& table, const std::string& field);

}  // namespace tranche::sim::mps
