#pragma once

#include <string>
#include <vector>

#include "base/result.h"

// The calling process moves into a mount namespace of its own, in which /proc, /sys and /dev show
// the GPUs of a simulated machine, and everything else what they showed before:
//
//   /proc/modules, /proc/devices      the host's lines and the driver's
//   /proc/driver/nvidia, nvidia-caps  of the machine
//   /sys/bus/pci, /sys/module         the host's entries and those of the GPUs and the driver
//   /dev/nvidia*                      of the machine; device nodes as root, else files
//
// They are files below DIR/root (machine/kernel_files.h) and follow the machine.
namespace tranche::sim {

// Nothing outside changes. Without root's rights it takes a user namespace as well, in which the
// caller keeps its uid. kPermission where neither may be made, kUnsupported where something else is
// missing; then the process is of no use any more, and should end.
//
// `absent` gets the files that there is no place for, since the host's /proc lacks them: what they
// say, DIR/root/proc has; see open_redirect.h.
Status EnterMachine(const std::string& dir, std::vector<std::string>* absent);

}  // namespace tranche::sim
