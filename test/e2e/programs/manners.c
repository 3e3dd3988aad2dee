/*
 * What a program can see of the libraries that it loads, in its own process and in the answers to
 * its calls. Prints it, so that two runs, one with the limiter and one without, can be compared.
 *
 * Nothing is printed that may differ from run to run: no addresses, no sizes of memory. After each
 * stage it prints in what the process differs from how it was before the first library was loaded.
 */
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <fenv.h>
#include <limits.h>
#include <locale.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>
#include <xmmintrin.h>

#include "abi/cuda.h"
#include "abi/nvml.h"

extern char** environ;

#define MIB ((size_t)1 << 20)
enum { kSignals = 65, kDescriptors = 256, kLimits = RLIM_NLIMITS };

/* --- The process ---------------------------------------------------------------------------------
 */

typedef struct {
  struct sigaction handlers[kSignals];
  sigset_t blocked;
  stack_t signal_stack;
  mode_t mask;
  char folder[PATH_MAX];
  char locale_name[256];
  char* environment;
  int rounding;
  int exceptions;
  unsigned int sse;
  int descriptors[kDescriptors]; /* -1: not open, else its flags */
  struct rlimit limits[kLimits];
  struct itimerval timer;
  int dumpable, subreaper, no_new_privileges, death_signal;
  int priority, scheduler, cancel_state;
  char name[16];
} Process;

static char* copy_environment(void) {
  size_t size = 1;
  for (char** entry = environ; *entry != NULL; ++entry) size += strlen(*entry) + 1;
  char* all = calloc(1, size);
  for (char** entry = environ; *entry != NULL; ++entry) strcat(strcat(all, *entry), "\n");
  return all;
}

static void look(Process* process) {
  memset(process, 0, sizeof(*process));
  for (int i = 1; i < kSignals; ++i) sigaction(i, NULL, &process->handlers[i]);
  pthread_sigmask(SIG_SETMASK, NULL, &process->blocked);
  sigaltstack(NULL, &process->signal_stack);
  process->mask = umask(0);
  umask(process->mask);
  if (getcwd(process->folder, sizeof(process->folder)) == NULL) exit(1);
  snprintf(process->locale_name, sizeof(process->locale_name), "%s", setlocale(LC_ALL, NULL));
  process->environment = copy_environment();
  process->rounding = fegetround();
  process->exceptions = fegetexcept();
  process->sse = _mm_getcsr() & ~_MM_EXCEPT_MASK;
  for (int i = 0; i < kDescriptors; ++i) process->descriptors[i] = fcntl(i, F_GETFD);
  for (int i = 0; i < kLimits; ++i) getrlimit(i, &process->limits[i]);
  getitimer(ITIMER_REAL, &process->timer);
  process->dumpable = prctl(PR_GET_DUMPABLE);
  prctl(PR_GET_CHILD_SUBREAPER, &process->subreaper);
  process->no_new_privileges = prctl(PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0);
  prctl(PR_GET_PDEATHSIG, &process->death_signal);
  prctl(PR_GET_NAME, process->name);
  process->priority = getpriority(PRIO_PROCESS, 0);
  process->scheduler = sched_getscheduler(0);
  pthread_setcancelstate(PTHREAD_CANCEL_ENABLE, &process->cancel_state);
}

static void differ(const char* what) { printf("  differs: %s\n", what); }

