#pragma once

#include "sim/smi/mig_profiles.h"

// The tables of `nvidia-smi mig`, in the columns of driver 550 and newer.
namespace tranche::sim::smi {

int PrintGiProfiles(const Nvml& nvml, const std::vector<Board>& boards);    // -lgip
int PrintGiPlacements(const Nvml& nvml, const std::vector<Board>& boards);  // -lgipp
int PrintGis(const Nvml& nvml, const std::vector<Board>& boards);           // -lgi
// Of the GPU instances with these ids, or of all.
int PrintCiProfiles(const Nvml& nvml, const std::vector<Board>& boards,
                    const std::vector<unsigned>& gis);  // -lcip
int PrintCis(const Nvml& nvml, const std::vector<Board>& boards,
             const std::vector<unsigned>& gis);  // -lci

bool IsAmong(const std::vector<unsigned>& ids, unsigned id);  // true for no ids at all

}  // namespace tranche::sim::smi
