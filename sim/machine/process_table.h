#pragma once

#include <cstdint>
#include <string>

#include "sim/machine/state.h"

// What the operating system knows of a process.
namespace tranche::sim {

// Fills in pid, start time, effective uid and command. False when there is no such process, or when
// it has died and only waits to be collected.
bool DescribeProcess(uint32_t pid, Process* process);
// Whether that very process still runs (a later one with the same pid does not count).
bool IsAlive(const Process& process);

}  // namespace tranche::sim
