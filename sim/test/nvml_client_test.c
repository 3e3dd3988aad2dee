// A client of libnvidia-ml.so.1, in C, with its own declarations: it shares no header and no line
// of code with the library, so that a misread layout or number cannot agree with itself. It checks
// what is recorded of real drivers: orders of creation, instance ids, return codes, layouts.
//
//   nvml_client_test LIBRARY TRANCHE_SIM SCENARIO

#include <dlfcn.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

// --- What the ABI says --------------------------------------------------------------------------

enum {
  OK = 0,
  UNINITIALIZED = 1,
  INVALID = 2,
  NOT_SUPPORTED = 3,
  NO_PERMISSION = 4,
  NOT_FOUND = 6,
  SHORT_BUFFER = 7,
  NOT_LOADED = 9,
  TIMEOUT = 10,
  LOST = 15,
  RESET_REQUIRED = 16,
  MISMATCH = 18,
  IN_USE = 19,
  NO_ROOM = 23,
  BAD_VERSION = 25
};

typedef struct {
  uint32_t start, size;
} Placement;
typedef struct {
  void* device;
  uint32_t id, profile;
  Placement at;
} GiInfo;
typedef struct {
  void* device;
  void* gi;
  uint32_t id, profile;
  Placement at;
} CiInfo;
typedef struct {
  uint32_t id, p2p, slices, instances, sm, ce, dec, enc, jpeg, ofa;
  uint64_t mb;
} Profile;
typedef struct {
  uint32_t version, id, p2p, slices, instances, sm, ce, dec, enc, jpeg, ofa;
  uint64_t mb;
  char name[96];
} ProfileV2;
typedef struct {
  uint32_t version, id, slices, instances, sm, ce, dec, enc, jpeg, ofa;
  uint64_t mb;
  char name[96];
  uint32_t caps;
} ProfileV3;
typedef struct {
  uint32_t id, slices, instances, sm, ce, dec, enc, jpeg, ofa;
} CiProfile;
typedef struct {
  uint32_t pid;
  uint64_t memory;
} ProcessV1;
typedef struct {
  uint32_t pid;
  uint64_t memory;
  uint32_t gi, ci;
} ProcessV2;
typedef struct {
  uint64_t total, free, used;
} Memory;
typedef struct {
  uint32_t version;
  uint64_t total, reserved, free, used;
} MemoryV2;
typedef struct {
  uint32_t gpu, memory;
} Utilization;
typedef struct {
  void* device;
  uint64_t type, data;
  uint32_t gi, ci;
} EventData;
typedef struct {
  uint32_t id, status;
  double value;
  char *name, *long_name, *unit;
} Metric;
typedef struct {
  uint32_t version, count;
  void *first, *second;
  Metric metrics[333];
} Metrics;
typedef struct {
  uint32_t version, supported;
} GpmSupport;
typedef struct {
  uint32_t sm, ce, dec, enc, jpeg, ofa, gi_slices, ci_slices;
  uint64_t mb;
} Attributes;

_Static_assert(sizeof(Profile) == 48 && sizeof(ProfileV2) == 152 && sizeof(ProfileV3) == 152, "");
_Static_assert(sizeof(CiProfile) == 36 && sizeof(GiInfo) == 24 && sizeof(CiInfo) == 32, "");
_Static_assert(sizeof(ProcessV1) == 16 && sizeof(ProcessV2) == 24 && sizeof(MemoryV2) == 40, "");
_Static_assert(sizeof(Metrics) == 13344 && sizeof(EventData) == 32 && sizeof(Attributes) == 40, "");

#define NO_ID 0xffffffffu
#define VERSIONED(type, n) (uint32_t)(sizeof(type) | (uint32_t)(n) << 24)

// --- The library and the machine ----------------------------------------------------------------

static const char* library_path;
static const char* tool;
static char dir[256];
static void* library;
static int failures;

static void Fail(int line, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  fprintf(stderr, "line %d: ", line);
  vfprintf(stderr, format, arguments);
  fprintf(stderr, "\n");
  va_end(arguments);
  ++failures;
}

