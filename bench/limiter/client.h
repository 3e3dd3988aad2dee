#pragma once

// What is measured, as a program of a tenant: it finds libcuda.so.1 as any program does.
namespace tranche::bench {

// Launches, graph launches, allocations. Google Benchmark's own options. What is measured goes into
// files, here and below: a library that is preloaded may print whatever it likes.
int RunClient(int argc, char** argv);
// Initialises CUDA, looks for the GPU, and ends. No context: 300 of them fit into no GPU.
int StartClient();
// Starts the program `self` so, in this process's environment, so many times one after the other,
// or all at once; writes for each, or for all, how many nanoseconds that took.
int StartOthers(const char* self, int count, bool at_once, const char* path);

}  // namespace tranche::bench