static void compare(const char* stage, const Process* before) {
  Process after;
  look(&after);
  printf("%s\n", stage);
  for (int i = 1; i < kSignals; ++i) {
    const struct sigaction *a = &before->handlers[i], *b = &after.handlers[i];
    if (a->sa_handler != b->sa_handler || a->sa_flags != b->sa_flags ||
        memcmp(&a->sa_mask, &b->sa_mask, 8) != 0)
      printf("  differs: the handler of signal %d\n", i);
  }
  if (memcmp(&before->blocked, &after.blocked, 8) != 0) differ("the signal mask");
  if (before->signal_stack.ss_sp != after.signal_stack.ss_sp) differ("the signal stack");
  if (before->mask != after.mask) differ("the umask");
  if (strcmp(before->folder, after.folder) != 0) differ("the folder");
  if (strcmp(before->locale_name, after.locale_name) != 0) differ("the locale");
  if (strcmp(before->environment, after.environment) != 0) differ("the environment");
  if (before->rounding != after.rounding) differ("the rounding mode");
  if (before->exceptions != after.exceptions) differ("floating-point exceptions");
  if (before->sse != after.sse) differ("the control word of SSE");
  if (memcmp(before->limits, after.limits, sizeof(after.limits)) != 0) differ("the limits");
  if (memcmp(&before->timer, &after.timer, sizeof(after.timer)) != 0) differ("the timer");
  if (before->dumpable != after.dumpable) differ("whether it dumps core");
  if (before->subreaper != after.subreaper) differ("whether it adopts orphans");
  if (before->no_new_privileges != after.no_new_privileges) differ("no_new_privs");
  if (before->death_signal != after.death_signal) differ("its parent's death signal");
  if (strcmp(before->name, after.name) != 0) differ("its name");
  if (before->priority != after.priority) differ("its priority");
  if (before->scheduler != after.scheduler) differ("its scheduler");
  if (before->cancel_state != after.cancel_state) differ("whether it can be cancelled");
  for (int i = 0; i < kDescriptors; ++i) {
    if (before->descriptors[i] == after.descriptors[i]) continue;
    char link[64], target[PATH_MAX];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", i);
    const ssize_t n = readlink(link, target, sizeof(target) - 1);
    target[n > 0 ? n : 0] = 0;
    const char* slash = strrchr(target, '/');
    printf("  descriptor %d: %s%s\n", i, slash != NULL ? slash + 1 : target,
           after.descriptors[i] == FD_CLOEXEC ? "" : " survives exec");
  }
  free(after.environment);
}

static int threads(void) {
  DIR* tasks = opendir("/proc/self/task");
  int count = 0;
  for (struct dirent* entry; (entry = readdir(tasks)) != NULL;) count += entry->d_name[0] != '.';
  closedir(tasks);
  return count;
}

/* --- The calls -----------------------------------------------------------------------------------
 */

static void* cuda;
static void* nvml;

static void* find(void* library, const char* name) {
  void* function = dlsym(library, name);
  if (function != NULL) return function;
  printf("%s is not there\n", name);
  exit(1);
}
#define CUDA(name) ((__typeof__(&name))find(cuda, #name))
#define NVML(name) ((__typeof__(&name))find(nvml, #name))

static int line;
/* The answer, and what became of errno meanwhile. */
static int answered(const char* call, int code) {
  printf("%3d %s: %d%s\n", ++line, call, code, errno == 4711 ? "" : ", errno changed");
  errno = 4711;
  return code;
}
#define CALL(call) (errno = 4711, answered(#call, (int)(call)))

static volatile sig_atomic_t signalled;
static void on_signal(int number) { signalled += number; }

static void* in_thread(void* nothing) {
  (void)nothing;
  CUcontext context = NULL;
  CUdeviceptr pointer = 0;
  CALL(CUDA(cuCtxGetCurrent)(&context));
  printf("    a thread begins %s a context\n", context == NULL ? "without" : "with");
  CALL(CUDA(cuMemAlloc_v2)(&pointer, MIB));
  size_t free_bytes, total;
  CALL(CUDA(cuMemGetInfo_v2)(&free_bytes, &total));
  return NULL;
}

