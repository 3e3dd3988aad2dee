#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "face/cli/arguments.h"

namespace tranche {

class Context;

// One word after `tranche`. One file per verb; cli.cc holds the list.
class Verb {
 public:
  struct Info {
    std::string name;
    std::string summary;                // one line
    std::vector<std::string> examples;  // first in the help
    std::string details = {};           // what else a user should know; paragraphs
  };

  virtual ~Verb() = default;
  virtual Info info() const = 0;
  // What -o calls the verb's own text, where that is not a table.
  virtual const char* text_format() const { return "table"; }
  // The members named here are filled before Run.
  virtual void Declare(Arguments& arguments) = 0;
  // The exit code where it is not an error's.
  virtual Result<int> Run(Context& context) = 0;

  // Where what follows `--` is a program with its arguments, and not ours to parse.
  virtual std::vector<std::string>* program() { return nullptr; }
  // `words` are all those typed after `tranche`.
  virtual int ExitCodeFor(const Error& error, const std::vector<std::string>& words) const;
};

// In the order of the help.
std::vector<std::unique_ptr<Verb>> AllVerbs();

std::unique_ptr<Verb> MakeInventoryVerb();
std::unique_ptr<Verb> MakeCatalogVerb();
std::unique_ptr<Verb> MakeSizeVerb();
std::unique_ptr<Verb> MakePlanVerb();
std::unique_ptr<Verb> MakeApplyVerb();
std::unique_ptr<Verb> MakeStatusVerb();
std::unique_ptr<Verb> MakeLogsVerb();
std::unique_ptr<Verb> MakeStopVerb();
std::unique_ptr<Verb> MakeRestartVerb();
std::unique_ptr<Verb> MakeDownVerb();
std::unique_ptr<Verb> MakeRunVerb();
std::unique_ptr<Verb> MakeSetVerb();
std::unique_ptr<Verb> MakeAdviseVerb();
std::unique_ptr<Verb> MakeCostVerb();
std::unique_ptr<Verb> MakeSimulateVerb();
std::unique_ptr<Verb> MakeCalibrateVerb();
std::unique_ptr<Verb> MakeImportVerb();
std::unique_ptr<Verb> MakeExportVerb();
std::unique_ptr<Verb> MakeVgpuVerb();
std::unique_ptr<Verb> MakeDrainVerb();
std::unique_ptr<Verb> MakeUndrainVerb();
std::unique_ptr<Verb> MakeDefragVerb();
std::unique_ptr<Verb> MakeMigVerb();
std::unique_ptr<Verb> MakeMpsVerb();
std::unique_ptr<Verb> MakeVersionVerb();

}  // namespace tranche
