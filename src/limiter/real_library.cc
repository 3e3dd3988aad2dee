#include "limiter/real_library.h"

#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "limiter/old_glibc.h"

namespace tranche::limiter::real_library {
namespace {

constexpr const char* kFolders[] = {
    "/usr/lib/x86_64-linux-gnu", "/lib/x86_64-linux-gnu", "/usr/lib64",       "/lib64",
    "/usr/local/nvidia/lib64",   "/usr/local/nvidia/lib", "/usr/lib/wsl/lib", "/usr/lib"};

// The marker that each of our libraries exports, so that none is ever taken for the driver's.
constexpr const char* kMarker = "tranche_limiter_marker";

// Opens a file that is not ours; by a whole path, since by its plain name the loader would answer
// with ours.
void* OpenUnlessOurs(const char* path) {
  if (path[0] == '/' && access(path, R_OK) != 0) return nullptr;
  void* library = dlopen(path, RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    dlerror();
    return nullptr;
  }
  if (Find(library, kMarker) == nullptr) return library;
  dlclose(library);
  return nullptr;
}

// "580.95.05" from "NVRM version: NVIDIA UNIX x86_64 Kernel Module  580.95.05  Tue ...".
bool DriverVersion(char* version, size_t size) {
  const int fd = open("/proc/driver/nvidia/version", O_RDONLY | O_CLOEXEC);
  if (fd < 0) return false;
  char text[512];
  const ssize_t n = read(fd, text, sizeof(text) - 1);
  close(fd);
  if (n <= 0) return false;
  text[n] = 0;
  for (const char* at = text; *at != 0 && *at != '\n'; ++at) {
    if (at != text && at[-1] != ' ') continue;
    const size_t length = strspn(at, "0123456789.");
    if (length < 5 || length >= size || memchr(at, '.', length) == nullptr) continue;
    memcpy(version, at, length);
    version[length] = 0;
    return true;
  }
  return false;
}

struct Path {
  char text[PATH_MAX];
  bool Join(const char* folder, size_t folder_length, const char* name) {
    const size_t length = strlen(name);
    if (folder_length == 0 || folder_length + 1 + length >= sizeof(text)) return false;
    memcpy(text, folder, folder_length);
    text[folder_length] = '/';
    memcpy(text + folder_length + 1, name, length + 1);
    return true;
  }
};

void* Open(const char* soname, const char* versioned_prefix, const char* variable) {
  const char* named = getenv(variable);
  if (named != nullptr && *named != 0) {
    // Said by whoever set this up, so nothing else will do.
    return OpenUnlessOurs(named);
  }
  char name[128];
  char version[64];
  const size_t prefix = strlen(versioned_prefix);
  if (DriverVersion(version, sizeof(version)) && prefix + strlen(version) < sizeof(name)) {
    memcpy(name, versioned_prefix, prefix);
    strcpy(name + prefix, version);
    if (void* library = OpenUnlessOurs(name)) return library;
  }
  Path path;
  const char* folders = getenv("LD_LIBRARY_PATH");
  while (folders != nullptr && *folders != 0) {
    const size_t length = strcspn(folders, ":;");
    if (folders[0] == '/' && path.Join(folders, length, soname)) {
      if (void* library = OpenUnlessOurs(path.text)) return library;
    }
    folders += length;
    if (*folders != 0) ++folders;
  }
  for (const char* folder : kFolders) {
    if (!path.Join(folder, strlen(folder), soname)) continue;
    if (void* library = OpenUnlessOurs(path.text)) return library;
  }
  return nullptr;
}

// A library that is looked for once, by whoever comes first; who comes second at the same time
// finds the same, and dlopen counts.
struct Once {
  void* library = nullptr;
  bool looked = false;
};

void* Look(Once& once, const char* soname, const char* versioned_prefix, const char* variable) {
  if (!__atomic_load_n(&once.looked, __ATOMIC_ACQUIRE)) {
    const int before = errno;
    __atomic_store_n(&once.library, Open(soname, versioned_prefix, variable), __ATOMIC_RELEASE);
    __atomic_store_n(&once.looked, true, __ATOMIC_RELEASE);
    errno = before;
  }
  return __atomic_load_n(&once.library, __ATOMIC_ACQUIRE);
}

}  // namespace

void* Find(void* library, const char* name) {
  void* symbol = dlsym(library, name);
  if (symbol == nullptr) dlerror();
  return symbol;
}

void* Cuda() {
  static Once once;
  return Look(once, "libcuda.so.1", "libcuda.so.", "TRANCHE_REAL_LIBCUDA");
}

void* NvidiaMl() {
  static Once once;
  return Look(once, "libnvidia-ml.so.1", "libnvidia-ml.so.", "TRANCHE_REAL_LIBNVIDIA_ML");
}

}  // namespace tranche::limiter::real_library

extern "C" __attribute__((visibility("default"))) const uint32_t tranche_limiter_marker = 1;