static void memory(CUdevice device) {
  CUdeviceptr pointer = 0, other = 0, base = 0;
  size_t bytes = 0, pitch = 0, free_bytes = 0, total = 0, same = 0;
  CALL(CUDA(cuMemAlloc_v2)(&pointer, 3 * MIB));
  CALL(CUDA(cuMemAlloc_v2)(&other, 100));
  CALL(CUDA(cuMemAlloc_v2)(NULL, MIB));
  CALL(CUDA(cuMemAlloc_v2)(&base, 0));
  CALL(CUDA(cuMemAlloc_v2)(&base, (size_t)1 << 62));
  CALL(CUDA(cuMemGetAddressRange_v2)(&base, &bytes, pointer + 4096));
  printf("    the range begins %s, %zu bytes\n", base == pointer ? "there" : "elsewhere", bytes);
  CALL(CUDA(cuMemGetInfo_v2)(&free_bytes, &total));
  CALL(CUDA(cuDeviceTotalMem_v2)(&same, device));
  CALL(CUDA(cuDeviceTotalMem_v2)(&same, 99));
  printf("    totals %s, free %s\n", total == same ? "agree" : "differ",
         free_bytes > 0 && free_bytes < total ? "less" : "not less");
  CALL(CUDA(cuMemsetD8_v2)(pointer, 42, 1000));
  char text[16] = "";
  CALL(CUDA(cuMemcpyDtoH_v2)(text, pointer + 500, sizeof(text)));
  printf("    copied back %d\n", text[7]);
  CALL(CUDA(cuMemFree_v2)(pointer + 256));
  CALL(CUDA(cuMemFree_v2)(pointer));
  CALL(CUDA(cuMemFree_v2)(pointer));
  CALL(CUDA(cuMemFree_v2)(0));
  CALL(CUDA(cuMemFree_v2)(0x1234500000));
  CALL(CUDA(cuMemFree_v2)(other));
  CALL(CUDA(cuMemAllocPitch_v2)(&pointer, &pitch, 1000, 100, 4));
  printf("    pitch %zu\n", pitch);
  CALL(CUDA(cuMemFree_v2)(pointer));
  CALL(CUDA(cuMemAllocManaged)(&pointer, MIB, CU_MEM_ATTACH_GLOBAL));
  unsigned int managed = 7, ordinal = 7;
  CUpointer_attribute asked[] = {CU_POINTER_ATTRIBUTE_IS_MANAGED,
                                 CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL};
  void* told[] = {&managed, &ordinal};
  CALL(CUDA(cuPointerGetAttributes)(2, asked, told, pointer));
  CALL(CUDA(cuPointerGetAttribute)(&ordinal, CU_POINTER_ATTRIBUTE_IS_MANAGED, pointer));
  printf("    managed %u %u\n", managed, ordinal);
  CALL(CUDA(cuMemFree_v2)(pointer));
  void* host = NULL;
  CALL(CUDA(cuMemAllocHost_v2)(&host, MIB));
  CALL(CUDA(cuMemFreeHost)(host));
  CALL(CUDA(cuMemHostAlloc)(&host, MIB, 0));
  CALL(CUDA(cuMemFreeHost)(host));
}

/* Memory is given back by another call than the one that it came from; both orders are legal. */
static void ordered(CUdevice device) {
  CUstream stream = NULL;
  CUmemoryPool pool = NULL;
  CUdeviceptr pointer = 0;
  CALL(CUDA(cuStreamCreate)(&stream, CU_STREAM_NON_BLOCKING));
  CALL(CUDA(cuMemAllocAsync)(&pointer, MIB, stream));
  CALL(CUDA(cuMemFree_v2)(pointer));
  CALL(CUDA(cuMemAlloc_v2)(&pointer, MIB));
  CALL(CUDA(cuMemFreeAsync)(pointer, stream));
  CUmemPoolProps properties;
  memset(&properties, 0, sizeof(properties));
  properties.allocType = CU_MEM_ALLOCATION_TYPE_PINNED;
  properties.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  properties.location.id = device;
  CALL(CUDA(cuMemPoolCreate)(&pool, &properties));
  CALL(CUDA(cuMemAllocFromPoolAsync)(&pointer, MIB, pool, stream));
  CALL(CUDA(cuMemFreeAsync)(pointer, stream));
  cuuint64_t used = 7;
  CALL(CUDA(cuStreamSynchronize)(stream));
  CALL(CUDA(cuMemPoolGetAttribute)(pool, CU_MEMPOOL_ATTR_USED_MEM_CURRENT, &used));
  printf("    the pool uses %llu\n", (unsigned long long)used);
  CALL(CUDA(cuMemPoolTrimTo)(pool, 0));
  CALL(CUDA(cuMemPoolDestroy)(pool));
  CALL(CUDA(cuMemFreeAsync)(0x1234500000, stream));
  CALL(CUDA(cuStreamDestroy_v2)(stream));
}

