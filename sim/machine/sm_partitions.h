#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "sim/machine/machine.h"

// Static partitions of MPS: chunks of a GPU's SMs that only those clients have who name them.
// Called inside a transaction.
namespace tranche::sim {

// SMs of a chunk, which static partitions are made of; 0: this GPU has none (before Ampere).
uint32_t SmsOfChunk(const GpuSpec& gpu);
// Whole ones. What is left over belongs to no chunk: in protocol 2 the partition that takes the
// last free chunk has it, in protocol 3 the one that asked for it.
uint32_t ChunksOf(const GpuSpec& gpu);
uint32_t RemainderOf(const GpuSpec& gpu);

// What CUDA_MPS_SM_PARTITION calls it behind the GPU's UUID: one that is of no other partition, and
// of none of the other protocol.
std::string SmPartitionId(const SmPartition& partition);

// Of a server on one GPU, in the order in which they were made.
std::vector<const SmPartition*> SmPartitionsOn(const MachineState& state, uint64_t server,
                                               uint32_t gpu);
uint32_t UsedChunks(const MachineState& state, uint64_t server, uint32_t gpu);
const SmPartition* FindSmPartition(const MachineState& state, uint64_t server, uint32_t gpu,
                                   std::string_view id);

// Of `wanted` the serial, the SMs and whether it has the remainder are found here. kNotSupported:
// this GPU, or a MIG device, has none. kInsufficientResources: too few chunks are free, the
// remainder is another one's, or there are too many partitions.
Rc AddSmPartition(const MachineSpec& spec, MachineState* state, SmPartition wanted,
                  uint64_t* serial);
// kNotFound; kInUse while clients are in it.
Rc RemoveSmPartition(MachineState* state, uint64_t serial);

}  // namespace tranche::sim
