#pragma once

#include <map>
#include <optional>
#include <string>

#include "base/result.h"
#include "base/subprocess.h"
#include "base/units.h"
#include "edge/broker/limiter_files.h"
#include "edge/driver/driver.h"

namespace tranche {

// What an MPS server lets each of its clients have, whatever the client does.
struct MpsService {
  int sms = 0;  // that a client's kernels run on at most; 0: not known
  // That a client may hold, its context included; absent: all that is there.
  std::optional<Bytes> memory;
};

struct ContextCost {
  Bytes bytes;
  std::optional<MpsService> mps;  // of the server whose client a program becomes; absent: of none
};

// What a context costs on a GPU with this driver before the program has any memory: has a process
// of its own make one, and asks the driver what that process holds. Takes as long as a context
// takes. `device_uuid`: where the program will run, the GPU or a MIG instance of it. `as_client`:
// what makes the process a client of an MPS server, by name; others are not let in where the
// compute mode keeps the GPU for that server. `credentials`: whose process; a server is of one
// user.
Result<ContextCost> MeasureContext(Driver& driver, const LimiterFiles& files,
                                   const std::string& libcuda, const std::string& gpu_uuid,
                                   const std::string& device_uuid,
                                   const std::map<std::string, std::string>& as_client = {},
                                   const std::optional<Credentials>& credentials = {});

}  // namespace tranche
