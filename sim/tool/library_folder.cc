#include "sim/tool/library_folder.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstring>
#include <vector>

#include "sim/create/gpu_catalog.h"
#include "sim/tool/symbols.h"

namespace tranche::sim {

std::string InstalledLibraries() {
  char path[PATH_MAX];
  ssize_t n = readlink("/proc/self/exe", path, sizeof(path) - 1);
  std::string self(path, n > 0 ? static_cast<size_t>(n) : 0);
  std::string bin = self.substr(0, self.rfind('/'));
  return bin.substr(0, bin.rfind('/')) + "/lib/sim";
}

Status RefreshLibraries(Machine* machine) {
  Result<GpuCatalog> catalog = GpuCatalog::Embedded();
  if (!catalog) return tl::unexpected(catalog.error());
  std::vector<std::string> missing = catalog->MissingSymbols(machine->spec().driver.branch);
  machine->Read([&](const MachineState& state) {
    for (const auto& symbol : state.missing_symbols) {
      if (symbol[0] != 0) missing.emplace_back(symbol);
    }
    return Rc::kOk;
  });
  std::string folder = machine->dir() + "/lib";
  std::string library = folder + "/libnvidia-ml.so.1";
  std::string installed = InstalledLibraries() + "/libnvidia-ml.so.1";
  if (missing.empty()) {
    if (unlink(library.c_str()) != 0 && errno != ENOENT) {
      return Fail(ErrorCode::kFailed, "cannot remove " + library + ": " + std::strerror(errno));
    }
    return {};
  }
  if (mkdir(folder.c_str(), 0755) != 0 && errno != EEXIST) {
    return Fail(ErrorCode::kFailed, "cannot create " + folder + ": " + std::strerror(errno));
  }
  Result<int> struck = CopyWithoutSymbols(installed, library, missing);
  if (!struck) return tl::unexpected(struck.error());
  return {};
}

}  // namespace tranche::sim
