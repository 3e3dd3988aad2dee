#pragma once

#include <string>
#include <vector>

#include "sim/machine/placement.h"
#include "sim/machine/rc.h"
#include "sim/machine/spec.h"
#include "sim/machine/state.h"

// MIG on the state of one machine: finding, creating and destroying. Called inside a transaction.
// Who may do it is the caller's question.
namespace tranche::sim {

// Finding: nullptr when there is no such thing. The results live as long as the state.
const GiProfileSpec* FindGiProfile(const GpuSpec& gpu, uint32_t profile_id);
const CiProfileSpec* FindCiProfile(const GiProfileSpec& gi, uint32_t profile_id);
const GpuInstance* FindGi(const Gpu& gpu, uint64_t serial);
const GpuInstance* FindGiById(const Gpu& gpu, uint32_t id);
const ComputeInstance* FindCi(const Gpu& gpu, uint64_t serial);
const ComputeInstance* FindCiById(const Gpu& gpu, uint64_t gi_serial, uint32_t id);

// In the order in which MIG devices are numbered: by GPU instance id, then compute instance id.
std::vector<const GpuInstance*> ListGis(const Gpu& gpu);
std::vector<const ComputeInstance*> ListCis(const Gpu& gpu);
std::vector<const ComputeInstance*> ListCisOf(const Gpu& gpu, uint64_t gi_serial);
std::vector<Placed> PlacedGis(const Gpu& gpu);
std::vector<Placed> PlacedCis(const Gpu& gpu, uint64_t gi_serial);

// SMs of a compute instance; 0 when it does not exist.
uint32_t SmCountOf(const GpuSpec& spec, const Gpu& gpu, uint64_t ci_serial);

// Asks for the mode. kOk with `*activation` kOk when it is on at once, kInUse when it stays pending
// because someone holds the GPU or, going off, instances exist, kResetRequired when it needs a
// reset that cannot be done from inside a virtual machine. kNotSupported on a GPU without MIG.
Rc SetMigMode(const MachineSpec& spec, MachineState* state, uint32_t gpu, uint32_t mode,
              Rc* activation);

// `start` < 0: the driver chooses. kNotSupported while MIG is off, kInvalid for a profile that the
// GPU has not or a placement that is none of its own, kInsufficientResources when it is taken.
Rc CreateGpuInstance(const GpuSpec& spec, MachineState* state, uint32_t gpu, uint32_t profile_id,
                     int64_t start, uint64_t* serial);
Rc CreateComputeInstance(const GpuSpec& spec, MachineState* state, uint32_t gpu, uint64_t gi,
                         uint32_t profile_id, int64_t start, uint64_t* serial);
// kInUse while compute instances or processes are on it.
Rc DestroyGpuInstance(MachineState* state, uint32_t gpu, uint64_t serial);
Rc DestroyComputeInstance(MachineState* state, uint32_t gpu, uint64_t serial);

}  // namespace tranche::sim
