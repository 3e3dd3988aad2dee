#pragma once

#include <optional>
#include <string>
#include <vector>

#include "sim/machine/machine.h"

// How MPS is used by a program, as its environment says.
namespace tranche::sim::cuda {

// The directory through which it looks for a server.
std::string MpsPipeDirectory(const std::optional<std::string>& variable);
// Has the control daemon of that directory start its server for the caller's user, and waits for
// that. False: there is no daemon, or it serves another user.
bool AskForMpsServer(const std::string& pipe_directory);

// A limit of the environment may only lower the server's. In percent; what is no number from above
// 0 to 100 is ignored.
uint32_t ThreadPercentage(uint32_t of_server, const std::optional<std::string>& variable);
// Whether it runs below normal priority: as it says (0 or 1), else as the server does.
bool BelowNormal(uint32_t of_server, const std::optional<std::string>& variable);
// Which static partition of that GPU "GPU-.../N" is, of so many: 0 = none.
uint32_t PartitionOf(const std::optional<std::string>& variable, const std::string& uuid,
                     uint32_t count);
// SMs that a client sees and gets: whole pairs, as the GPU is built of them.
uint32_t SmsOfClient(uint32_t sms, uint32_t percentage);

// "0=4G,1=512M" or by UUID, for the devices that the process sees, in their order: kNoLimit for
// each that is not named. A device that the process does not see makes all of it void.
std::vector<uint64_t> MemoryLimits(const std::string& text, const std::vector<std::string>& uuids);

}  // namespace tranche::sim::cuda
