#pragma once

#include "model/machine.h"

namespace tranche {

// Turns what the driver reports about a GPU's health into sentences for people, and decides whether
// anything may be put on it.
void JudgeHealth(Gpu* gpu);

}  // namespace tranche
