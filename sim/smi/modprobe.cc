#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "sim/machine/lifecycle.h"
#include "sim/machine/machine.h"

// modprobe of a simulated machine: it knows the driver's modules and no others. Taking `nvidia` out
// and in again is a reload of the driver, with all that is lost by one.

using namespace tranche::sim;

namespace {

int Fatal(const std::string& text) {
  std::fprintf(stderr, "modprobe: FATAL: %s\n", text.c_str());
  return 1;
}

int Answer(Rc rc, const std::string& module, bool remove) {
  switch (rc) {
    case Rc::kOk:
      return 0;
    case Rc::kNotFound:
      return Fatal("Module " + module + " not found.");
    case Rc::kInUse:
      return Fatal("Module " + module + " is in use.");
    default:
      return Fatal("Cannot " + std::string(remove ? "remove " : "load ") + module + ": " +
                   RcName(rc));
  }
}

// With a module go those that it stood on, where nothing else does.
void RemoveUnused(const MachineSpec& spec, MachineState* state, const std::string& removed) {
  for (const DriverModule module : {kModeset, kNvidia}) {
    bool stood = false;
    for (uint32_t i = 0; i < kDriverModules; ++i) {
      const auto other = static_cast<DriverModule>(i);
      stood = stood || (removed == ModuleName(other) && StandsOn(other, module));
    }
    if (stood) UnloadModule(spec, state, ModuleName(module));
  }
}

}  // namespace

int main(int argc, char** argv) {
  bool remove = false, all = false;
  std::vector<std::string> modules;
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "-r" || word == "--remove") {
      remove = true;
    } else if (word == "-a" || word == "--all") {
      all = true;
    } else if (word == "-q" || word == "-v" || word == "--quiet" || word == "--verbose") {
    } else if (!word.empty() && word[0] == '-') {
      std::fprintf(stderr, "modprobe: unknown option %s\n", word.c_str());
      return 1;
    } else {
      modules.push_back(word);
    }
  }
  // Without -a what follows the first name are the module's parameters.
  if (!remove && !all && modules.size() > 1) modules.resize(1);
  for (std::string& module : modules) std::replace(module.begin(), module.end(), '-', '_');
  const char* dir = std::getenv("TRANCHE_SIM_DIR");
  auto machine = Machine::Open(dir == nullptr ? "" : dir);
  if (!machine) return Fatal(machine.error().message);
  if (modules.empty()) return Fatal("missing module name");
  if (!(*machine)->IsPrivileged()) return Fatal("Operation not permitted");
  for (const std::string& module : modules) {
    const Rc rc = (*machine)->Update([&](MachineState& state) {
      const MachineSpec& spec = (*machine)->spec();
      if (!remove) return LoadModule(spec, &state, module, (*machine)->WallNs());
      const Rc removed = UnloadModule(spec, &state, module);
      if (removed == Rc::kOk) RemoveUnused(spec, &state, module);
      return removed;
    });
    if (const int code = Answer(rc, module, remove); code != 0) return code;
  }
  return 0;
}
