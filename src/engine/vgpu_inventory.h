#pragma once

#include <memory>
#include <string>

#include "catalog/catalog.h"
#include "engine/vgpu_book.h"
#include "model/machine.h"

namespace tranche {

// The vGPUs of this machine, with the files below `root` and the programs there.
std::unique_ptr<VgpuHost> OpenVgpuHost(const std::string& root);
// Where those files are: "/", or $TRANCHE_VGPU_ROOT.
std::string VgpuRoot();

// Adds what the kernel tells of virtual GPUs, which NVML's own reading leaves out, and what that
// makes of the machine's capabilities and fingerprint.
void AddVgpus(const VgpuBook& book, const VgpuHost& host, const Catalog& catalog, Machine* machine);

// The same without an engine: with what is written down in the state directory.
void AddVgpusHere(const Catalog& catalog, Clock& clock, Machine* machine);

}  // namespace tranche
