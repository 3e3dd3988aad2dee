#pragma once

// What is measured, as a program of a tenant: it finds libcuda.so.1 as any program does.
namespace tranche::bench {

// Launches, graph launches, allocations. Google Benchmark's own options; it prints JSON.
int RunClient(int argc, char** argv);
// Initialises CUDA, looks for the GPU, and ends. No context: 300 of them fit into no GPU.
int StartClient();
// Starts the program `self` so, in this process's environment, so many times one after the other,
// or all at once; prints for each how many nanoseconds that took.
int StartOthers(const char* self, int count, bool at_once);

}  // namespace tranche::bench
