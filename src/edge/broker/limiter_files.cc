#include "edge/broker/limiter_files.h"

#include <dlfcn.h>
#include <unistd.h>

#include <filesystem>
#include <sstream>

namespace tranche {

Result<LimiterFiles> FindLimiterFiles() {
  std::error_code error;
  const std::filesystem::path self = std::filesystem::read_symlink("/proc/self/exe", error);
  const std::string folder = self.parent_path().parent_path() / "lib/tranche";
  LimiterFiles files{folder, folder + "/hold-context", folder + "/table-broker"};
  if (access((folder + "/libcuda.so.1").c_str(), R_OK) == 0 &&
      access(files.hold_context.c_str(), X_OK) == 0 &&
      access(files.table_broker.c_str(), X_OK) == 0)
    return files;
  return Fail(ErrorCode::kUnsupported, "the limiter's libraries are not in " + folder,
              "build or install all of Tranche");
}

Result<std::string> FindLibcuda(const std::string& folders) {
  std::istringstream list(folders +
                          ":/usr/lib/x86_64-linux-gnu:/lib/x86_64-linux-gnu:/usr/lib64:/lib64:"
                          "/usr/local/nvidia/lib64:/usr/lib/wsl/lib:/usr/lib");
  for (std::string folder; std::getline(list, folder, ':');) {
    if (folder.empty() || folder[0] != '/') continue;
    const std::string path = folder + "/libcuda.so.1";
    if (access(path.c_str(), R_OK) != 0) continue;
    void* library = dlopen(path.c_str(), RTLD_LAZY | RTLD_LOCAL);
    if (library == nullptr) continue;
    const bool ours = dlsym(library, "tranche_limiter_marker") != nullptr;
    const bool cuda = dlsym(library, "cuInit") != nullptr;
    dlclose(library);
    if (cuda && !ours) return path;
  }
  return Fail(ErrorCode::kUnavailable, "there is no libcuda.so.1",
              "install the NVIDIA driver, or name the folder in LD_LIBRARY_PATH");
}

}  // namespace tranche
