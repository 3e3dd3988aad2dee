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

namespace {

// Symbols of libcuda.so.1 by the CUDA version that brought them. Some have no version of their own.
struct CudaSymbol {
  const char* name;
  int since;
};
constexpr CudaSymbol kCudaSymbols[] = {
#define CUDA_SYMBOL(name, base, since, per_thread, parameters, arguments) {#name, since},
#include "abi/cuda_symbols.inc"
};

Status MakeFolder(const std::string& folder) {
  if (mkdir(folder.c_str(), 0755) != 0 && errno != EEXIST)
    return Fail(ErrorCode::kFailed, "cannot create " + folder + ": " + std::strerror(errno));
  return {};
}

// A link that never is not there while it changes.
Status Link(const std::string& target, const std::string& path) {
  char now[PATH_MAX];
  const ssize_t n = readlink(path.c_str(), now, sizeof(now));
  if (n > 0 && std::string(now, static_cast<size_t>(n)) == target) return {};
  const std::string temporary = path + "." + std::to_string(getpid());
  if (symlink(target.c_str(), temporary.c_str()) != 0 ||
      rename(temporary.c_str(), path.c_str()) != 0) {
    const std::string why = std::strerror(errno);
    unlink(temporary.c_str());
    return Fail(ErrorCode::kFailed, "cannot link " + path + ": " + why);
  }
  return {};
}

// As an installed driver has it: the file bears the driver's version, libcuda.so.1 points at it. A
// driver older than some symbols gets a copy without them.
Status RefreshCuda(const Machine& machine, const std::string& folder) {
  const std::string installed = InstalledLibraries() + "/libcuda.so.1";
  // Built without it: there is nothing to hand out.
  if (access(installed.c_str(), R_OK) != 0) return {};
  const DriverSpec& driver = machine.spec().driver;
  std::vector<std::string> missing;
  for (const CudaSymbol& symbol : kCudaSymbols) {
    if (symbol.since > static_cast<int>(driver.cuda_version)) missing.emplace_back(symbol.name);
  }
  const std::string file = std::string("libcuda.so.") + driver.version;
  const std::string path = folder + "/" + file;
  if (missing.empty()) {
    if (Status linked = Link(installed, path); !linked) return linked;
  } else {
    struct stat from {
    }, to{};
    const bool fresh = stat(installed.c_str(), &from) == 0 && lstat(path.c_str(), &to) == 0 &&
                       S_ISREG(to.st_mode) && to.st_size == from.st_size &&
                       to.st_mtim.tv_sec > from.st_mtim.tv_sec;
    if (!fresh) {
      Result<int> struck = CopyWithoutSymbols(installed, path, missing);
      if (!struck) return tl::unexpected(struck.error());
    }
  }
  return Link(file, folder + "/libcuda.so.1");
}

}  // namespace

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
  if (Status made = MakeFolder(folder); !made) return made;
  if (Status cuda = RefreshCuda(*machine, folder); !cuda) return cuda;
  std::string library = folder + "/libnvidia-ml.so.1";
  std::string installed = InstalledLibraries() + "/libnvidia-ml.so.1";
  if (missing.empty()) {
    if (unlink(library.c_str()) != 0 && errno != ENOENT) {
      return Fail(ErrorCode::kFailed, "cannot remove " + library + ": " + std::strerror(errno));
    }
    return {};
  }
  Result<int> struck = CopyWithoutSymbols(installed, library, missing);
  if (!struck) return tl::unexpected(struck.error());
  return {};
}

}  // namespace tranche::sim
