#pragma once

#include <stdint.h>

namespace tranche::limiter {

// What the driver says that this process holds of the device with that UUID, all kinds of memory
// together. NVML is asked: of all that a driver tells it is the one thing in which the doings of
// others do not show. False where nobody says: there is no NVML, it does not count by process (WSL,
// some virtual machines), or it does not know us by our pid (within another pid namespace). Takes
// milliseconds, since NVML is left as it was found: a program that has not initialised it finds it
// so. Any thread.
bool ReadOwnUse(const uint8_t* uuid, uint64_t* bytes);

}  // namespace tranche::limiter