static void physical(CUdevice device) {
  CUmemAllocationProp properties;
  memset(&properties, 0, sizeof(properties));
  properties.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  properties.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  properties.location.id = device;
  size_t granularity = 0;
  CUmemGenericAllocationHandle handle = 0, again = 0;
  CUdeviceptr pointer = 0;
  CALL(CUDA(cuMemGetAllocationGranularity)(&granularity, &properties,
                                           CU_MEM_ALLOC_GRANULARITY_MINIMUM));
  printf("    granularity %zu\n", granularity);
  CALL(CUDA(cuMemCreate)(&handle, 2 * MIB, &properties, 0));
  CALL(CUDA(cuMemCreate)(&again, MIB, &properties, 0));
  CALL(CUDA(cuMemCreate)(&again, 2 * MIB, NULL, 0));
  CALL(CUDA(cuMemAddressReserve)(&pointer, 2 * MIB, 0, 0, 0));
  CALL(CUDA(cuMemMap)(pointer, 2 * MIB, 0, handle, 0));
  CALL(CUDA(cuMemRetainAllocationHandle)(&again, (void*)pointer));
  printf("    the handle is %s\n", handle == again ? "the same" : "another");
  CALL(CUDA(cuMemRelease)(handle));
  CALL(CUDA(cuMemRelease)(again));
  CALL(CUDA(cuMemUnmap)(pointer, 2 * MIB));
  CALL(CUDA(cuMemUnmap)(pointer, 2 * MIB));
  CALL(CUDA(cuMemAddressFree)(pointer, 2 * MIB));
  CALL(CUDA(cuMemRelease)(0xdead));
  CUDA_ARRAY_DESCRIPTOR shape = {64, 64, CU_AD_FORMAT_FLOAT, 1}, read;
  CUarray array = NULL;
  CALL(CUDA(cuArrayCreate_v2)(&array, &shape));
  CALL(CUDA(cuArrayGetDescriptor_v2)(&read, array));
  printf("    array %zu x %zu\n", read.Width, read.Height);
  CALL(CUDA(cuArrayDestroy)(array));
  CALL(CUDA(cuArrayCreate_v2)(&array, NULL));
}

/* What is answered to a name, a version and flags. Of which ABI it is, the canaries tell. */
static void lookup(void) {
  static const struct {
    const char* base;
    int version;
    cuuint64_t flags;
  } kAsked[] = {
      {"cuMemAlloc", 2000, 0},
      {"cuMemAlloc", 12000, 0},
      {"cuMemPrefetchAsync", 12000, 0},
      {"cuMemPrefetchAsync", 13000, 0},
      {"cuLaunchKernel", 12000, 0},
      {"cuLaunchKernel", 12000, CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM},
      {"cuMemAllocAsync", 12000, CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM},
      {"cuGraphLaunch", 12000, CU_GET_PROC_ADDRESS_LEGACY_STREAM},
      {"cuGetProcAddress", 12000, 0},
      {"cuDeviceGetName", 12000, 0},
      {"cuNothingOfThatName", 12000, 0},
      {"cuMemAlloc_v2", 12000, 0},
      {"cuMemAllocAsync", 10000, 0},
  };
  for (size_t i = 0; i < sizeof(kAsked) / sizeof(kAsked[0]); ++i) {
    void* function = NULL;
    CUdriverProcAddressQueryResult status = 77;
    errno = 4711;
    const int code = CUDA(cuGetProcAddress_v2)(kAsked[i].base, &function, kAsked[i].version,
                                               kAsked[i].flags, &status);
    printf("    %s %d %d: code %d, status %d, %s\n", kAsked[i].base, kAsked[i].version,
           (int)kAsked[i].flags, code, (int)status, function == NULL ? "nothing" : "a function");
    errno = 4711;
  }
  void* function = NULL;
  CALL(CUDA(cuGetProcAddress_v2)("cuInit", &function, 12000, 0, NULL));
  CALL(CUDA(cuGetProcAddress_v2)(NULL, &function, 12000, 0, NULL));
  CALL(CUDA(cuGetProcAddress_v2)("cuInit", NULL, 12000, 0, NULL));
}

static void contexts(CUdevice device) {
  CUcontext context = NULL, popped = NULL;
  unsigned int flags = 7;
  int active = 7;
  CALL(CUDA(cuCtxCreate_v2)(&context, 0, device));
  CALL(CUDA(cuCtxGetCurrent)(&popped));
  printf("    the new one is %s\n", popped == context ? "current" : "not current");
  CALL(CUDA(cuCtxDestroy_v2)(context));
  CALL(CUDA(cuCtxDestroy_v2)(NULL));
  CALL(CUDA(cuCtxCreate_v2)(NULL, 0, device));
  CALL(CUDA(cuCtxCreate_v2)(&context, 0, 99));
  CALL(CUDA(cuDevicePrimaryCtxGetState)(device, &flags, &active));
  printf("    the primary one is %s\n", active ? "active" : "not active");
  CALL(CUDA(cuDevicePrimaryCtxRetain)(&context, device));
  CALL(CUDA(cuDevicePrimaryCtxRelease_v2)(device));
  CALL(CUDA(cuDevicePrimaryCtxRetain)(NULL, device));
  CALL(CUDA(cuDevicePrimaryCtxRetain)(&context, 99));
}

