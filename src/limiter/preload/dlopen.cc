#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

// What becomes of a program's dlopen where our libraries could not be put in the place of the
// driver's, but only before all others (LD_PRELOAD).
//
// There is no dlsym here: a program that asks for the driver by dlopen gets the handle of a library
// of ours, and the loader's own dlsym, dlvsym and RTLD_DEFAULT find our functions in it. For CUDA
// that is this very library, which is also called libcuda.so.1 (its SONAME), so that the loader
// takes it for whoever needs that by name, even past this function: as a library's dependency, or
// from one that was opened with RTLD_DEEPBIND. For NVML, which only shows, it is the library that
// lies in tranche/ beside this one.

#if defined(__x86_64__)
__asm__(".symver dlsym,dlsym@GLIBC_2.2.5");
__asm__(".symver dladdr,dladdr@GLIBC_2.2.5");
#endif

namespace {

using DlopenFunction = void* (*)(const char*, int);
using DlmopenFunction = void* (*)(long, const char*, int);

}  // namespace

extern "C" {
#define TRANCHE_PRELOAD_HIDDEN __attribute__((visibility("hidden")))
extern const char __ehdr_start TRANCHE_PRELOAD_HIDDEN;
extern const char _end TRANCHE_PRELOAD_HIDDEN;
TRANCHE_PRELOAD_HIDDEN DlopenFunction tranche_preload_real_dlopen;
TRANCHE_PRELOAD_HIDDEN DlmopenFunction tranche_preload_real_dlmopen;
// Both answer a handle, or nullptr: then libc is asked as the program asked.
TRANCHE_PRELOAD_HIDDEN void* tranche_preload_dlopen(const char* file, int mode, const char* caller);
TRANCHE_PRELOAD_HIDDEN void* tranche_preload_dlmopen(long name_space, const char* file, int mode,
                                                     const char* caller);
}

namespace {

constexpr long kBaseNamespace = 0;  // LM_ID_BASE

void FindReal() {
  if (__atomic_load_n(&tranche_preload_real_dlmopen, __ATOMIC_ACQUIRE) != nullptr) return;
  // Behind us: libc's, or those of another that was put before it.
  __atomic_store_n(&tranche_preload_real_dlopen,
                   reinterpret_cast<DlopenFunction>(dlsym(RTLD_NEXT, "dlopen")), __ATOMIC_RELEASE);
  __atomic_store_n(&tranche_preload_real_dlmopen,
                   reinterpret_cast<DlmopenFunction>(dlsym(RTLD_NEXT, "dlmopen")),
                   __ATOMIC_RELEASE);
}

// "libcuda.so", "libcuda.so.1", "/anywhere/libcuda.so.580.95.05" for `name` "libcuda.so".
bool Means(const char* file, const char* name) {
  const char* slash = strrchr(file, '/');
  const char* last = slash == nullptr ? file : slash + 1;
  const size_t length = strlen(name);
  if (strncmp(last, name, length) != 0) return false;
  last += length;
  return *last == 0 ||
         (*last == '.' && last[1] != 0 && last[1 + strspn(last + 1, "0123456789.")] == 0);
}

// What the caller shall get instead of `file`, written to `path`; false: what it asks for. We
// ourselves, and the library beside us, ask for the driver's.
bool Instead(const char* file, const char* caller, char (&path)[PATH_MAX]) {
  if (file == nullptr || (caller >= &__ehdr_start && caller < &_end)) return false;
  const bool cuda = Means(file, "libcuda.so"), nvml = Means(file, "libnvidia-ml.so");
  Dl_info self;
  if ((!cuda && !nvml) || dladdr(&__ehdr_start, &self) == 0 || self.dli_fname == nullptr)
    return false;
  const size_t length = strlen(self.dli_fname);
  if (length >= sizeof(path)) return false;
  memcpy(path, self.dli_fname, length + 1);
  if (cuda) return true;
  constexpr char kBeside[] = "tranche/libnvidia-ml.so.1";
  char* slash = strrchr(path, '/');
  if (slash == nullptr || static_cast<size_t>(slash + 1 - path) + sizeof(kBeside) > sizeof(path))
    return false;
  memcpy(slash + 1, kBeside, sizeof(kBeside));
  const int before = errno;
  const bool there = access(path, R_OK) == 0;
  errno = before;
  Dl_info from;
  const bool itself =
      dladdr(caller, &from) != 0 && from.dli_fname != nullptr && strcmp(from.dli_fname, path) == 0;
  return there && !itself;
}

}  // namespace

void* tranche_preload_dlopen(const char* file, int mode, const char* caller) {
  FindReal();
  char path[PATH_MAX];
  return Instead(file, caller, path) ? tranche_preload_real_dlopen(path, mode) : nullptr;
}

void* tranche_preload_dlmopen(long name_space, const char* file, int mode, const char* caller) {
  FindReal();
  char path[PATH_MAX];
  if (!Instead(file, caller, path)) return nullptr;
  // A namespace of its own has its own copy of us, with a slot of its own in the same slice.
  return name_space == kBaseNamespace ? tranche_preload_real_dlopen(path, mode)
                                      : tranche_preload_real_dlmopen(name_space, path, mode);
}
