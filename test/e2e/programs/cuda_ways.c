/*
 * Takes device memory, 10 MiB at a time, by the ways in which a program comes to the driver that
 * cuda_fill does not go.
 *
 *   cuda_ways take ACCESS         until refused; prints "COUNT CODE"
 *     ACCESS: default (dlsym(RTLD_DEFAULT)), path (the file with its folder), plugin (a library
 * that needs it, opened with RTLD_DEEPBIND), dlmopen (a link namespace of its own), twice (the
 * first 600 MiB in the base namespace, the rest in another; prints both counts) cuda_ways hold WAY
 * PROGRAM...   holds 600 MiB and starts PROGRAM by fork, vfork, spawn or exec (which gives its own
 * memory back), or hands on to itself: fork-first (a child that was forked before anything, takes
 * what it gets), fork-after (a child of a process that uses the driver)
 */
#include <dlfcn.h>
#include <errno.h>
#include <limits.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "abi/cuda.h"

extern char** environ;

#define CHUNK ((size_t)10 << 20)

/* The driver as one way of looking for it shows it. */
typedef struct {
  CUresult (*init)(unsigned int);
  CUresult (*device)(CUdevice*, int);
  CUresult (*retain)(CUcontext*, CUdevice);
  CUresult (*current)(CUcontext);
  CUresult (*allocate)(CUdeviceptr*, size_t);
} Driver;

static _Noreturn void die(const char* what) {
  fprintf(stderr, "%s\n", what == NULL ? "failed" : what);
  exit(1);
}

static void find(Driver* driver, void* library) {
  *(void**)&driver->init = dlsym(library, "cuInit");
  *(void**)&driver->device = dlsym(library, "cuDeviceGet");
  *(void**)&driver->retain = dlsym(library, "cuDevicePrimaryCtxRetain");
  *(void**)&driver->current = dlsym(library, "cuCtxSetCurrent");
  *(void**)&driver->allocate = dlsym(library, "cuMemAlloc_v2");
  if (driver->init == NULL || driver->allocate == NULL) die("the driver lacks functions");
}

/* The file that the loader would find, by its whole path. */
static void* open_path(void) {
  char path[PATH_MAX];
  const char* folders = getenv("REAL_FOLDER");
  if (folders == NULL) die("REAL_FOLDER is not set");
  snprintf(path, sizeof(path), "%s/libcuda.so.1", folders);
  return dlopen(path, RTLD_NOW);
}

static void open_driver(const char* access_mode, Driver* driver) {
  void* library = NULL;
  if (strcmp(access_mode, "plugin") == 0) {
    void* plugin = dlopen("libcuda_plugin.so", RTLD_NOW | RTLD_DEEPBIND);
    if (plugin == NULL) die(dlerror());
    void (*tell)(void**);
    *(void**)&tell = dlsym(plugin, "plugin_driver");
    tell((void**)driver);
    return;
  }
  if (strcmp(access_mode, "default") == 0) {
    if (dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL) == NULL) die(dlerror());
    library = RTLD_DEFAULT;
  } else if (strcmp(access_mode, "path") == 0) {
    library = open_path();
  } else if (strcmp(access_mode, "dlmopen") == 0) {
    library = dlmopen(LM_ID_NEWLM, "libcuda.so.1", RTLD_NOW);
  } else {
    library = dlopen("libcuda.so.1", RTLD_NOW);
  }
  if (library == NULL && strcmp(access_mode, "default") != 0) die(dlerror());
  find(driver, library);
}

/* At most so many; how many were given, and what the last answer was. */
static int take(const Driver* driver, int most, int* code) {
  CUcontext context;
  CUdevice device;
  *code = (int)driver->init(0);
  if (*code == 0) *code = (int)driver->device(&device, 0);
  if (*code == 0) *code = (int)driver->retain(&context, device);
  if (*code == 0) *code = (int)driver->current(context);
  int count = 0;
  while (*code == 0 && count < most) {
    CUdeviceptr pointer;
    *code = (int)driver->allocate(&pointer, CHUNK);
    if (*code == 0) ++count;
  }
  return count;
}

static int wait_for(pid_t child) {
  int status;
  if (child < 0 || waitpid(child, &status, 0) != child) die("waitpid");
  return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int start(const char* way, char** program) {
  pid_t child = -1;
  if (strcmp(way, "exec") == 0) execv(program[0], program);
  if (strcmp(way, "fork") == 0) child = fork();
  if (strcmp(way, "vfork") == 0) child = vfork();
  if (child == 0) {
    execv(program[0], program);
    _exit(127);
  }
  if (strcmp(way, "spawn") == 0 &&
      posix_spawn(&child, program[0], NULL, NULL, program, environ) != 0)
    die("posix_spawn");
  return wait_for(child);
}

int main(int argc, char** argv) {
  if (argc < 3) return 64;
  Driver driver;
  int code;
  setvbuf(stdout, NULL, _IONBF, 0);
  if (strcmp(argv[1], "take") == 0 && strcmp(argv[2], "twice") == 0) {
    open_driver("dlopen", &driver);
    const int first = take(&driver, 60, &code);
    open_driver("dlmopen", &driver);
    const int second = take(&driver, 100000, &code);
    printf("%d %d %d\n", first, second, code);
    return 0;
  }
  if (strcmp(argv[1], "take") == 0) {
    open_driver(argv[2], &driver);
    const int count = take(&driver, 100000, &code);
    printf("%d %d\n", count, code);
    return 0;
  }
  const char* way = argv[2];
  if (strcmp(way, "fork-first") == 0) {
    /* Both at once; together they get what one would get. */
    int held[2];
    if (pipe(held) != 0) die("pipe");
    const pid_t child = fork();
    if (child == 0) close(held[1]);
    open_driver("dlopen", &driver);
    const int count = take(&driver, 100000, &code);
    if (child == 0) {
      /* It holds what it has until its parent has taken the rest. */
      char byte;
      (void)!read(held[0], &byte, 1);
      printf("%d %d ", count, code);
      _exit(0);
    }
    close(held[1]);
    if (wait_for(child) != 0) die("the child");
    printf("%d %d\n", count, code);
    return 0;
  }
  open_driver("dlopen", &driver);
  const int count = take(&driver, 60, &code);
  if (count != 60 || code != 0) die("cannot hold 600 MiB");
  if (strcmp(way, "fork-after") == 0) {
    /* No driver works in such a child, but nothing must break in it, nor by it. */
    const pid_t child = fork();
    if (child == 0) {
      CUdeviceptr pointer;
      for (int i = 0; i < 200; ++i) (void)driver.allocate(&pointer, CHUNK);
      _exit(0);
    }
    if (wait_for(child) != 0) die("the child broke");
    const int rest = take(&driver, 100000, &code);
    printf("%d %d\n", count + rest, code);
    return 0;
  }
  return start(way, argv + 3);
}
