#pragma once

#include <optional>
#include <string>
#include <vector>

#include "sim/machine/machine.h"

// How MPS is used by a program, as its environment says.
namespace tranche::sim::cuda {

// The directories through which it looks for a server, in order: what its variable says, else the
// two that a daemon has by itself.
std::vector<std::string> MpsPipeDirectories(const std::optional<std::string>& variable);
// Has the control daemon behind that directory start its server for a user if there is none, and
// waits until that is up. False: there is no daemon, or it serves another user.
bool AskForMpsServer(const std::string& pipe_directory, uint32_t uid);

// In percent; what is no number from above 0 to 100 is ignored. A limit of the environment may only
// lower the server's, while the one of a namespace is what counts if there is one (absent: not).
double ThreadPercentage(double of_server, const std::optional<std::string>& variable);
double ThreadPercentageIn(const std::optional<double>& of_namespace,
                          const std::optional<std::string>& variable);
// Whether it runs below normal priority: as it says (0 or 1), else as the server does.
bool BelowNormal(bool of_server, const std::optional<std::string>& variable);
// "GPU-.../ID", the UUID in full or so much of it that it is the only one of those that the process
// sees: the ID, if it is of that GPU; else "".
std::string PartitionOn(const std::optional<std::string>& variable, const std::string& uuid,
                        const std::vector<std::string>& seen);
// SMs that a client sees and gets: whole pairs, as the GPU is built of them.
uint32_t SmsOfClient(uint32_t sms, double percentage);

// "0=4G,1=512M" or by UUID, for the devices that the process sees, in their order: kNoLimit for
// each that is not named. Nothing when it names a device that the process does not see: then not
// even the server's limits hold, as was measured.
std::optional<std::vector<uint64_t>> MemoryLimits(const std::string& text,
                                                  const std::vector<std::string>& uuids);

}  // namespace tranche::sim::cuda
