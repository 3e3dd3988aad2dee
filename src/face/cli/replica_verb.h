#pragma once

#include <string>

#include "face/cli/context.h"
#include "face/cli/operations.h"
#include "face/cli/verb.h"

namespace tranche {

// A verb that does one thing to a workload or to one replica of it: WORKLOAD or WORKLOAD/N.
class ReplicaVerb : public Verb {
 public:
  void Declare(Arguments& arguments) override;
  Result<int> Run(Context& context) override;

 protected:
  // `done` begins the line that says so ("Stopped").
  explicit ReplicaVerb(std::string done) : done_(std::move(done)) {}
  virtual Status Act(Operations& operations, const std::string& workload,
                     std::optional<int> replica) = 0;

 private:
  std::string done_;
  std::string name_;
};

}  // namespace tranche
