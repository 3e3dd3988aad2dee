#include "sim/machine/sm_partitions.h"

#include <algorithm>

#include "sim/machine/mps.h"

namespace tranche::sim {
namespace {

std::string Base64(const std::vector<uint8_t>& bytes) {
  static constexpr char kDigits[] =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string text;
  for (size_t i = 0; i + 2 < bytes.size(); i += 3) {
    const uint32_t three = static_cast<uint32_t>(bytes[i] << 16 | bytes[i + 1] << 8 | bytes[i + 2]);
    for (int shift = 18; shift >= 0; shift -= 6) text += kDigits[three >> shift & 63];
  }
  return text;
}

}  // namespace

uint32_t SmsOfChunk(const GpuSpec& gpu) {
  if (gpu.arch < Arch::kAmpere) return 0;
  return gpu.arch >= Arch::kHopper ? 8 : 4;
}

uint32_t ChunksOf(const GpuSpec& gpu) {
  const uint32_t chunk = SmsOfChunk(gpu);
  return chunk == 0 ? 0 : gpu.sm / chunk;
}

uint32_t RemainderOf(const GpuSpec& gpu) {
  const uint32_t chunk = SmsOfChunk(gpu);
  return chunk == 0 ? 0 : gpu.sm % chunk;
}

std::string SmPartitionId(const SmPartition& partition) {
  // 27 bytes that are mostly zero, as the documentation's examples show them.
  std::vector<uint8_t> bytes(27);
  const bool text = partition.protocol == 2;
  bytes[0] = static_cast<uint8_t>(partition.serial << 2 | (text ? 3 : 2));
  bytes[1] = text ? 0x1e : 0x9f;
  for (size_t i = 0; i < 8; ++i)
    bytes[2 + i] = static_cast<uint8_t>(partition.serial >> 6 >> (8 * i));
  return Base64(bytes);
}

std::vector<const SmPartition*> SmPartitionsOn(const MachineState& state, uint64_t server,
                                               uint32_t gpu) {
  std::vector<const SmPartition*> list;
  for (const SmPartition& one : state.sm_partitions) {
    if (one.serial != 0 && one.server == server && one.gpu == gpu) list.push_back(&one);
  }
  std::sort(list.begin(), list.end(),
            [](const SmPartition* a, const SmPartition* b) { return a->serial < b->serial; });
  return list;
}

uint32_t UsedChunks(const MachineState& state, uint64_t server, uint32_t gpu) {
  uint32_t used = 0;
  for (const SmPartition* one : SmPartitionsOn(state, server, gpu)) used += one->chunks;
  return used;
}

const SmPartition* FindSmPartition(const MachineState& state, uint64_t server, uint32_t gpu,
                                   std::string_view id) {
  for (const SmPartition* one : SmPartitionsOn(state, server, gpu)) {
    if (SmPartitionId(*one) == id) return one;
  }
  return nullptr;
}

Rc AddSmPartition(const MachineSpec& spec, MachineState* state, SmPartition wanted,
                  uint64_t* serial) {
  const MpsServer* server = FindMpsServer(*state, wanted.server);
  if (server == nullptr || wanted.gpu >= spec.gpu_count) return Rc::kNotFound;
  const GpuSpec& gpu = spec.gpus[wanted.gpu];
  if (SmsOfChunk(gpu) == 0 || server->ci != 0) return Rc::kNotSupported;
  const uint32_t used = UsedChunks(*state, wanted.server, wanted.gpu);
  if (wanted.chunks == 0 || wanted.chunks > ChunksOf(gpu) - used) return Rc::kInsufficientResources;
  bool taken = false;
  for (const SmPartition* one : SmPartitionsOn(*state, wanted.server, wanted.gpu))
    taken = taken || one->has_remainder != 0;
  if (wanted.asked_remainder != 0 && taken) return Rc::kInsufficientResources;
  const bool is_last = wanted.protocol == 2 && used + wanted.chunks == ChunksOf(gpu);
  wanted.has_remainder = wanted.asked_remainder != 0 || (is_last && !taken) ? 1 : 0;
  wanted.sms = wanted.chunks * SmsOfChunk(gpu) + (wanted.has_remainder != 0 ? RemainderOf(gpu) : 0);
  for (SmPartition& free : state->sm_partitions) {
    if (free.serial != 0) continue;
    free = wanted;
    free.serial = state->next_serial++;
    if (serial != nullptr) *serial = free.serial;
    return Rc::kOk;
  }
  return Rc::kInsufficientResources;
}

Rc RemoveSmPartition(MachineState* state, uint64_t serial) {
  for (SmPartition& one : state->sm_partitions) {
    if (serial == 0 || one.serial != serial) continue;
    if (!MpsClients(*state, one.server, {nullptr, 0, serial}).empty()) return Rc::kInUse;
    one = SmPartition{};
    return Rc::kOk;
  }
  return Rc::kNotFound;
}

}  // namespace tranche::sim
