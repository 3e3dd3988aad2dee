#include "edge/broker/context_cost.h"

#include <dlfcn.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <sstream>

#include "abi/cuda.h"

namespace tranche {
namespace {

// In the child: never returns. One byte on the pipe says how it went.
[[noreturn]] void HoldContext(const std::string& libcuda, const std::string& gpu_uuid, int pipe) {
  setenv("CUDA_VISIBLE_DEVICES", gpu_uuid.c_str(), 1);
  char went = 'n';
  void* library = dlopen(libcuda.c_str(), RTLD_NOW | RTLD_LOCAL);
  const auto find = [&](const char* name) {
    return library == nullptr ? nullptr : dlsym(library, name);
  };
  const auto init = reinterpret_cast<decltype(&cuInit)>(find("cuInit"));
  const auto get = reinterpret_cast<decltype(&cuDeviceGet)>(find("cuDeviceGet"));
  const auto retain =
      reinterpret_cast<decltype(&cuDevicePrimaryCtxRetain)>(find("cuDevicePrimaryCtxRetain"));
  CUdevice device = 0;
  CUcontext context = nullptr;
  if (init != nullptr && get != nullptr && retain != nullptr && init(0) == CUDA_SUCCESS &&
      get(&device, 0) == CUDA_SUCCESS && retain(&context, device) == CUDA_SUCCESS)
    went = 'y';
  if (write(pipe, &went, 1) != 1) _exit(1);
  // Until the parent has looked and kills it; or dies itself, which closes the pipe's other end.
  for (;;) pause();
}

}  // namespace

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

Result<Bytes> MeasureContext(Driver& driver, const std::string& libcuda,
                             const std::string& gpu_uuid) {
  int ends[2];
  if (pipe(ends) != 0) return Fail(ErrorCode::kFailed, "cannot make a pipe");
  const pid_t child = fork();
  if (child == 0) {
    close(ends[0]);
    HoldContext(libcuda, gpu_uuid, ends[1]);
  }
  close(ends[1]);
  char went = 'n';
  const bool answered = child > 0 && read(ends[0], &went, 1) == 1;
  close(ends[0]);
  Result<Bytes> cost = Fail(ErrorCode::kFailed, "no context can be made on " + gpu_uuid);
  if (answered && went == 'y') {
    cost = Fail(ErrorCode::kUnsupported, "the driver does not tell what a process holds");
    const auto machine = driver.Read();
    if (!machine) cost = tl::unexpected<Error>(machine.error());
    for (const Gpu& gpu : machine ? machine->gpus : std::vector<Gpu>{}) {
      for (const GpuProcess& process : gpu.processes) {
        if (gpu.uuid == gpu_uuid && process.pid == child && process.memory_used)
          cost = *process.memory_used;
      }
    }
  }
  if (child > 0) {
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
  }
  return cost;
}

}  // namespace tranche
