#pragma once

// What is measured, as a program of a tenant: it finds libcuda.so.1 as any program does.
namespace tranche::bench {

// Launches, graph launches, allocations. Google Benchmark's own options; it prints JSON.
int RunClient(int argc, char** argv);
// Initialises CUDA, looks for the GPU, and ends. No context: 300 of them fit into no GPU.
int StartClient();

}  // namespace tranche::bench