/* Work, of which the limiter of GPU time measures every piece. */
static void launches(void) {
  CUmodule module = NULL;
  CUfunction kernel = NULL;
  CUstream stream = NULL;
  CUevent event = NULL;
  unsigned long long nanoseconds = 300000;
  void* parameters[] = {&nanoseconds};
  CALL(CUDA(cuModuleLoadData)(&module, "tranche-kernels 1\nkernel work argument\n"));
  CALL(CUDA(cuModuleGetFunction)(&kernel, module, "work"));
  CALL(CUDA(cuModuleGetFunction)(&kernel, module, "no such kernel"));
  CALL(CUDA(cuStreamCreate)(&stream, CU_STREAM_NON_BLOCKING));
  CALL(CUDA(cuEventCreate)(&event, CU_EVENT_DISABLE_TIMING));
  int wrong = 0, errors = 0;
  for (int i = 0; i < 100; ++i) {
    errno = 4711;
    wrong += CUDA(cuLaunchKernel)(kernel, 132, 1, 1, 256, 1, 1, 0, stream, parameters, NULL) != 0;
    errors += errno != 4711;
  }
  printf("    of 100 launches %d failed, %d changed errno\n", wrong, errors);
  CALL(CUDA(cuEventRecord)(event, stream));
  CALL(CUDA(cuEventSynchronize)(event));
  CALL(CUDA(cuStreamQuery)(stream));
  CALL(CUDA(cuLaunchKernel)(kernel, 1, 1, 1, 1, 1, 1, 0, NULL, parameters, NULL));
  CALL(CUDA(cuLaunchKernel)(NULL, 1, 1, 1, 1, 1, 1, 0, NULL, parameters, NULL));
  CALL(CUDA(cuLaunchKernel)(kernel, 0, 1, 1, 1, 1, 1, 0, NULL, parameters, NULL));
  CALL(CUDA(cuStreamSynchronize)(NULL));
  CALL(CUDA(cuStreamDestroy_v2)(stream));
  CALL(CUDA(cuCtxSynchronize)());
  CALL(CUDA(cuModuleUnload)(module));
  CALL(CUDA(cuGraphLaunch)(NULL, NULL));
}

static void graphs(void) {
  CUgraph graph = NULL;
  CUgraphNode node = NULL;
  CUgraphExec exec = NULL;
  CUDA_MEM_ALLOC_NODE_PARAMS parameters;
  memset(&parameters, 0, sizeof(parameters));
  parameters.poolProps.allocType = CU_MEM_ALLOCATION_TYPE_PINNED;
  parameters.poolProps.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  parameters.bytesize = MIB;
  CALL(CUDA(cuGraphCreate)(&graph, 0));
  CALL(CUDA(cuGraphAddMemAllocNode)(&node, graph, NULL, 0, &parameters));
  CALL(CUDA(cuGraphAddMemFreeNode)(&node, graph, &node, 1, parameters.dptr));
  CALL(CUDA(cuGraphInstantiateWithFlags)(&exec, graph, 0));
  CALL(CUDA(cuGraphLaunch)(exec, NULL));
  CALL(CUDA(cuGraphLaunch)(exec, NULL));
  CALL(CUDA(cuCtxSynchronize)());
  CALL(CUDA(cuGraphExecDestroy)(exec));
  CALL(CUDA(cuGraphDestroy)(graph));
  CALL(CUDA(cuGraphInstantiateWithFlags)(&exec, NULL, 0));
}

