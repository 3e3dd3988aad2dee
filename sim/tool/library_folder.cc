#include "sim/tool/library_folder.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstring>
#include <fstream>
#include <iterator>
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

bool IsOfCuda(const char* symbol) { return std::strncmp(symbol, "cu", 2) == 0; }

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

// Written again only when something is new, since programs may be about to open it.
Status Strike(const std::string& from, const std::string& to,
              const std::vector<std::string>& missing) {
  std::string list;
  for (const std::string& symbol : missing) list += symbol + "\n";
  const std::string record = to + ".without";
  std::ifstream old(record);
  const std::string before(std::istreambuf_iterator<char>(old), {});
  struct stat source {
  }, made{};
  const bool fresh = before == list && stat(from.c_str(), &source) == 0 &&
                     lstat(to.c_str(), &made) == 0 && S_ISREG(made.st_mode) &&
                     made.st_size == source.st_size && made.st_mtim.tv_sec > source.st_mtim.tv_sec;
  if (fresh) return {};
  Result<int> struck = CopyWithoutSymbols(from, to, missing);
  if (!struck) return tl::unexpected(struck.error());
  std::ofstream(record) << list;
  return {};
}

// What the library of failing calls reads. Whole, or as it was.
Status WriteFaults(const MachineState& state, const std::string& path) {
  const std::string temporary = path + "." + std::to_string(getpid());
  std::ofstream out(temporary);
  for (const FailingCall& failing : state.failing) {
    if (failing.name[0] != 0)
      out << "fail " << failing.name << " " << failing.code << " " << failing.nth << "\n";
  }
  for (const auto& symbol : state.missing_symbols) {
    if (IsOfCuda(symbol)) out << "missing " << symbol << "\n";
  }
  out.close();
  if (!out || rename(temporary.c_str(), path.c_str()) != 0)
    return Fail(ErrorCode::kFailed, "cannot write " + path + ": " + std::strerror(errno));
  return {};
}

// As an installed driver has it: the file bears the driver's version, libcuda.so.1 points at it. A
// driver older than some symbols gets a copy without them. Where calls fail, another library comes
// before it.
Status RefreshCuda(const Machine& machine, const MachineState& state, const std::string& folder) {
  const std::string installed = InstalledLibraries() + "/libcuda.so.1";
  // Built without it: there is nothing to hand out.
  if (access(installed.c_str(), R_OK) != 0) return {};
  const DriverSpec& driver = machine.spec().driver;
  std::vector<std::string> missing;
  for (const CudaSymbol& symbol : kCudaSymbols) {
    if (symbol.since > static_cast<int>(driver.cuda_version)) missing.emplace_back(symbol.name);
  }
  bool faulty = false;
  for (const FailingCall& failing : state.failing) faulty = faulty || failing.name[0] != 0;
  for (const auto& symbol : state.missing_symbols) faulty = faulty || IsOfCuda(symbol);
  const std::string file = std::string("libcuda.so.") + driver.version;
  const auto place = [&](const std::string& from, const std::string& to) -> Status {
    Status placed =
        missing.empty() ? Link(from, to + "/" + file) : Strike(from, to + "/" + file, missing);
    return placed ? Link(file, to + "/libcuda.so.1") : placed;
  };
  if (!faulty) return place(installed, folder);
  const std::string real = folder + "/real";
  if (Status made = MakeFolder(real); !made) return made;
  if (Status placed = place(installed, real); !placed) return placed;
  if (Status written = WriteFaults(state, folder + "/cuda_faults"); !written) return written;
  for (const auto& symbol : state.missing_symbols) {
    if (IsOfCuda(symbol)) missing.emplace_back(symbol);
  }
  return place(InstalledLibraries() + "/libcuda-faulty.so.1", folder);
}

}  // namespace

Status RefreshLibraries(Machine* machine) {
  Result<GpuCatalog> catalog = GpuCatalog::Embedded();
  if (!catalog) return tl::unexpected(catalog.error());
  std::vector<std::string> missing = catalog->MissingSymbols(machine->spec().driver.branch);
  const std::unique_ptr<MachineState> state = machine->Snapshot();
  if (state == nullptr)
    return Fail(ErrorCode::kFailed, "the machine in " + machine->dir() + " cannot be read");
  for (const auto& symbol : state->missing_symbols) {
    if (symbol[0] != 0 && !IsOfCuda(symbol)) missing.emplace_back(symbol);
  }
  std::string folder = machine->dir() + "/lib";
  if (Status made = MakeFolder(folder); !made) return made;
  if (Status cuda = RefreshCuda(*machine, *state, folder); !cuda) return cuda;
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