#define EXPECT(expression, expected)                                                     \
  do {                                                                                   \
    long long got_ = (long long)(expression), want_ = (long long)(expected);             \
    if (got_ != want_) Fail(__LINE__, "%s is %lld, not %lld", #expression, got_, want_); \
  } while (0)
#define EXPECT_TEXT(text, expected)                                  \
  do {                                                               \
    if (strcmp(text, expected) != 0)                                 \
      Fail(__LINE__, "%s is '%s', not '%s'", #text, text, expected); \
  } while (0)
#define EXPECT_TRUE(condition)                                        \
  do {                                                                \
    if (!(condition)) Fail(__LINE__, "%s does not hold", #condition); \
  } while (0)

static void* Symbol(const char* name) {
  void* symbol = dlsym(library, name);
  if (symbol == NULL) {
    fprintf(stderr, "no symbol %s\n", name);
    exit(1);
  }
  return symbol;
}
// Calls an NVML function with arguments of these types.
#define CALL(name, types, ...) (((uint32_t(*) types)Symbol(name))(__VA_ARGS__))

// Runs `tranche-sim VERB DIR REST`; gives its exit code, and what it printed if asked.
static int Tool(char* output, size_t size, const char* format, ...) {
  char rest[512], command[2048];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(rest, sizeof(rest), format, arguments);
  va_end(arguments);
  char* space = strchr(rest, ' ');
  int verb = (int)(space == NULL ? strlen(rest) : (size_t)(space - rest));
  snprintf(command, sizeof(command), "'%s' %.*s '%s'%s 2>&1", tool, verb, rest, dir,
           space == NULL ? "" : space);
  FILE* pipe = popen(command, "r");
  char text[4096];
  size_t n = fread(text, 1, sizeof(text) - 1, pipe);
  text[n] = 0;
  int status = pclose(pipe);
  if (output != NULL) snprintf(output, size, "%.*s", (int)size - 1, text);
  if (status != 0 && output == NULL) fprintf(stderr, "%s: %s", command, text);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void RemoveMachine(void) {
  char command[512];
  snprintf(command, sizeof(command), "rm -rf '%s'", dir);
  if (dir[0] != 0 && system(command) != 0) fprintf(stderr, "cannot remove %s\n", dir);
}

// The machine's own copy of the library where it has one, as `tranche-sim exec` would choose it.
static void Load(void) {
  char own[300];
  snprintf(own, sizeof(own), "%s/lib/libnvidia-ml.so.1", dir);
  library = dlopen(access(own, R_OK) == 0 ? own : library_path, RTLD_NOW | RTLD_LOCAL);
  if (library == NULL) {
    fprintf(stderr, "%s\n", dlerror());
    exit(1);
  }
}

static void Make(const char* arguments) {
  snprintf(dir, sizeof(dir), "%s/nvml_client_XXXXXX",
           getenv("TMPDIR") == NULL ? "/tmp" : getenv("TMPDIR"));
  if (mkdtemp(dir) == NULL) exit(1);
  atexit(RemoveMachine);
  if (Tool(NULL, 0, "create %s", arguments) != 0) exit(1);
  setenv("TRANCHE_SIM_DIR", dir, 1);
  Load();
}

static void* gpu;

static void Init(void) {
  EXPECT(CALL("nvmlInit_v2", (void)), OK);
  EXPECT(CALL("nvmlDeviceGetHandleByIndex_v2", (uint32_t, void**), 0, &gpu), OK);
}

static void Start(const char* arguments) {
  Make(arguments);
  Init();
}

// Another process that holds memory (and load) until it is ended. `where` is "0" or "0:INDEX".
static pid_t Attach(const char* where, const char* more) {
  char text[256];
  EXPECT(Tool(text, sizeof(text), "attach --gpu %s %s", where, more), 0);
  return (pid_t)atoi(text);
}

// Ends it and waits until the kernel has let go of it: it is not our child.
static void End(pid_t pid) {
  kill(pid, SIGKILL);
  char path[64];
  snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
  for (int i = 0; i < 10000; ++i) {
    FILE* file = fopen(path, "r");
    if (file == NULL) return;
    char state = 0;
    if (fscanf(file, "%*d %*[^)]) %c", &state) != 1) state = 'Z';
    fclose(file);
    if (state == 'Z' || state == 'X') return;
    usleep(1000);
  }
  Fail(__LINE__, "process %d does not end", (int)pid);
}

static uint32_t SetMig(uint32_t mode) {
  uint32_t activation = 999;
  EXPECT(CALL("nvmlDeviceSetMigMode", (void*, uint32_t, uint32_t*), gpu, mode, &activation), OK);
  return activation;
}

static void ExpectMode(uint32_t current, uint32_t pending) {
  uint32_t now = 9, next = 9;
  EXPECT(CALL("nvmlDeviceGetMigMode", (void*, uint32_t*, uint32_t*), gpu, &now, &next), OK);
  EXPECT(now, current);
  EXPECT(next, pending);
}

static uint32_t CreateGi(uint32_t profile, void** gi) {
  return CALL("nvmlDeviceCreateGpuInstance", (void*, uint32_t, void**), gpu, profile, gi);
}
static uint32_t CreateGiAt(uint32_t profile, uint32_t start, uint32_t size, void** gi) {
  Placement at = {start, size};
  return CALL("nvmlDeviceCreateGpuInstanceWithPlacement",
              (void*, uint32_t, const Placement*, void**), gpu, profile, &at, gi);
}
static uint32_t CreateCi(void* gi, uint32_t profile, void** ci) {
  return CALL("nvmlGpuInstanceCreateComputeInstance", (void*, uint32_t, void**), gi, profile, ci);
}
static uint32_t DestroyGi(void* gi) { return CALL("nvmlGpuInstanceDestroy", (void*), gi); }
static uint32_t DestroyCi(void* ci) { return CALL("nvmlComputeInstanceDestroy", (void*), ci); }
static GiInfo InfoOf(void* gi) {
  GiInfo info = {0};
  EXPECT(CALL("nvmlGpuInstanceGetInfo", (void*, GiInfo*), gi, &info), OK);
  return info;
}
static uint32_t MigDevice(uint32_t index, void** device) {
  return CALL("nvmlDeviceGetMigDeviceHandleByIndex", (void*, uint32_t, void**), gpu, index, device);
}

// One order of creation: pairs of profile id and expected instance id, -1 where there is no room;
// ended by -2. The instances are destroyed again.
static void ExpectOrder(int line, const int* pairs) {
  void* made[16];
  int count = 0;
  for (; pairs[0] != -2; pairs += 2) {
    void* gi = NULL;
    uint32_t rc = CreateGi((uint32_t)pairs[0], &gi);
    if (pairs[1] == -1) {
      if (rc != NO_ROOM) Fail(line, "creating profile %d gave %u, not 23", pairs[0], rc);
      continue;
    }
    if (rc != OK) {
      Fail(line, "creating profile %d gave %u", pairs[0], rc);
      continue;
    }
    made[count++] = gi;
    if (InfoOf(gi).id != (uint32_t)pairs[1]) {
      Fail(line, "profile %d became instance %u, not %d", pairs[0], InfoOf(gi).id, pairs[1]);
    }
  }
  while (count > 0) EXPECT(DestroyGi(made[--count]), OK);
}
#define ORDER(...) ExpectOrder(__LINE__, (const int[]){__VA_ARGS__, -2})

// --- Creation orders and ids --------------------------------------------------------------------

static void OrdersOfA100(void) {
  Start("--gpu A100-SXM4-40GB");
  EXPECT(SetMig(1), OK);
  ORDER(9, 2, 9, 1);
  ORDER(19, 13, 19, 11, 14, 3, 9, -1);
  ORDER(9, 2, 19, 7, 14, 4, 19, 8);
  ORDER(14, 5, 19, 13, 19, 7, 19, 8, 19, 9, 19, 10);
  ORDER(19, 13, 14, 5, 5, 1);
  ORDER(19, 13, 19, 11, 19, 12, 19, 7, 19, 8, 19, 9, 19, 10, 19, -1);
  ORDER(0, 0, 19, -1);
  // One with the media extensions, and four that are all the memory.
  ORDER(20, 13, 20, -1);
  ORDER(15, 6, 15, 5, 15, 3, 15, 4, 19, -1);
}

static void OrdersOfMirroredBoards(void) {
  Start("--gpu A100-SXM4-40GB --mirrored");
  EXPECT(SetMig(1), OK);
  ORDER(5, 2, 14, 3, 19, 9);
  ORDER(9, 1, 9, 2);
  void* gi[4];
  EXPECT(CreateGiAt(19, 0, 1, &gi[0]), OK);
  EXPECT(CreateGiAt(19, 1, 1, &gi[1]), OK);
  EXPECT(CreateGiAt(14, 2, 2, &gi[2]), OK);
  EXPECT(CreateGiAt(9, 4, 4, &gi[3]), OK);
  EXPECT(InfoOf(gi[0]).id, 11);
  EXPECT(InfoOf(gi[1]).id, 12);
  EXPECT(InfoOf(gi[2]).id, 6);
  EXPECT(InfoOf(gi[3]).id, 1);
  EXPECT(InfoOf(gi[2]).at.start, 2);
  EXPECT(InfoOf(gi[2]).at.size, 2);
}

static void OrdersOfMirroredH100(void) {
  Start("--gpu H100-PCIE-80GB --mirrored");
  EXPECT(SetMig(1), OK);
  ORDER(19, 9, 19, 7, 19, 8, 19, 11, 19, 12, 19, 13, 19, 14);
}

static void OrdersOfMirroredA100With80(void) {
  Start("--gpu A100-SXM4-80GB --mirrored");
  EXPECT(SetMig(1), OK);
  ORDER(5, 2);
}

static void OrdersOfRtxPro6000(void) {
  Start("--gpu RTX-PRO-6000-SERVER");
  EXPECT(SetMig(1), OK);
  ORDER(14, 3, 14, 4, 14, 5, 14, 6, 14, -1);
  ORDER(5, 1, 14, 5, 14, 6);
  ORDER(0, 0);
  // All media engines in one instance: the others must do without.
  ORDER(65, 3, 14, -1, 67, 4);
  void* gi;
  EXPECT(CreateGiAt(14, 9, 3, &gi), OK);
  EXPECT(InfoOf(gi).at.start, 9);
  EXPECT(InfoOf(gi).at.size, 3);
  uint32_t count = 9;
  EXPECT(CALL("nvmlDeviceGetMaxMigDeviceCount", (void*, uint32_t*), gpu, &count), OK);
  EXPECT(count, 4);
}

static void OrdersOfA30(void) {
  Start("--gpu A30");
  EXPECT(SetMig(1), OK);
  ORDER(14, 3, 14, 4, 14, 5, 14, 6, 14, -1);
  ORDER(5, 1, 5, 2, 14, -1);
  uint32_t count = 9;
  EXPECT(CALL("nvmlDeviceGetMaxMigDeviceCount", (void*, uint32_t*), gpu, &count), OK);
  EXPECT(count, 4);
}

// --- MIG mode -----------------------------------------------------------------------------------

static void ModeOfA100(void) {
  Start("--gpu A100-SXM4-40GB");
  ExpectMode(0, 0);
  // Idle: the driver does the reset itself.
  EXPECT(SetMig(1), OK);
  ExpectMode(1, 1);
  EXPECT(SetMig(0), OK);
  ExpectMode(0, 0);

  pid_t holder = Attach("0", "--memory 1GiB");
  EXPECT(SetMig(1), IN_USE);
  ExpectMode(0, 1);
  EXPECT(Tool((char[256]){0}, 256, "reset --gpu 0"), 6);
  End(holder);
  ExpectMode(0, 1);
  EXPECT(Tool(NULL, 0, "reset --gpu 0"), 0);
  ExpectMode(1, 1);

  void* gi;
  EXPECT(CreateGi(19, &gi), OK);
  EXPECT(SetMig(0), IN_USE);
  EXPECT(SetMig(1), OK);
  ExpectMode(1, 1);
  // A reset takes the instances and leaves the mode; so does a reboot here.
  EXPECT(Tool(NULL, 0, "reset --gpu 0"), 0);
  GiInfo info;
  EXPECT(CALL("nvmlGpuInstanceGetInfo", (void*, GiInfo*), gi, &info), INVALID);
  ExpectMode(1, 1);
  EXPECT(CreateGi(19, &gi), OK);
  EXPECT(Tool(NULL, 0, "reboot"), 0);
  ExpectMode(1, 1);
  uint32_t count = 9;
  EXPECT(CALL("nvmlDeviceGetGpuInstances", (void*, uint32_t, void**, uint32_t*), gpu, 19, NULL,
              &count),
         OK);
  EXPECT(count, 0);
}

static void ModeOfH100(void) {
  Start("--gpu H100-SXM5-80GB");
  EXPECT(SetMig(1), OK);
  ExpectMode(1, 1);
  void* gi;
  EXPECT(CreateGi(19, &gi), OK);
  EXPECT(SetMig(0), IN_USE);
  EXPECT(DestroyGi(gi), OK);
  EXPECT(SetMig(0), OK);
  ExpectMode(0, 0);
  pid_t holder = Attach("0", "--memory 1GiB");
  EXPECT(SetMig(1), IN_USE);
  ExpectMode(0, 0);
  EXPECT(Tool((char[256]){0}, 256, "reload"), 6);
  End(holder);
  EXPECT(SetMig(1), OK);
  EXPECT(CreateGi(19, &gi), OK);
  // The mode is lost with the driver.
  EXPECT(Tool(NULL, 0, "reload"), 0);
  ExpectMode(0, 0);
  EXPECT(SetMig(1), OK);
  EXPECT(Tool(NULL, 0, "reboot"), 0);
  ExpectMode(0, 0);
  EXPECT(CALL("nvmlDeviceSetMigMode", (void*, uint32_t, uint32_t*), gpu, 2, &(uint32_t){0}),
         INVALID);
  EXPECT(CALL("nvmlDeviceSetMigMode", (void*, uint32_t, uint32_t*), gpu, 1, NULL), INVALID);
}

static void WithoutMig(void) {
  Start("--gpu T4");
  uint32_t activation, now, next, count = 9;
  EXPECT(CALL("nvmlDeviceSetMigMode", (void*, uint32_t, uint32_t*), gpu, 1, &activation),
         NOT_SUPPORTED);
  EXPECT(CALL("nvmlDeviceGetMigMode", (void*, uint32_t*, uint32_t*), gpu, &now, &next),
         NOT_SUPPORTED);
  EXPECT(CALL("nvmlDeviceGetMaxMigDeviceCount", (void*, uint32_t*), gpu, &count), OK);
  EXPECT(count, 0);
  void* device;
  EXPECT(MigDevice(0, &device), NOT_SUPPORTED);
  Profile profile;
  EXPECT(CALL("nvmlDeviceGetGpuInstanceProfileInfo", (void*, uint32_t, Profile*), gpu, 0, &profile),
         NOT_SUPPORTED);
  void* gi;
  EXPECT(CreateGi(19, &gi), NOT_SUPPORTED);
  uint32_t rows[4];
  EXPECT(CALL("nvmlDeviceGetRemappedRows", (void*, uint32_t*, uint32_t*, uint32_t*, uint32_t*), gpu,
              rows, rows + 1, rows + 2, rows + 3),
         NOT_SUPPORTED);
}

// --- Instances ----------------------------------------------------------------------------------

static void CreationIsRefused(void) {
  Start("--gpu A100-SXM4-40GB");
  void *gi, *second;
  EXPECT(CreateGi(19, &gi), NOT_SUPPORTED);
  EXPECT(SetMig(1), OK);
  EXPECT(CreateGi(77, &gi), INVALID);
  EXPECT(CreateGi(19, NULL), INVALID);
  EXPECT(CreateGiAt(14, 0, 2, &gi), OK);
  EXPECT(CreateGiAt(14, 0, 2, &second), NO_ROOM);
  EXPECT(CreateGiAt(19, 1, 1, &second), NO_ROOM);
  EXPECT(CreateGiAt(14, 1, 2, &second), INVALID);
  EXPECT(CreateGiAt(14, 2, 1, &second), INVALID);
  EXPECT(CreateGiAt(14, 6, 2, &second), INVALID);
  uint32_t count = 9;
  EXPECT(CALL("nvmlDeviceGetGpuInstanceRemainingCapacity", (void*, uint32_t, uint32_t*), gpu, 14,
              &count),
         OK);
  EXPECT(count, 2);
  EXPECT(CALL("nvmlDeviceGetGpuInstanceRemainingCapacity", (void*, uint32_t, uint32_t*), gpu, 19,
              &count),
         OK);
  EXPECT(count, 5);
  EXPECT(CALL("nvmlDeviceGetGpuInstanceRemainingCapacity", (void*, uint32_t, uint32_t*), gpu, 0,
              &count),
         OK);
  EXPECT(count, 0);
  EXPECT(CALL("nvmlDeviceGetGpuInstanceById", (void*, uint32_t, void**), gpu, 3, &second), OK);
  EXPECT_TRUE(second == gi);
  EXPECT(CALL("nvmlDeviceGetGpuInstanceById", (void*, uint32_t, void**), gpu, 4, &second),
         NOT_FOUND);
}

static void InstancesInUse(void) {
  Start("--gpu H100-SXM5-80GB --mig");
  void *gi, *ci, *device;
  EXPECT(CreateGi(19, &gi), OK);
  EXPECT(CreateCi(gi, 0, &ci), OK);
  EXPECT(DestroyGi(gi), IN_USE);
  pid_t holder = Attach("0:0", "--memory 1GiB");
  EXPECT(DestroyCi(ci), IN_USE);
  EXPECT(DestroyGi(gi), IN_USE);
  End(holder);
  EXPECT(MigDevice(0, &device), OK);
  EXPECT(DestroyCi(ci), OK);
  EXPECT(DestroyCi(ci), INVALID);
  // The handle of a device that is gone.
  char uuid[96];
  EXPECT(CALL("nvmlDeviceGetUUID", (void*, char*, uint32_t), device, uuid, 96), INVALID);
  EXPECT(DestroyGi(gi), OK);
  EXPECT(DestroyGi(gi), INVALID);
  EXPECT(DestroyGi(NULL), INVALID);
  EXPECT(DestroyGi(&gi), INVALID);
}

static void MigDevices(void) {
  Start("--gpu H100-SXM5-80GB --mig");
  uint32_t count = 0, value = 9;
  EXPECT(CALL("nvmlDeviceGetMaxMigDeviceCount", (void*, uint32_t*), gpu, &count), OK);
  EXPECT(count, 7);
  void *gi, *ci, *device, *other;
  EXPECT(MigDevice(0, &device), NOT_FOUND);
  EXPECT(CreateGi(9, &gi), OK);
  // A GPU instance alone is no device.
  EXPECT(MigDevice(0, &device), NOT_FOUND);
  EXPECT(CreateCi(gi, 2, &ci), OK);
  EXPECT(MigDevice(0, &device), OK);
  EXPECT(MigDevice(1, &other), NOT_FOUND);
  EXPECT(MigDevice(7, &other), INVALID);
  char uuid[96], again[96], name[96];
  EXPECT(CALL("nvmlDeviceGetUUID", (void*, char*, uint32_t), device, uuid, 96), OK);
  EXPECT(strncmp(uuid, "MIG-", 4), 0);
  EXPECT(strlen(uuid), 40);
  EXPECT(CALL("nvmlDeviceGetUUID", (void*, char*, uint32_t), device, again, 10), SHORT_BUFFER);
  EXPECT(CALL("nvmlDeviceGetHandleByUUID", (const char*, void**), uuid, &other), OK);
  EXPECT_TRUE(other == device);
  EXPECT(CALL("nvmlDeviceGetName", (void*, char*, uint32_t), device, name, 96), OK);
  EXPECT_TEXT(name, "NVIDIA H100 80GB HBM3 MIG 3g.40gb");
  EXPECT(CALL("nvmlDeviceGetDeviceHandleFromMigDeviceHandle", (void*, void**), device, &other), OK);
  EXPECT_TRUE(other == gpu);
  EXPECT(CALL("nvmlDeviceIsMigDeviceHandle", (void*, uint32_t*), device, &value), OK);
  EXPECT(value, 1);
  EXPECT(CALL("nvmlDeviceIsMigDeviceHandle", (void*, uint32_t*), gpu, &value), OK);
  EXPECT(value, 0);
  EXPECT(CALL("nvmlDeviceGetGpuInstanceId", (void*, uint32_t*), device, &value), OK);
  EXPECT(value, InfoOf(gi).id);
  EXPECT(CALL("nvmlDeviceGetGpuInstanceId", (void*, uint32_t*), gpu, &value), NOT_SUPPORTED);
  EXPECT(CALL("nvmlDeviceGetComputeInstanceId", (void*, uint32_t*), device, &value), OK);
  EXPECT(value, 0);
  Attributes attributes;
  EXPECT(CALL("nvmlDeviceGetAttributes_v2", (void*, Attributes*), device, &attributes), OK);
  EXPECT(attributes.sm, 60);
  EXPECT(attributes.ce, 3);
  EXPECT(attributes.dec, 3);
  EXPECT(attributes.gi_slices, 3);
  EXPECT(attributes.ci_slices, 3);
  EXPECT(attributes.mb, 40448);
  // Another identity every time.
  EXPECT(DestroyCi(ci), OK);
  EXPECT(CreateCi(gi, 2, &ci), OK);
  EXPECT(MigDevice(0, &device), OK);
  EXPECT(CALL("nvmlDeviceGetUUID", (void*, char*, uint32_t), device, again, 96), OK);
  EXPECT_TRUE(strcmp(uuid, again) != 0);
  EXPECT(CALL("nvmlDeviceGetHandleByUUID", (const char*, void**), uuid, &other), NOT_FOUND);
}

static void ComputeInstances(void) {
  Start("--gpu A100-SXM4-40GB --mig");
  void *gi, *ci[4], *more;
  EXPECT(CreateGi(9, &gi), OK);
  CiProfile profile;
  EXPECT(CALL("nvmlGpuInstanceGetComputeInstanceProfileInfo",
              (void*, uint32_t, uint32_t, CiProfile*), gi, 1, 0, &profile),
         OK);
  EXPECT(profile.slices, 2);
  EXPECT(profile.instances, 1);
  EXPECT(profile.sm, 28);
  EXPECT(profile.dec, 2);  // shared: those of the GPU instance
  EXPECT(CALL("nvmlGpuInstanceGetComputeInstanceProfileInfo",
              (void*, uint32_t, uint32_t, CiProfile*), gi, 4, 0, &profile),
         NOT_SUPPORTED);
  EXPECT(CALL("nvmlGpuInstanceGetComputeInstanceProfileInfo",
              (void*, uint32_t, uint32_t, CiProfile*), gi, 9, 0, &profile),
         INVALID);
  EXPECT(CALL("nvmlGpuInstanceGetComputeInstanceProfileInfo",
              (void*, uint32_t, uint32_t, CiProfile*), gi, 0, 1, &profile),
         INVALID);
  uint32_t count = 9;
  EXPECT(CALL("nvmlGpuInstanceGetComputeInstanceRemainingCapacity", (void*, uint32_t, uint32_t*),
              gi, 0, &count),
         OK);
  EXPECT(count, 3);
  // The lowest free id first, and the place that leaves most to others.
  EXPECT(CreateCi(gi, 0, &ci[0]), OK);
  CiInfo info;
  EXPECT(CALL("nvmlComputeInstanceGetInfo_v2", (void*, CiInfo*), ci[0], &info), OK);
  EXPECT(info.id, 0);
  EXPECT(info.at.size, 1);
  EXPECT(info.at.start, 2);
  EXPECT_TRUE(info.gi == gi && info.device == gpu);
  EXPECT(CreateCi(gi, 1, &ci[1]), OK);
  EXPECT(CreateCi(gi, 0, &more), NO_ROOM);
  EXPECT(CreateCi(gi, 2, &more), NO_ROOM);
  EXPECT(CreateCi(gi, 4, &more), INVALID);
  EXPECT(DestroyCi(ci[0]), OK);
  EXPECT(CreateCi(gi, 0, &ci[0]), OK);
  EXPECT(CALL("nvmlComputeInstanceGetInfo_v2", (void*, CiInfo*), ci[0], &info), OK);
  EXPECT(info.id, 0);
  EXPECT(CALL("nvmlGpuInstanceGetComputeInstances", (void*, uint32_t, void**, uint32_t*), gi, 0,
              &more, &count),
         OK);
  EXPECT(count, 1);
  EXPECT_TRUE(more == ci[0]);
  EXPECT(CALL("nvmlGpuInstanceGetComputeInstanceById", (void*, uint32_t, void**), gi, 1, &more),
         OK);
  EXPECT_TRUE(more == ci[1]);
  EXPECT(CALL("nvmlGpuInstanceGetComputeInstanceById", (void*, uint32_t, void**), gi, 2, &more),
         NOT_FOUND);
  // The older form of the info ends before the placement.
  struct {
    void *device, *gi;
    uint32_t id, profile;
    uint64_t guard;
  } old = {NULL, NULL, 0, 0, 42};
  EXPECT(CALL("nvmlComputeInstanceGetInfo", (void*, void*), ci[1], &old), OK);
  EXPECT(old.profile, 1);
  EXPECT(old.guard, 42);
}

static void Profiles(void) {
  Start("--gpu H100-SXM5-80GB");
  // With MIG off, too.
  Profile profile;
  EXPECT(CALL("nvmlDeviceGetGpuInstanceProfileInfo", (void*, uint32_t, Profile*), gpu, 0, &profile),
         OK);
  EXPECT(profile.id, 19);
  EXPECT(profile.instances, 7);
  EXPECT(profile.sm, 16);
  EXPECT(profile.mb, 9984);
  EXPECT(profile.p2p, 0);
  EXPECT(CALL("nvmlDeviceGetGpuInstanceProfileInfo", (void*, uint32_t, Profile*), gpu, 5, &profile),
         NOT_SUPPORTED);
  EXPECT(
      CALL("nvmlDeviceGetGpuInstanceProfileInfo", (void*, uint32_t, Profile*), gpu, 18, &profile),
      INVALID);
  EXPECT(CALL("nvmlDeviceGetGpuInstanceProfileInfo", (void*, uint32_t, Profile*), gpu, 0, NULL),
         INVALID);

  ProfileV2 v2 = {.version = VERSIONED(ProfileV2, 2)};
  EXPECT(CALL("nvmlDeviceGetGpuInstanceProfileInfoV", (void*, uint32_t, ProfileV2*), gpu, 9, &v2),
         OK);
  EXPECT_TEXT(v2.name, "MIG 1g.20gb");
  EXPECT(v2.id, 15);
  EXPECT(v2.sm, 26);
  ProfileV3 v3 = {.version = VERSIONED(ProfileV3, 3)};
  EXPECT(CALL("nvmlDeviceGetGpuInstanceProfileInfoV", (void*, uint32_t, ProfileV3*), gpu, 2, &v3),
         OK);
  EXPECT_TEXT(v3.name, "MIG 3g.40gb");
  EXPECT(v3.sm, 60);
  EXPECT(v3.mb, 40448);
  EXPECT(v3.caps, 0);
  v3 = (ProfileV3){.version = VERSIONED(ProfileV3, 3)};
  EXPECT(
      CALL("nvmlDeviceGetGpuInstanceProfileInfoByIdV", (void*, uint32_t, ProfileV3*), gpu, 14, &v3),
      OK);
  EXPECT_TEXT(v3.name, "MIG 2g.20gb");
  v2.version = VERSIONED(ProfileV2, 1);
  EXPECT(CALL("nvmlDeviceGetGpuInstanceProfileInfoV", (void*, uint32_t, ProfileV2*), gpu, 0, &v2),
         BAD_VERSION);
  v2.version = 0;
  EXPECT(CALL("nvmlDeviceGetGpuInstanceProfileInfoV", (void*, uint32_t, ProfileV2*), gpu, 0, &v2),
         BAD_VERSION);

  // All placements, whatever the mode and whatever stands there; first the number.
  Placement at[8];
  uint32_t count = 0;
  EXPECT(CALL("nvmlDeviceGetGpuInstancePossiblePlacements_v2",
              (void*, uint32_t, Placement*, uint32_t*), gpu, 9, NULL, &count),
         OK);
  EXPECT(count, 2);
  EXPECT(SetMig(1), OK);
  void* gi;
  EXPECT(CreateGi(0, &gi), OK);
  EXPECT(CALL("nvmlDeviceGetGpuInstancePossiblePlacements_v2",
              (void*, uint32_t, Placement*, uint32_t*), gpu, 15, at, &count),
         OK);
  EXPECT(count, 4);
  EXPECT(at[3].start, 6);
  EXPECT(at[3].size, 2);
  EXPECT(CALL("nvmlDeviceGetGpuInstancePossiblePlacements",
              (void*, uint32_t, Placement*, uint32_t*), gpu, 9, at, &count),
         OK);
  EXPECT(at[1].start, 4);
}

static void GraphicsCapability(void) {
  Start("--gpu RTX-PRO-6000-SERVER");
  ProfileV3 v3 = {.version = VERSIONED(ProfileV3, 3)};
  EXPECT(CALL("nvmlDeviceGetGpuInstanceProfileInfoV", (void*, uint32_t, ProfileV3*), gpu, 10, &v3),
         OK);
  EXPECT_TEXT(v3.name, "MIG 1g.24gb+gfx");
  EXPECT(v3.caps, 2);
  EXPECT(v3.id, 47);
}

// --- Rights -------------------------------------------------------------------------------------

static void WithoutRights(void) {
  Make("--gpu A100-SXM4-40GB --mig");
  void *gi, *ci;
  Init();
  EXPECT(CreateGi(9, &gi), OK);
  EXPECT(CreateCi(gi, 2, &ci), OK);
  pid_t holder = Attach("0:0", "--memory 1GiB");
  EXPECT(CALL("nvmlShutdown", (void)), OK);

  setenv("TRANCHE_SIM_UID", "4242", 1);
  Init();
  uint32_t activation, count = 8;
  EXPECT(CALL("nvmlDeviceSetMigMode", (void*, uint32_t, uint32_t*), gpu, 0, &activation),
         NO_PERMISSION);
  EXPECT(CreateGi(19, &gi), NO_PERMISSION);
  EXPECT(DestroyCi(ci), NO_PERMISSION);
  EXPECT(CALL("nvmlDeviceSetComputeMode", (void*, uint32_t), gpu, 3), NO_PERMISSION);
  EXPECT(CALL("nvmlDeviceSetPersistenceMode", (void*, uint32_t), gpu, 0), NO_PERMISSION);
  // Reading is for everybody, but in MIG mode not the processes of others.
  ExpectMode(1, 1);
  ProcessV2 processes[8];
  EXPECT(CALL("nvmlDeviceGetComputeRunningProcesses_v3", (void*, uint32_t*, ProcessV2*), gpu,
              &count, processes),
         OK);
  EXPECT(count, 0);

  // Whoever may open the capability may create and destroy.
  char capability[300];
  snprintf(capability, sizeof(capability), "%s/capabilities/mig/config", dir);
  EXPECT(chmod(capability, 0444), 0);
  void* own;
  EXPECT(CreateGi(19, &own), OK);
  EXPECT(DestroyGi(own), OK);
  EXPECT(CALL("nvmlDeviceSetMigMode", (void*, uint32_t, uint32_t*), gpu, 0, &activation),
         NO_PERMISSION);
  End(holder);
}

static void DriverThatIsNotThere(void) {
  Make("--machine broken-no-driver");
  EXPECT(CALL("nvmlInit_v2", (void)), NOT_LOADED);
  uint32_t count;
  EXPECT(CALL("nvmlDeviceGetCount_v2", (uint32_t*), &count), UNINITIALIZED);
  EXPECT(CALL("nvmlShutdown", (void)), UNINITIALIZED);
  setenv("TRANCHE_SIM_DIR", "/nonexistent", 1);
  EXPECT(CALL("nvmlInit_v2", (void)), NOT_LOADED);
  unsetenv("TRANCHE_SIM_DIR");
  EXPECT(CALL("nvmlInit_v2", (void)), NOT_LOADED);
}

static void DriverThatDoesNotMatch(void) {
  Make("--machine broken-mismatch");
  EXPECT(CALL("nvmlInit_v2", (void)), MISMATCH);
}

static void DeviceNodeThatMayNotBeOpened(void) {
  Make("--gpu H100-SXM5-80GB:2");
  Init();
  EXPECT(Tool(NULL, 0, "fault --gpu 1 --no-permission"), 0);
  void* second;
  uint32_t count;
  EXPECT(CALL("nvmlDeviceGetHandleByIndex_v2", (uint32_t, void**), 1, &second), NO_PERMISSION);
  EXPECT(CALL("nvmlDeviceGetCount_v2", (uint32_t*), &count), OK);
  EXPECT(count, 2);
  // The oldest form counts only what may be opened.
  EXPECT(CALL("nvmlDeviceGetCount", (uint32_t*), &count), OK);
  EXPECT(count, 1);
  EXPECT(Tool(NULL, 0, "fault --gpu 0 --no-permission"), 0);
  EXPECT(CALL("nvmlShutdown", (void)), OK);
  EXPECT(CALL("nvmlInit_v2", (void)), NO_PERMISSION);
}

static void InitCounts(void) {
  Make("--gpu L40S");
  uint32_t count;
  EXPECT(CALL("nvmlDeviceGetCount_v2", (uint32_t*), &count), UNINITIALIZED);
  EXPECT(CALL("nvmlInit_v2", (void)), OK);
  EXPECT(CALL("nvmlInit", (void)), OK);
  EXPECT(CALL("nvmlInitWithFlags", (uint32_t), 0), OK);
  EXPECT(CALL("nvmlShutdown", (void)), OK);
  EXPECT(CALL("nvmlShutdown", (void)), OK);
  EXPECT(CALL("nvmlDeviceGetCount_v2", (uint32_t*), &count), OK);
  EXPECT(CALL("nvmlShutdown", (void)), OK);
  EXPECT(CALL("nvmlDeviceGetCount_v2", (uint32_t*), &count), UNINITIALIZED);
  EXPECT(CALL("nvmlShutdown", (void)), UNINITIALIZED);
  EXPECT_TEXT(((const char* (*)(uint32_t))Symbol("nvmlErrorString"))(23), "Insufficient Resources");
}

// --- Usage --------------------------------------------------------------------------------------

static void MemoryIsCounted(void) {
  Start("--gpu H100-SXM5-80GB");
  Memory v1;
  MemoryV2 v2 = {.version = VERSIONED(MemoryV2, 2)};
  const uint64_t gib = 1ull << 30;
  EXPECT(CALL("nvmlDeviceGetMemoryInfo", (void*, Memory*), gpu, &v1), OK);
  EXPECT(CALL("nvmlDeviceGetMemoryInfo_v2", (void*, MemoryV2*), gpu, &v2), OK);
  EXPECT(v1.total, 81559ull << 20);
  EXPECT(v2.used, 0);
  EXPECT_TRUE(v2.reserved > 0);
  EXPECT(v1.used, v2.used + v2.reserved);
  EXPECT(v2.total, v2.used + v2.reserved + v2.free);
  v2.version = VERSIONED(MemoryV2, 1);
  EXPECT(CALL("nvmlDeviceGetMemoryInfo_v2", (void*, MemoryV2*), gpu, &v2), BAD_VERSION);
  v2.version = VERSIONED(MemoryV2, 2);

  pid_t holder = Attach("0", "--memory 3GiB --load 0.25");
  EXPECT(CALL("nvmlDeviceGetMemoryInfo_v2", (void*, MemoryV2*), gpu, &v2), OK);
  EXPECT(v2.used, 3 * gib);
  Utilization utilization;
  EXPECT(CALL("nvmlDeviceGetUtilizationRates", (void*, Utilization*), gpu, &utilization), OK);
  EXPECT(utilization.gpu, 25);
  char text[256];
  EXPECT(Tool(text, sizeof(text), "attach --gpu 0 --memory 100GiB"), 3);
  pid_t second = Attach("0", "--memory 1GiB --load 0.5");
  EXPECT(CALL("nvmlDeviceGetUtilizationRates", (void*, Utilization*), gpu, &utilization), OK);
  EXPECT(utilization.gpu, 75);
  // A dead process holds nothing.
  End(holder);
  EXPECT(CALL("nvmlDeviceGetMemoryInfo_v2", (void*, MemoryV2*), gpu, &v2), OK);
  EXPECT(v2.used, gib);
  End(second);
  EXPECT(CALL("nvmlDeviceGetUtilizationRates", (void*, Utilization*), gpu, &utilization), OK);
  EXPECT(utilization.gpu, 0);
}

static void ProcessLists(void) {
  Start("--gpu H100-SXM5-80GB");
  ProcessV2 list[8];
  uint32_t count = 0;
  EXPECT(CALL("nvmlDeviceGetComputeRunningProcesses_v3", (void*, uint32_t*, ProcessV2*), gpu,
              &count, NULL),
         OK);
  EXPECT(count, 0);
  pid_t a = Attach("0", "--memory 1GiB");
  pid_t b = Attach("0", "--memory 2GiB");
  count = 0;
  EXPECT(CALL("nvmlDeviceGetComputeRunningProcesses_v3", (void*, uint32_t*, ProcessV2*), gpu,
              &count, NULL),
         SHORT_BUFFER);
  EXPECT(count, 2);
  count = 1;
  EXPECT(CALL("nvmlDeviceGetComputeRunningProcesses_v2", (void*, uint32_t*, ProcessV2*), gpu,
              &count, list),
         SHORT_BUFFER);
  count = 8;
  EXPECT(CALL("nvmlDeviceGetComputeRunningProcesses_v3", (void*, uint32_t*, ProcessV2*), gpu,
              &count, list),
         OK);
  EXPECT(count, 2);
  EXPECT(list[0].pid, a);
  EXPECT(list[0].memory, 1ull << 30);
  EXPECT(list[0].gi, NO_ID);
  EXPECT(list[0].ci, NO_ID);
  EXPECT(list[1].pid, b);
  // The unversioned call has entries of 16 bytes.
  ProcessV1 old[4];
  memset(old, 0x55, sizeof(old));
  count = 2;
  EXPECT(CALL("nvmlDeviceGetComputeRunningProcesses", (void*, uint32_t*, ProcessV1*), gpu, &count,
              old),
         OK);
  EXPECT(old[1].pid, b);
  EXPECT(old[1].memory, 2ull << 30);
  EXPECT(old[2].pid, 0x55555555);
  count = 8;
  EXPECT(CALL("nvmlDeviceGetGraphicsRunningProcesses_v3", (void*, uint32_t*, ProcessV2*), gpu,
              &count, list),
         OK);
  EXPECT(count, 0);
  char name[64];
  EXPECT(CALL("nvmlSystemGetProcessName", (uint32_t, char*, uint32_t), (uint32_t)a, name, 64), OK);
  EXPECT_TRUE(name[0] != 0);
  End(a);
  EXPECT(CALL("nvmlSystemGetProcessName", (uint32_t, char*, uint32_t), 0x7ffffff0u, name, 64),
         NOT_FOUND);
  End(b);
}

static void ProcessesOnMig(void) {
  Start("--gpu A100-SXM4-40GB --mig");
  void *gi[2], *ci[3], *device;
  EXPECT(CreateGi(9, &gi[0]), OK);
  EXPECT(CreateGi(19, &gi[1]), OK);
  EXPECT(CreateCi(gi[0], 1, &ci[0]), OK);
  EXPECT(CreateCi(gi[0], 0, &ci[1]), OK);
  EXPECT(CreateCi(gi[1], 0, &ci[2]), OK);
  // Numbered by GPU instance, then compute instance: 2/0, 2/1, 7/0.
  pid_t a = Attach("0:1", "--memory 1GiB --load 1");
  pid_t b = Attach("0:2", "--memory 2GiB");
  ProcessV2 list[8];
  uint32_t count = 8;
  EXPECT(CALL("nvmlDeviceGetComputeRunningProcesses_v3", (void*, uint32_t*, ProcessV2*), gpu,
              &count, list),
         OK);
  EXPECT(count, 2);
  EXPECT(list[0].pid, a);
  EXPECT(list[0].gi, 2);
  EXPECT(list[0].ci, 1);
  EXPECT(list[1].pid, b);
  EXPECT(list[1].gi, 7);
  EXPECT(list[1].ci, 0);
  count = 8;
  EXPECT(MigDevice(2, &device), OK);
  EXPECT(CALL("nvmlDeviceGetComputeRunningProcesses_v3", (void*, uint32_t*, ProcessV2*), device,
              &count, list),
         OK);
  EXPECT(count, 1);
  EXPECT(list[0].pid, b);
  // Compute instances share the memory of their GPU instance.
  Memory memory[2];
  EXPECT(MigDevice(0, &device), OK);
  EXPECT(CALL("nvmlDeviceGetMemoryInfo", (void*, Memory*), device, &memory[0]), OK);
  EXPECT(MigDevice(1, &device), OK);
  EXPECT(CALL("nvmlDeviceGetMemoryInfo", (void*, Memory*), device, &memory[1]), OK);
  EXPECT(memory[0].total, 19968ull << 20);
  EXPECT(memory[0].used, memory[1].used);
  EXPECT_TRUE(memory[0].used >= 1ull << 30);
  // No utilisation, neither of the parts nor of the whole.
  Utilization utilization;
  EXPECT(CALL("nvmlDeviceGetUtilizationRates", (void*, Utilization*), gpu, &utilization),
         NOT_SUPPORTED);
  EXPECT(CALL("nvmlDeviceGetUtilizationRates", (void*, Utilization*), device, &utilization),
         NOT_SUPPORTED);
  struct {
    uint32_t pid;
    uint64_t time;
    uint32_t sm, memory, encoder, decoder;
  } samples[4];
  count = 4;
  EXPECT(CALL("nvmlDeviceGetProcessUtilization", (void*, void*, uint32_t*, uint64_t), device,
              samples, &count, 0),
         NOT_SUPPORTED);
  EXPECT(CALL("nvmlDeviceGetProcessUtilization", (void*, void*, uint32_t*, uint64_t), gpu, samples,
              &count, 0),
         NOT_SUPPORTED);
  // Nor GPM: that began with Hopper.
  GpmSupport support = {1, 9};
  EXPECT(CALL("nvmlGpmQueryDeviceSupport", (void*, GpmSupport*), gpu, &support), OK);
  EXPECT(support.supported, 0);
  void* sample;
  EXPECT(CALL("nvmlGpmSampleAlloc", (void**), &sample), OK);
  EXPECT(CALL("nvmlGpmSampleGet", (void*, void*), gpu, sample), NOT_SUPPORTED);
  EXPECT(CALL("nvmlGpmSampleFree", (void*), sample), OK);
  EXPECT(CALL("nvmlGpmSampleFree", (void*), sample), INVALID);
  // A process cannot take the whole GPU now.
  char text[256];
  EXPECT(Tool(text, sizeof(text), "attach --gpu 0 --memory 1GiB"), 1);
  End(a);
  End(b);
}

static Metrics metrics;

static double Gpm(void* first, void* second, uint32_t id) {
  memset(&metrics, 0, sizeof(metrics));
  metrics.version = 1;
  metrics.count = 1;
  metrics.first = first;
  metrics.second = second;
  metrics.metrics[0].id = id;
  EXPECT(CALL("nvmlGpmMetricsGet", (Metrics*), &metrics), OK);
  EXPECT(metrics.metrics[0].status, OK);
  return metrics.metrics[0].value;
}

static void GpmOnHopper(void) {
  Start("--gpu H100-SXM5-80GB --mig");
  void *gi, *ci, *device;
  EXPECT(CreateGi(14, &gi), OK);
  EXPECT(CreateCi(gi, 1, &ci), OK);
  EXPECT(MigDevice(0, &device), OK);
  GpmSupport support = {1, 9};
  EXPECT(CALL("nvmlGpmQueryDeviceSupport", (void*, GpmSupport*), gpu, &support), OK);
  EXPECT(support.supported, 1);
  support.version = 7;
  EXPECT(CALL("nvmlGpmQueryDeviceSupport", (void*, GpmSupport*), gpu, &support), BAD_VERSION);
  pid_t holder = Attach("0:0", "--memory 1GiB --load 0.5");
  void* samples[4];
  for (int i = 0; i < 4; ++i) EXPECT(CALL("nvmlGpmSampleAlloc", (void**), &samples[i]), OK);
  EXPECT(CALL("nvmlGpmMigSampleGet", (void*, uint32_t, void*), gpu, InfoOf(gi).id, samples[0]), OK);
  EXPECT(CALL("nvmlGpmMigSampleGet", (void*, uint32_t, void*), gpu, InfoOf(gi).id, samples[1]), OK);
  EXPECT(CALL("nvmlGpmMigSampleGet", (void*, uint32_t, void*), gpu, 12, samples[1]), INVALID);
  double sm = Gpm(samples[0], samples[1], 2);
  EXPECT_TRUE(sm > 49.9 && sm < 50.1);
  // By the handle of the MIG device as well; of the whole GPU it is that much less.
  EXPECT(CALL("nvmlGpmSampleGet", (void*, void*), device, samples[2]), OK);
  EXPECT(CALL("nvmlGpmSampleGet", (void*, void*), device, samples[3]), OK);
  sm = Gpm(samples[2], samples[3], 1);
  EXPECT_TRUE(sm > 49.9 && sm < 50.1);
  EXPECT(CALL("nvmlGpmSampleGet", (void*, void*), gpu, samples[2]), OK);
  EXPECT(CALL("nvmlGpmSampleGet", (void*, void*), gpu, samples[3]), OK);
  sm = Gpm(samples[2], samples[3], 1);
  EXPECT_TRUE(sm > 12.0 && sm < 12.3);  // 16 of 132 SMs
  // Each metric has a status of its own, the call has another.
  metrics.count = 2;
  metrics.metrics[1].id = 332;
  EXPECT(CALL("nvmlGpmMetricsGet", (Metrics*), &metrics), OK);
  EXPECT(metrics.metrics[0].status, OK);
  EXPECT(metrics.metrics[1].status, NOT_SUPPORTED);
  metrics.version = VERSIONED(Metrics, 1);
  EXPECT(CALL("nvmlGpmMetricsGet", (Metrics*), &metrics), BAD_VERSION);
  metrics.version = 1;
  metrics.first = samples[0];  // of a GPU instance, and the other of the GPU
  EXPECT(CALL("nvmlGpmMetricsGet", (Metrics*), &metrics), INVALID);
  End(holder);
}

static void ComputeModes(void) {
  Start("--gpu L40S");
  uint32_t mode = 9;
  EXPECT(CALL("nvmlDeviceSetComputeMode", (void*, uint32_t), gpu, 3), OK);
  EXPECT(CALL("nvmlDeviceGetComputeMode", (void*, uint32_t*), gpu, &mode), OK);
  EXPECT(mode, 3);
  pid_t holder = Attach("0", "--memory 1GiB");
  char text[256];
  EXPECT(Tool(text, sizeof(text), "attach --gpu 0 --memory 1GiB"), 1);
  End(holder);
  End(Attach("0", "--memory 1GiB"));
  EXPECT(CALL("nvmlDeviceSetComputeMode", (void*, uint32_t), gpu, 2), OK);
  EXPECT(Tool(text, sizeof(text), "attach --gpu 0 --memory 1GiB"), 1);
  EXPECT(CALL("nvmlDeviceSetComputeMode", (void*, uint32_t), gpu, 4), INVALID);
  Start("--gpu H100-SXM5-80GB --mig");
  EXPECT(CALL("nvmlDeviceSetComputeMode", (void*, uint32_t), gpu, 3), NOT_SUPPORTED);
  EXPECT(CALL("nvmlDeviceGetComputeMode", (void*, uint32_t*), gpu, &mode), OK);
  EXPECT(mode, 0);
}

// --- Errors and events --------------------------------------------------------------------------

static void XidEvents(void) {
  Start("--gpu H100-SXM5-80GB --mig");
  void *gi, *ci, *set;
  EXPECT(CreateGi(19, &gi), OK);
  EXPECT(CreateCi(gi, 0, &ci), OK);
  // Before anybody listens: not delivered.
  EXPECT(Tool(NULL, 0, "fault --gpu 0 --xid 13"), 0);
  EXPECT(CALL("nvmlEventSetCreate", (void**), &set), OK);
  uint64_t types = 0;
  EXPECT(CALL("nvmlDeviceGetSupportedEventTypes", (void*, uint64_t*), gpu, &types), OK);
  EXPECT_TRUE((types & 8) != 0);
  EXPECT(CALL("nvmlDeviceRegisterEvents", (void*, uint64_t, void*), gpu, 1ull << 40, set),
         NOT_SUPPORTED);
  EXPECT(CALL("nvmlDeviceRegisterEvents", (void*, uint64_t, void*), gpu, 8, set), OK);
  EventData data;
  EXPECT(CALL("nvmlEventSetWait_v2", (void*, EventData*, uint32_t), set, &data, 0), TIMEOUT);
  EXPECT(CALL("nvmlEventSetWait_v2", (void*, EventData*, uint32_t), set, &data, 20), TIMEOUT);
  EXPECT(Tool(NULL, 0, "fault --gpu 0 --xid 31 --gi %u --ci 0", InfoOf(gi).id), 0);
  EXPECT(Tool(NULL, 0, "fault --gpu 0 --xid 48"), 0);
  EXPECT(CALL("nvmlEventSetWait_v2", (void*, EventData*, uint32_t), set, &data, 10000), OK);
  EXPECT_TRUE(data.device == gpu);
  EXPECT(data.type, 8);
  EXPECT(data.data, 31);
  EXPECT(data.gi, InfoOf(gi).id);
  EXPECT(data.ci, 0);
  EXPECT(CALL("nvmlEventSetWait_v2", (void*, EventData*, uint32_t), set, &data, 10000), OK);
  EXPECT(data.data, 48);
  EXPECT(data.gi, NO_ID);
  EXPECT(data.ci, NO_ID);
  EXPECT(CALL("nvmlEventSetWait_v2", (void*, EventData*, uint32_t), set, &data, 0), TIMEOUT);
  EXPECT(Tool((char[256]){0}, 256, "fault --gpu 0 --xid 31 --gi 99"), 64);

  // An event raised by another process while this one waits.
  pid_t other = fork();
  if (other == 0) {
    usleep(50000);
    _exit(Tool(NULL, 0, "fault --gpu 0 --xid 43"));
  }
  EXPECT(CALL("nvmlEventSetWait_v2", (void*, EventData*, uint32_t), set, &data, 60000), OK);
  EXPECT(data.data, 43);
  waitpid(other, NULL, 0);

  // The last thing that a GPU says before it is gone.
  EXPECT(Tool(NULL, 0, "fault --gpu 0 --lost"), 0);
  EXPECT(CALL("nvmlEventSetWait_v2", (void*, EventData*, uint32_t), set, &data, 10000), OK);
  EXPECT(data.data, 79);
  EXPECT(CALL("nvmlEventSetWait_v2", (void*, EventData*, uint32_t), set, &data, 10000), LOST);
  EXPECT(CALL("nvmlEventSetFree", (void*), set), OK);
  EXPECT(CALL("nvmlEventSetFree", (void*), set), INVALID);
}

static void LostGpu(void) {
  Start("--machine broken-lost-gpu");
  uint32_t count;
  void* second;
  EXPECT(CALL("nvmlDeviceGetCount_v2", (uint32_t*), &count), OK);
  EXPECT(count, 2);
  EXPECT(CALL("nvmlDeviceGetHandleByIndex_v2", (uint32_t, void**), 1, &second), LOST);
  EXPECT(CALL("nvmlDeviceGetHandleByIndex_v2", (uint32_t, void**), 2, &second), INVALID);
  EXPECT(Tool(NULL, 0, "fault --gpu 0 --lost"), 0);
  char name[96];
  EXPECT(CALL("nvmlDeviceGetName", (void*, char*, uint32_t), gpu, name, 96), LOST);
  EXPECT(CreateGi(19, &second), LOST);
  EXPECT(Tool((char[256]){0}, 256, "reset --gpu 0"), 1);
  EXPECT(Tool(NULL, 0, "reboot"), 0);
  EXPECT(CALL("nvmlDeviceGetName", (void*, char*, uint32_t), gpu, name, 96), OK);
}

static void MemoryErrors(void) {
  Start("--gpu A100-SXM4-80GB");
  uint64_t errors = 9;
  uint32_t corrected, uncorrected, pending, failure;
  EXPECT(CALL("nvmlDeviceGetTotalEccErrors", (void*, uint32_t, uint32_t, uint64_t*), gpu, 1, 0,
              &errors),
         OK);
  EXPECT(errors, 0);
  EXPECT(Tool(NULL, 0, "fault --gpu 0 --xid 48"), 0);
  EXPECT(Tool(NULL, 0, "fault --gpu 0 --xid 63"), 0);
  EXPECT(CALL("nvmlDeviceGetTotalEccErrors", (void*, uint32_t, uint32_t, uint64_t*), gpu, 1, 0,
              &errors),
         OK);
  EXPECT(errors, 1);
  EXPECT(CALL("nvmlDeviceGetRemappedRows", (void*, uint32_t*, uint32_t*, uint32_t*, uint32_t*), gpu,
              &corrected, &uncorrected, &pending, &failure),
         OK);
  EXPECT(uncorrected, 0);
  EXPECT(pending, 1);
  // The reset does the remapping; only the aggregate count stays.
  EXPECT(Tool(NULL, 0, "reset --gpu 0"), 0);
  EXPECT(CALL("nvmlDeviceGetRemappedRows", (void*, uint32_t*, uint32_t*, uint32_t*, uint32_t*), gpu,
              &corrected, &uncorrected, &pending, &failure),
         OK);
  EXPECT(uncorrected, 1);
  EXPECT(pending, 0);
  EXPECT(CALL("nvmlDeviceGetTotalEccErrors", (void*, uint32_t, uint32_t, uint64_t*), gpu, 1, 0,
              &errors),
         OK);
  EXPECT(errors, 0);
  EXPECT(CALL("nvmlDeviceGetTotalEccErrors", (void*, uint32_t, uint32_t, uint64_t*), gpu, 1, 1,
              &errors),
         OK);
  EXPECT(errors, 1);
  EXPECT(Tool(NULL, 0, "fault --gpu 0 --clear"), 0);
  EXPECT(CALL("nvmlDeviceGetTotalEccErrors", (void*, uint32_t, uint32_t, uint64_t*), gpu, 1, 1,
              &errors),
         OK);
  EXPECT(errors, 0);
}

// --- Drivers ------------------------------------------------------------------------------------

static void OldDriver(void) {
  Start("--gpu A100-SXM4-40GB --driver 470");
  EXPECT_TRUE(dlsym(library, "nvmlDeviceGetGpuInstanceProfileInfoV") == NULL);
  EXPECT_TRUE(dlsym(library, "nvmlDeviceGetComputeRunningProcesses_v3") == NULL);
  EXPECT_TRUE(dlsym(library, "nvmlDeviceGetMemoryInfo_v2") == NULL);
  EXPECT_TRUE(dlsym(library, "nvmlGpmSampleGet") == NULL);
  EXPECT_TRUE(dlsym(library, "nvmlDeviceGetComputeRunningProcesses_v2") != NULL);
  Profile profile;
  EXPECT(CALL("nvmlDeviceGetGpuInstanceProfileInfo", (void*, uint32_t, Profile*), gpu, 9, &profile),
         NOT_SUPPORTED);
  char version[80];
  int cuda = 0;
  EXPECT(CALL("nvmlSystemGetDriverVersion", (char*, uint32_t), version, 80), OK);
  EXPECT(strncmp(version, "470.", 4), 0);
  EXPECT(CALL("nvmlSystemGetCudaDriverVersion_v2", (int*), &cuda), OK);
  EXPECT(cuda, 11040);
  // Before 510 the reserved memory did not count as used.
  Memory memory;
  EXPECT(CALL("nvmlDeviceGetMemoryInfo", (void*, Memory*), gpu, &memory), OK);
  EXPECT(memory.used, 0);
}

static void Driver525(void) {
  Start("--gpu A100-SXM4-40GB --driver 525");
  ProfileV2 v2 = {.version = VERSIONED(ProfileV2, 2)};
  EXPECT(CALL("nvmlDeviceGetGpuInstanceProfileInfoV", (void*, uint32_t, ProfileV2*), gpu, 9, &v2),
         OK);
  EXPECT_TEXT(v2.name, "MIG 1g.10gb");
  ProfileV3 v3 = {.version = VERSIONED(ProfileV3, 3)};
  EXPECT(CALL("nvmlDeviceGetGpuInstanceProfileInfoV", (void*, uint32_t, ProfileV3*), gpu, 9, &v3),
         BAD_VERSION);
  EXPECT_TRUE(dlsym(library, "nvmlGpmSampleGet") != NULL);
  EXPECT_TRUE(dlsym(library, "nvmlDeviceGetRunningProcessDetailList") == NULL);
}

static void Driver535(void) {
  Start("--gpu A100-SXM4-80GB --driver 535");
  ProfileV2 v2 = {.version = VERSIONED(ProfileV2, 2)};
  EXPECT(CALL("nvmlDeviceGetGpuInstanceProfileInfoV", (void*, uint32_t, ProfileV2*), gpu, 2, &v2),
         OK);
  EXPECT_TEXT(v2.name, "MIG 3g.39gb");
}

static void MissingSymbol(void) {
  Start("--gpu H100-SXM5-80GB");
  EXPECT_TRUE(dlsym(library, "nvmlDeviceGetPowerUsage") != NULL);
  EXPECT(Tool(NULL, 0, "fault --missing-symbol nvmlDeviceGetPowerUsage"), 0);
  EXPECT(CALL("nvmlShutdown", (void)), OK);
  dlclose(library);
  Load();
  EXPECT_TRUE(dlsym(library, "nvmlDeviceGetPowerUsage") == NULL);
  Init();
  EXPECT(CALL("nvmlShutdown", (void)), OK);
  EXPECT(Tool(NULL, 0, "fault --clear"), 0);
  dlclose(library);
  Load();
  EXPECT_TRUE(dlsym(library, "nvmlDeviceGetPowerUsage") != NULL);
}

// A GPU passed through to a virtual machine cannot be reset from inside: the mode waits for a
// reboot of the VM.
static void ModeInVirtualMachine(void) {
  Start("--gpu A100-SXM4-40GB --passthrough");
  EXPECT(SetMig(1), RESET_REQUIRED);
  ExpectMode(0, 1);
  EXPECT(Tool((char[256]){0}, 256, "reset --gpu 0"), 1);
  ExpectMode(0, 1);
  EXPECT(Tool(NULL, 0, "reboot"), 0);
  ExpectMode(1, 1);
}

static void NoVgpu(void) {
  Start("--gpu H100-SXM5-80GB");
  uint32_t count = 8, mode = 9, types[8];
  EXPECT(CALL("nvmlDeviceGetSupportedVgpus", (void*, uint32_t*, uint32_t*), gpu, &count, types),
         NOT_SUPPORTED);
  EXPECT(CALL("nvmlDeviceGetHostVgpuMode", (void*, uint32_t*), gpu, &mode), NOT_SUPPORTED);
  EXPECT(CALL("nvmlDeviceGetVirtualizationMode", (void*, uint32_t*), gpu, &mode), OK);
  EXPECT(mode, 0);
  EXPECT(CALL("nvmlShutdown", (void)), OK);
  EXPECT(CALL("nvmlDeviceGetHostVgpuMode", (void*, uint32_t*), gpu, &mode), UNINITIALIZED);
}

// Driver 615 and newer: what one cgroup may hold of a GPU, enforced by the kernel.
static void MemoryLimits(void) {
  typedef struct {
    const char* cgroup;
    uint64_t soft, hard;
  } Set;
  typedef struct {
    const char* cgroup;
    uint64_t soft, hard, used;
  } Get;
  _Static_assert(sizeof(Set) == 24 && sizeof(Get) == 32, "");
  const uint64_t gib = (uint64_t)1 << 30;

  Start("--gpu H100-SXM5-80GB --driver 615");
  Set set = {"/sys/fs/cgroup/tenants", gib, 4 * gib};
  EXPECT(CALL("nvmlDeviceSetMemoryLimits_v1", (void*, Set*), gpu, &set), OK);
  Get get = {"/sys/fs/cgroup/tenants/", 9, 9, 9};
  EXPECT(CALL("nvmlDeviceGetMemoryLimits_v1", (void*, Get*), gpu, &get), OK);
  EXPECT(get.soft == gib && get.hard == 4 * gib && get.used == 0, 1);

  // Whoever is below the cgroup counts, whoever only has a similar name does not.
  setenv("TRANCHE_SIM_CGROUP", "/tenants/a", 1);
  pid_t inside = Attach("0", "--memory 3GiB");
  EXPECT(Tool((char[256]){0}, 256, "attach --gpu 0 --memory 2GiB"), 3);
  setenv("TRANCHE_SIM_CGROUP", "/tenants2", 1);
  pid_t beside = Attach("0", "--memory 2GiB");
  unsetenv("TRANCHE_SIM_CGROUP");
  EXPECT(CALL("nvmlDeviceGetMemoryLimits_v1", (void*, Get*), gpu, &get), OK);
  EXPECT(get.used == 3 * gib, 1);

  Set wrong = {"/proc/1", 0, gib};
  EXPECT(CALL("nvmlDeviceSetMemoryLimits_v1", (void*, Set*), gpu, &wrong), INVALID);
  wrong.cgroup = NULL;
  EXPECT(CALL("nvmlDeviceSetMemoryLimits_v1", (void*, Set*), gpu, &wrong), INVALID);
  Set crossed = {"/sys/fs/cgroup/tenants", 2 * gib, gib};
  EXPECT(CALL("nvmlDeviceSetMemoryLimits_v1", (void*, Set*), gpu, &crossed), INVALID);
  Set none = {"/sys/fs/cgroup/tenants", 0, UINT64_MAX};
  EXPECT(CALL("nvmlDeviceSetMemoryLimits_v1", (void*, Set*), gpu, &none), OK);
  EXPECT(CALL("nvmlDeviceGetMemoryLimits_v1", (void*, Get*), gpu, &get), OK);
  EXPECT(get.hard == UINT64_MAX && get.used == 3 * gib, 1);
  End(inside);
  End(beside);

  Start("--gpu H100-SXM5-80GB --driver 580");
  EXPECT(dlsym(library, "nvmlDeviceSetMemoryLimits_v1") == NULL, 1);
}

static const struct {
  const char* name;
  void (*run)(void);
} kScenarios[] = {
    {"orders_a100", OrdersOfA100},
    {"orders_mirrored_a100", OrdersOfMirroredBoards},
    {"orders_mirrored_a100_80", OrdersOfMirroredA100With80},
    {"orders_mirrored_h100", OrdersOfMirroredH100},
    {"orders_rtx_pro_6000", OrdersOfRtxPro6000},
    {"orders_a30", OrdersOfA30},
    {"mode_a100", ModeOfA100},
    {"mode_h100", ModeOfH100},
    {"mode_in_vm", ModeInVirtualMachine},
    {"without_mig", WithoutMig},
    {"creation_refused", CreationIsRefused},
    {"instances_in_use", InstancesInUse},
    {"mig_devices", MigDevices},
    {"compute_instances", ComputeInstances},
    {"profiles", Profiles},
    {"graphics_capability", GraphicsCapability},
    {"without_rights", WithoutRights},
    {"driver_not_loaded", DriverThatIsNotThere},
    {"driver_mismatch", DriverThatDoesNotMatch},
    {"no_permission", DeviceNodeThatMayNotBeOpened},
    {"init_counts", InitCounts},
    {"memory", MemoryIsCounted},
    {"process_lists", ProcessLists},
    {"processes_on_mig", ProcessesOnMig},
    {"gpm", GpmOnHopper},
    {"compute_modes", ComputeModes},
    {"xid_events", XidEvents},
    {"lost_gpu", LostGpu},
    {"memory_errors", MemoryErrors},
    {"driver_470", OldDriver},
    {"driver_525", Driver525},
    {"driver_535", Driver535},
    {"missing_symbol", MissingSymbol},
    {"no_vgpu", NoVgpu},
    {"memory_limits", MemoryLimits},
};

int main(int argc, char** argv) {
  if (argc != 4) {
    fprintf(stderr, "nvml_client_test LIBRARY TRANCHE_SIM SCENARIO\n");
    return 64;
  }
  library_path = argv[1];
  tool = argv[2];
  for (size_t i = 0; i < sizeof(kScenarios) / sizeof(kScenarios[0]); ++i) {
    if (strcmp(argv[3], kScenarios[i].name) != 0) continue;
    kScenarios[i].run();
    return failures == 0 ? 0 : 1;
  }
  fprintf(stderr, "no scenario %s\n", argv[3]);
  return 64;
}
