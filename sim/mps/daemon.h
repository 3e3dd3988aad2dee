#pragma once

#include <string>

#include "sim/mps/commands.h"

// nvidia-cuda-mps-control as a process: its files, its socket, its server, its log.
namespace tranche::sim::mps {

// Serves until it is told to quit; its exit code. `ready`: a descriptor that is written to and
// closed once programs can connect, so that whoever started it in the background can go on; -1 =
// nobody waits. What went wrong before that is said on stderr.
int Serve(const std::string& machine_dir, Settings settings, int ready);

// nvidia-cuda-mps-server: is a process on the GPUs of that daemon's entry until the daemon ends,
// which closes `daemon`.
int BeServer(const std::string& machine_dir, uint64_t serial, int ready, int daemon);

// Sends lines to the daemon behind a pipe directory; what it answered, or absent when there is
// none.
std::optional<std::string> Ask(const std::string& pipe_directory, const std::string& lines);

// By CUDA_VISIBLE_DEVICES, as for any program.
std::vector<Target> DevicesOf(Machine* machine);

}  // namespace tranche::sim::mps
