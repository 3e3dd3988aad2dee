#pragma once

#include "gpu.h"

// What gpu_work does, by its first word. Each prints lines "NAME NUMBER", and ends with the reason
// on standard error when it cannot.
namespace tranche::gpu_check {

// So many launches of `spin` a window, as one tenant among others:
//   blocks= (0: one for each multiprocessor) nominal= iterations= (0: measured here) sync=1
//   graph= (so many kernels launched as one) begin= (host clock) seconds= offset= (GPU's clock
//   minus the host's) copy_mib= (to the GPU ahead of each batch) active_ms= idle_ms= phase_ms=
// Prints iterations and busy_ns within the window, as counted on the GPU; units and unit_ns.
int Share(const Options& options);
// How long a launch and its completion take: nominal= every_us= begin= seconds=
int Probe(const Options& options);
// Launches, graph launches and allocations, as the host sees them.
int Overhead(const Options& options);
// What the GPU and its driver do: markers, time stamps, clocks.
int Facts(const Options& options);
// For how long at a time the GPU is ours while another process wants it: seconds=
int Slices(const Options& options);
// Allocates, launches and frees, for ever: to be killed. seed=
int Storm(const Options& options);
// A context, until standard input ends.
int Hold(const Options& options);
// Bytes of the GPU's memory in use, by this program's own context too.
int Used(const Options& options);
// The GPU's clock minus the host's.
int Clock(const Options& options);
// What it is that runs here: multiprocessors, memory, driver.
int Device(const Options& options);
// cuFuncGetName of a CUkernel, as a launch may be given one.
int KernelName(const Options& options);
// cuInit and a context: what it takes to begin.
int Start(const Options& options);

}  // namespace tranche::gpu_check
