#include "limiter/mps_client.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "limiter/symbols.h"

namespace tranche::limiter {
namespace {

// The control daemon writes its pid there, and takes the file away when it ends in order.
bool DaemonLives() {
  static constexpr char kName[] = "/nvidia-cuda-mps-control.pid";
  const char* folder = getenv("CUDA_MPS_PIPE_DIRECTORY");
  if (folder == nullptr || folder[0] == 0) folder = "/tmp/nvidia-mps";
  char path[PATH_MAX];
  const size_t length = strlen(folder);
  if (length + sizeof(kName) > sizeof(path)) return false;
  memcpy(path, folder, length);
  memcpy(path + length, kName, sizeof(kName));
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  char text[24] = {};
  const ssize_t count = read(fd, text, sizeof(text) - 1);
  close(fd);
  // Whether it lives is looked up: a library that calls kill would have to be trusted with it.
  static constexpr char kProc[] = "/proc/";
  char process[sizeof(kProc) + sizeof(text)];
  memcpy(process, kProc, sizeof(kProc));
  size_t digits = 0;
  while (count > 0 && text[digits] >= '0' && text[digits] <= '9') ++digits;
  memcpy(process + sizeof(kProc) - 1, text, digits);
  process[sizeof(kProc) - 1 + digits] = 0;
  return digits > 0 && access(process, F_OK) == 0;
}

}  // namespace

bool IsMpsClient(CUdevice ordinal) {
  const int before = errno;
  int enabled = 0;
  const bool said = REAL(cuDeviceGetAttribute)(&enabled, CU_DEVICE_ATTRIBUTE_MPS_ENABLED,
                                               ordinal) == CUDA_SUCCESS;
  const bool client = said ? enabled != 0 : DaemonLives();
  errno = before;
  return client;
}

}  // namespace tranche::limiter
