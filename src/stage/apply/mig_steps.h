#pragma once

#include "edge/driver/driver.h"
#include "stage/apply/executor.h"

namespace tranche {

// The steps that change hardware: MIG mode and instances. Any other step is kInvalid.
class MigSteps final : public Executor {
 public:
  // `driver` must outlive this.
  explicit MigSteps(Driver& driver) : driver_(driver) {}

  Result<std::string> Do(const Step& step) override;
  Result<bool> Holds(const Step& step) override;
  Status Undo(const Step& step, const std::string& made) override;

  // Makes the instance of `slice` be there, with MIG mode on: what undoing a destruction does, and
  // what re-establishing does after a reset. Returns the UUID of its MIG device.
  Result<std::string> Establish(const std::string& gpu_uuid, const std::string& profile,
                                MigPlacement placement);

 private:
  Status SwitchMig(const std::string& gpu_uuid, bool enabled);

  Driver& driver_;
};

}  // namespace tranche
