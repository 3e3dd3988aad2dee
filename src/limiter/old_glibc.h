#pragma once

// glibc 2.34 moved these into libc.so.6 under a new version; asked for by the old one they are
// found there as well as in the libdl.so.2 of an older glibc, which CMakeLists.txt names for that
// reason.
#define TRANCHE_OLD(symbol) __asm__(".symver " #symbol "," #symbol "@GLIBC_2.2.5")
#if defined(__x86_64__)
TRANCHE_OLD(dlopen);
TRANCHE_OLD(dlclose);
TRANCHE_OLD(dlerror);
TRANCHE_OLD(dlsym);
TRANCHE_OLD(dladdr);
TRANCHE_OLD(pthread_create);
TRANCHE_OLD(pthread_attr_setstacksize);
#endif
