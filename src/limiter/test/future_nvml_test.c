/*
 * future_nvml_test SHIM newer: what a driver to come has is found in our library, and only that.
 * future_nvml_test SHIM same: with a driver of our age every name is there.
 * future_nvml_test SHIM none: without a driver every function is there and says so.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <string.h>

static int failures;
static void expect(int condition, const char* what) {
  if (condition) return;
  fprintf(stderr, "not so: %s\n", what);
  ++failures;
}

typedef unsigned int (*Later)(int, int, int, int, int, int, int, int);

static int without_driver(void* shim) {
  unsigned int (*init)(void);
  *(void**)&init = dlsym(shim, "nvmlInit_v2");
  expect(init() == 12, "nvmlInit is LIBRARY_NOT_FOUND");
  *(void**)&init = dlsym(shim, "nvmlShutdown");
  expect(init() == 12, "nvmlShutdown, too");
  const char* (*text)(unsigned int);
  *(void**)&text = dlsym(shim, "nvmlErrorString");
  expect(strstr(text(12), "not found") != NULL, "the error has a text");
  expect(dlsym(shim, "nvmlDeviceGetThatNobodyKnows") == NULL, "nothing else is there");
  unsigned int there = 0;
#define NVML_SYMBOL(name) there += dlsym(shim, #name) != NULL;
#include "abi/nvml_symbols.inc"
  expect(there > 300, "all that we know is there");
  return failures != 0;
}

int main(int argc, char** argv) {
  if (argc != 3) return 64;
  void* shim = dlopen(argv[1], RTLD_NOW);
  if (shim == NULL) {
    fprintf(stderr, "%s\n", dlerror());
    return 1;
  }
  if (strcmp(argv[2], "none") == 0) return without_driver(shim);
  if (strcmp(argv[2], "same") == 0) {
#define NVML_SYMBOL(name) expect(dlsym(shim, #name) != NULL, #name);
#include "abi/nvml_symbols.inc"
    return failures != 0;
  }
  static const char* const kNames[] = {"nvmlDeviceGetThatNobodyKnows",
                                       "nvmlDeviceGetThatNobodyKnows_v2",
                                       "nvmlInternalGetExportTableOfLater"};
  for (unsigned int i = 0; i < 3; ++i) {
    Later later;
    *(void**)&later = dlsym(shim, kNames[i]);
    expect(later != NULL, kNames[i]);
    if (later != NULL) expect(later(1, 2, 3, 4, 5, 6, 7, 8) == 204 * (i + 1), "its answer");
  }
  expect(dlsym(shim, "nvmlDeviceGetThatNobodyKnows_v3") == NULL, "what nobody has is not there");
  /* Of our own names those are there that the driver has, too: two of them. */
  unsigned int there = 0;
#define NVML_SYMBOL(name) there += dlsym(shim, #name) != NULL;
#include "abi/nvml_symbols.inc"
  expect(there == 2, "what the driver lacks is not there");
  expect(dlsym(shim, "nvmlShutdown") == NULL, "nvmlShutdown, for one");
  char spare[] =
      "tranche_nvml_spare_0000_of_those_kept_for_functions_that_a_newer_driver_brings_along";
  unsigned int left = 0;
  for (unsigned int i = 1000; i < 1256; ++i) {
    char digits[5];
    snprintf(digits, sizeof(digits), "%u", i);
    memcpy(spare + strlen("tranche_nvml_spare_"), digits, 4);
    if (dlsym(shim, spare) != NULL) ++left;
  }
  expect(left == 253, "three doors were taken, the others are as they were");

  unsigned int (*init)(void);
  *(void**)&init = dlsym(shim, "nvmlInit_v2");
  expect(init() == 0, "what both have works");
  const char* (*text)(unsigned int);
  *(void**)&text = dlsym(shim, "nvmlErrorString");
  expect(strcmp(text(13), "from the future") == 0, "errors are told by the driver's library");
  return failures != 0;
}
