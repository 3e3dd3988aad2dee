/*
 * A libnvidia-ml.so.1 of a driver to come: it has little of what today's has, and functions that
 * nobody has heard of.
 */
unsigned int nvmlInit_v2(void);
unsigned int nvmlInit_v2(void) { return 0; }
const char* nvmlErrorString(unsigned int result);
const char* nvmlErrorString(unsigned int result) {
  return result == 0 ? "fine" : "from the future";
}

/* More arguments than registers hold. */
#define LATER(name, factor)                                                                      \
  unsigned int name(int a, int b, int c, int d, int e, int f, int g, int h);                     \
  unsigned int name(int a, int b, int c, int d, int e, int f, int g, int h) {                    \
    return (unsigned int)(factor * (a + 2 * b + 3 * c + 4 * d + 5 * e + 6 * f + 7 * g + 8 * h)); \
  }
LATER(nvmlDeviceGetThatNobodyKnows, 1)
LATER(nvmlDeviceGetThatNobodyKnows_v2, 2)
LATER(nvmlInternalGetExportTableOfLater, 3)
