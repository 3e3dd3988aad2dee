#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "catalog/catalog.h"
#include "model/machine.h"
#include "model/plan.h"

namespace tranche {

// Says a plan in what other tools read, for those who run things without Tranche.

struct ExportInput {
  const Plan& plan;
  const Catalog& catalog;
  // What the plan is for, with the profiles and ids of its driver; nullptr when it is not at hand.
  const Machine* machine = nullptr;
  // Minor numbers of MIG capabilities, as /proc/driver/nvidia-caps/mig-minors has them:
  // "gpu0/gi1/access" -> 30. Empty when nobody read them.
  std::map<std::string, int> mig_minors = {};
};

struct ExportFile {
  std::string name;  // a path below the directory that is written to
  std::string text;
  bool executable = false;
};

struct Exported {
  std::vector<ExportFile> files;
  std::vector<std::string> notes;  // what the format cannot say; sentences
};

// In the order of the help.
const std::vector<std::string>& ExportFormats();

// kInvalid for a format that is none, kDoesNotFit for a plan that leaves something out,
// kUnsupported where nothing of the plan can be said in that format. Pure.
Result<Exported> Export(const std::string& format, const ExportInput& input);

}  // namespace tranche
