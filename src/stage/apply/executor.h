#pragma once

#include <string>

#include "base/result.h"
#include "model/plan.h"

namespace tranche {

// Does the steps of a plan; the edges stand behind it. Every method looks at what is there instead
// of relying on what was done before, so that each may be asked again after a crash at any instant.
// Keep steps never come here.
class Executor {
 public:
  virtual ~Executor() = default;

  // Does it, and says what came of it: the UUID of the MIG device, the pid.
  virtual Result<std::string> Do(const Step& step) = 0;

  // Whether the step's effect is there now, read back from the machine. An error when it cannot be
  // read.
  virtual Result<bool> Holds(const Step& step) = 0;

  // Makes it as it was before the step; OK when it is already. `made` is what Do returned, or ""
  // when a crash hid it: with it, something that took the place of what was made can be told and is
  // left alone.
  virtual Status Undo(const Step& step, const std::string& made) = 0;
};

}  // namespace tranche