static void management(void) {
  nvmlDevice_t device;
  nvmlMemory_t used;
  nvmlMemory_v2_t split;
  memset(&split, 0, sizeof(split));
  unsigned int count = 0;
  char name[96];
  CALL(NVML(nvmlDeviceGetCount_v2)(&count));
  CALL(NVML(nvmlInit_v2)());
  CALL(NVML(nvmlDeviceGetHandleByIndex_v2)(0, &device));
  CALL(NVML(nvmlDeviceGetName)(device, name, sizeof(name)));
  CALL(NVML(nvmlDeviceGetName)(device, name, 1));
  CALL(NVML(nvmlDeviceGetMemoryInfo)(device, &used));
  CALL(NVML(nvmlDeviceGetMemoryInfo)(device, NULL));
  CALL(NVML(nvmlDeviceGetMemoryInfo_v2)(device, &split));
  split.version = nvmlMemory_v2;
  CALL(NVML(nvmlDeviceGetMemoryInfo_v2)(device, &split));
  CALL(NVML(nvmlDeviceGetComputeRunningProcesses_v3)(device, NULL, NULL));
  count = 0;
  CALL(NVML(nvmlDeviceGetComputeRunningProcesses_v3)(device, &count, NULL));
  printf("    %u processes\n", count);
  printf("    %s\n", NVML(nvmlErrorString)(7));
  CALL(NVML(nvmlShutdown)());
  CALL(NVML(nvmlShutdown)());
}

/*
 * The simulated driver clears up after dead processes when it is called, and changes errno when it
 * does. So that there is always one to clear up after, and only one.
 */
static void leave_a_dead_process(void) {
  const pid_t child = fork();
  if (child == 0) {
    void* library = dlopen("libcuda.so.1", RTLD_NOW);
    CUresult (*init)(unsigned int);
    CUresult (*retain)(CUcontext*, CUdevice);
    CUcontext context;
    *(void**)&init = library == NULL ? NULL : dlsym(library, "cuInit");
    *(void**)&retain = library == NULL ? NULL : dlsym(library, "cuDevicePrimaryCtxRetain");
    _exit(init == NULL || init(0) != 0 || retain(&context, 0) != 0);
  }
  int status = 1;
  if (waitpid(child, &status, 0) != child || status != 0) printf("the first process failed\n");
}

int main(void) {
  setvbuf(stdout, NULL, _IOFBF, 1 << 16);
  leave_a_dead_process();
  /* Nothing as it usually is, so that what is put back to the usual is seen. */
  setlocale(LC_ALL, "C.UTF-8");
  umask(027);
  fesetround(FE_UPWARD);
  signal(SIGUSR1, on_signal);
  signal(SIGUSR2, on_signal);
  signal(SIGPIPE, SIG_IGN);
  signal(SIGTERM, on_signal);
  sigset_t blocked;
  sigemptyset(&blocked);
  sigaddset(&blocked, SIGWINCH);
  sigprocmask(SIG_BLOCK, &blocked, NULL);
  prctl(PR_SET_NAME, "manners");
  static Process before;
  look(&before);

  cuda = dlopen("libcuda.so.1", RTLD_NOW);
  nvml = dlopen("libnvidia-ml.so.1", RTLD_NOW);
  if (cuda == NULL || nvml == NULL) {
    printf("%s\n", dlerror());
    return 1;
  }
  printf("dlerror: %s\n", dlerror() == NULL ? "nothing" : "something");
  compare("loaded", &before);
  CUdevice device = 0;
  int version = 0;
  CALL(CUDA(cuDeviceGet)(&device, 0));
  CALL(CUDA(cuInit)(1));
  CALL(CUDA(cuInit)(0));
  CALL(CUDA(cuDriverGetVersion)(&version));
  printf("    %d, %d threads\n", version, threads());
  compare("initialized", &before);
  CUcontext context = NULL;
  size_t free_bytes, total;
  CALL(CUDA(cuMemGetInfo_v2)(&free_bytes, &total));
  CALL(CUDA(cuDeviceGet)(&device, 0));
  CALL(CUDA(cuDevicePrimaryCtxRetain)(&context, device));
  CALL(CUDA(cuCtxSetCurrent)(context));
  memory(device);
  ordered(device);
  physical(device);
  lookup();
  contexts(device);
  graphs();
  launches();
  management();
  pthread_t thread;
  pthread_create(&thread, NULL, in_thread, NULL);
  pthread_join(thread, NULL);
  compare("worked", &before);
  raise(SIGUSR1);
  raise(SIGUSR2);
  printf("signals reached the program: %d\n", (int)signalled == SIGUSR1 + SIGUSR2);
  CALL(CUDA(cuDevicePrimaryCtxRelease_v2)(device));
  CALL(CUDA(cuMemGetInfo_v2)(&free_bytes, &total));
  dlclose(nvml);
  dlclose(cuda);
  compare("closed", &before);
  return 7;
}
