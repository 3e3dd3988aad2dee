#pragma once

// Where the libraries are whose place ours take.
namespace tranche::limiter::real_library {

// The driver's own libcuda, or libnvidia-ml; nullptr when there is none. Never the one that asks.
// Looked for once: named by TRANCHE_REAL_LIBCUDA (TRANCHE_REAL_LIBNVIDIA_ML), else the file with
// the driver's version in its name, else the next of that name in LD_LIBRARY_PATH and the usual
// folders.
void* Cuda();
void* NvidiaMl();

// dlsym, without a trace in dlerror.
void* Find(void* library, const char* name);

}  // namespace tranche::limiter::real_library
