#pragma once

#include <optional>
#include <string>
#include <vector>

#include "sim/mps/protocol.h"

// nvidia-cuda-mps-control as a process: its files, its sockets, its log. What it does when it is
// told something is the Protocol's.
namespace tranche::sim::mps {

// Serves until it is told to quit; its exit code. `ready`: a descriptor that is written to and
// closed once programs can connect, so that whoever started it in the background can go on; -1 =
// nobody waits. What went wrong before that is said on stderr.
int Serve(const std::string& machine_dir, Settings settings, int ready);

// What the control program tells the daemon behind a pipe directory, and its answer; absent when
// there is none.
std::optional<Answer> TellLines(const std::string& pipe_directory, const std::string& lines);
std::optional<Answer> TellCommand(const std::string& pipe_directory, const Words& words);
std::optional<Answer> TellToQuit(const std::string& pipe_directory);

}  // namespace tranche::sim::mps
