#include "sim/machine/mig.h"

#include <sys/random.h>

#include <algorithm>
#include <cstdio>
#include <cstring>

#include "sim/machine/lifecycle.h"
#include "sim/machine/usage.h"

namespace tranche::sim {
namespace {

constexpr uint64_t kMigConfigChange = 0x100;  // nvmlEventTypeMigConfigChange

// A new one at every creation, as the driver does it: version 5 of RFC 4122 by its looks.
void WriteMigUuid(char* uuid, size_t size) {
  uint8_t b[16];
  if (getrandom(b, sizeof(b), 0) != sizeof(b)) std::memset(b, 0x5a, sizeof(b));
  b[6] = static_cast<uint8_t>((b[6] & 0x0f) | 0x50);
  b[8] = static_cast<uint8_t>((b[8] & 0x3f) | 0x80);
  std::snprintf(uuid, size,
                "MIG-%02x%02x%02x%02x-%02x%02x-%02x%02x-%02x%02x-%02x%02x%02x%02x%02x%02x", b[0],
                b[1], b[2], b[3], b[4], b[5], b[6], b[7], b[8], b[9], b[10], b[11], b[12], b[13],
                b[14], b[15]);
}

void Note(MachineState* state, uint32_t gpu, uint32_t gi, uint32_t ci) {
  AddEvent(state, gpu, kMigConfigChange, 0, gi, ci, 0);
}

// The compute instance id that is free, lowest first.
uint32_t FreeCiId(const Gpu& gpu, uint64_t gi) {
  uint32_t id = 0;
  while (FindCiById(gpu, gi, id) != nullptr) ++id;
  return id;
}

bool IsPlacement(const uint32_t* starts, uint32_t count, int64_t start) {
  return std::any_of(starts, starts + count,
                     [&](uint32_t s) { return static_cast<int64_t>(s) == start; });
}

// Where to put it: as asked, or as the driver chooses.
Rc Choose(const std::vector<uint32_t>& free, int picked, int64_t asked, uint32_t* start) {
  if (asked < 0) {
    if (picked < 0) return Rc::kInsufficientResources;
    *start = static_cast<uint32_t>(picked);
    return Rc::kOk;
  }
  *start = static_cast<uint32_t>(asked);
  return std::find(free.begin(), free.end(), *start) == free.end() ? Rc::kInsufficientResources
                                                                   : Rc::kOk;
}

}  // namespace

const GiProfileSpec* FindGiProfile(const GpuSpec& gpu, uint32_t profile_id) {
  for (uint32_t i = 0; i < gpu.gi_profile_count; ++i) {
    if (gpu.gi_profiles[i].id == profile_id) return &gpu.gi_profiles[i];
  }
  return nullptr;
}

const CiProfileSpec* FindCiProfile(const GiProfileSpec& gi, uint32_t profile_id) {
  for (uint32_t i = 0; i < gi.ci_profile_count; ++i) {
    if (gi.ci_profiles[i].id == profile_id) return &gi.ci_profiles[i];
  }
  return nullptr;
}

const GpuInstance* FindGi(const Gpu& gpu, uint64_t serial) {
  if (serial == 0) return nullptr;
  for (const GpuInstance& gi : gpu.gis) {
    if (gi.serial == serial) return &gi;
  }
  return nullptr;
}

const GpuInstance* FindGiById(const Gpu& gpu, uint32_t id) {
  for (const GpuInstance& gi : gpu.gis) {
    if (gi.serial != 0 && gi.id == id) return &gi;
  }
  return nullptr;
}

const ComputeInstance* FindCi(const Gpu& gpu, uint64_t serial) {
  if (serial == 0) return nullptr;
  for (const ComputeInstance& ci : gpu.cis) {
    if (ci.serial == serial) return &ci;
  }
  return nullptr;
}

const ComputeInstance* FindCiById(const Gpu& gpu, uint64_t gi_serial, uint32_t id) {
  for (const ComputeInstance& ci : gpu.cis) {
    if (ci.serial != 0 && ci.gi == gi_serial && ci.id == id) return &ci;
  }
  return nullptr;
}

std::vector<const GpuInstance*> ListGis(const Gpu& gpu) {
  std::vector<const GpuInstance*> list;
  for (const GpuInstance& gi : gpu.gis) {
    if (gi.serial != 0) list.push_back(&gi);
  }
  std::sort(list.begin(), list.end(), [](auto* a, auto* b) { return a->id < b->id; });
  return list;
}

std::vector<const ComputeInstance*> ListCisOf(const Gpu& gpu, uint64_t gi_serial) {
  std::vector<const ComputeInstance*> list;
  for (const ComputeInstance& ci : gpu.cis) {
    if (ci.serial != 0 && ci.gi == gi_serial) list.push_back(&ci);
  }
  std::sort(list.begin(), list.end(), [](auto* a, auto* b) { return a->id < b->id; });
  return list;
}

std::vector<const ComputeInstance*> ListCis(const Gpu& gpu) {
  std::vector<const ComputeInstance*> list;
  for (const GpuInstance* gi : ListGis(gpu)) {
    for (const ComputeInstance* ci : ListCisOf(gpu, gi->serial)) list.push_back(ci);
  }
  return list;
}

std::vector<Placed> PlacedGis(const Gpu& gpu) {
  std::vector<Placed> placed;
  for (const GpuInstance& gi : gpu.gis) {
    if (gi.serial != 0) placed.push_back({gi.profile_id, gi.start, gi.size});
  }
  return placed;
}

std::vector<Placed> PlacedCis(const Gpu& gpu, uint64_t gi_serial) {
  std::vector<Placed> placed;
  for (const ComputeInstance& ci : gpu.cis) {
    if (ci.serial != 0 && ci.gi == gi_serial) placed.push_back({ci.profile_id, ci.start, ci.size});
  }
  return placed;
}

uint32_t SmCountOf(const GpuSpec& spec, const Gpu& gpu, uint64_t ci_serial) {
  const ComputeInstance* ci = FindCi(gpu, ci_serial);
  const GpuInstance* gi = ci == nullptr ? nullptr : FindGi(gpu, ci->gi);
  const GiProfileSpec* profile = gi == nullptr ? nullptr : FindGiProfile(spec, gi->profile_id);
  const CiProfileSpec* slice =
      profile == nullptr ? nullptr : FindCiProfile(*profile, ci->profile_id);
  return slice == nullptr ? 0 : slice->sm;
}

Rc SetMigMode(const MachineSpec& machine, MachineState* state, uint32_t gpu_index, uint32_t mode,
              Rc* activation) {
  const GpuSpec& spec = machine.gpus[gpu_index];
  if (!spec.mig_capable) return Rc::kNotSupported;
  if (mode > 1) return Rc::kInvalid;
  Gpu& gpu = state->gpus[gpu_index];
  *activation = Rc::kOk;
  if (mode == gpu.mig_mode) {
    gpu.mig_pending = mode;
    return Rc::kOk;
  }
  bool busy = !ContextsOn(*state, gpu_index).empty() || (mode == 0 && !ListGis(gpu).empty());
  if (busy) {
    *activation = Rc::kInUse;
    // Where the mode needs a reset the wish is kept until somebody does one.
    if (spec.mode_needs_reset) gpu.mig_pending = mode;
    return Rc::kOk;
  }
  if (spec.mode_needs_reset && machine.passthrough) {
    *activation = Rc::kResetRequired;
    gpu.mig_pending = mode;
    return Rc::kOk;
  }
  gpu.mig_mode = gpu.mig_pending = mode;
  Note(state, gpu_index, kNoId, kNoId);
  return Rc::kOk;
}

Rc CreateGpuInstance(const GpuSpec& spec, MachineState* state, uint32_t gpu_index,
                     uint32_t profile_id, int64_t asked, uint64_t* serial) {
  Gpu& gpu = state->gpus[gpu_index];
  if (!spec.mig_capable || gpu.mig_mode == 0) return Rc::kNotSupported;
  const GiProfileSpec* profile = FindGiProfile(spec, profile_id);
  if (profile == nullptr) return Rc::kInvalid;
  if (asked >= 0 && !IsPlacement(profile->starts, profile->start_count, asked)) return Rc::kInvalid;

  std::vector<Placed> placed = PlacedGis(gpu);
  uint32_t start = 0;
  Rc rc =
      Choose(FreeStarts(spec, placed, *profile), PickStart(spec, placed, *profile), asked, &start);
  if (rc != Rc::kOk) return rc;
  for (GpuInstance& gi : gpu.gis) {
    if (gi.serial != 0) continue;
    gi = GpuInstance{};
    gi.serial = state->next_serial++;
    gi.id = GpuInstanceId(spec, start, profile->size);
    gi.profile_id = profile_id;
    gi.start = start;
    gi.size = profile->size;
    *serial = gi.serial;
    ++gpu.gis_created;
    Note(state, gpu_index, gi.id, kNoId);
    return Rc::kOk;
  }
  return Rc::kInsufficientResources;
}

Rc CreateComputeInstance(const GpuSpec& spec, MachineState* state, uint32_t gpu_index,
                         uint64_t gi_serial, uint32_t profile_id, int64_t asked, uint64_t* serial) {
  Gpu& gpu = state->gpus[gpu_index];
  const GpuInstance* gi = FindGi(gpu, gi_serial);
  if (gi == nullptr) return Rc::kInvalid;
  const GiProfileSpec* parent = FindGiProfile(spec, gi->profile_id);
  const CiProfileSpec* profile = parent == nullptr ? nullptr : FindCiProfile(*parent, profile_id);
  if (profile == nullptr) return Rc::kInvalid;
  if (asked >= 0 && !IsPlacement(profile->starts, profile->start_count, asked)) return Rc::kInvalid;

  std::vector<Placed> placed = PlacedCis(gpu, gi_serial);
  uint32_t start = 0;
  Rc rc = Choose(FreeStarts(*parent, placed, *profile), PickStart(*parent, placed, *profile), asked,
                 &start);
  if (rc != Rc::kOk) return rc;
  for (ComputeInstance& ci : gpu.cis) {
    if (ci.serial != 0) continue;
    ci = ComputeInstance{};
    ci.id = FreeCiId(gpu, gi_serial);
    ci.serial = state->next_serial++;
    ci.gi = gi_serial;
    ci.profile_id = profile_id;
    ci.start = start;
    ci.size = profile->slices;
    WriteMigUuid(ci.uuid, sizeof(ci.uuid));
    *serial = ci.serial;
    Note(state, gpu_index, gi->id, ci.id);
    return Rc::kOk;
  }
  return Rc::kInsufficientResources;
}

Rc DestroyGpuInstance(MachineState* state, uint32_t gpu_index, uint64_t serial) {
  Gpu& gpu = state->gpus[gpu_index];
  auto* gi = const_cast<GpuInstance*>(FindGi(gpu, serial));
  if (gi == nullptr) return Rc::kInvalid;
  if (!ListCisOf(gpu, serial).empty() || !ContextsOnGi(*state, gpu_index, serial).empty()) {
    return Rc::kInUse;
  }
  Note(state, gpu_index, gi->id, kNoId);
  *gi = GpuInstance{};
  ++gpu.gis_destroyed;
  return Rc::kOk;
}

Rc DestroyComputeInstance(MachineState* state, uint32_t gpu_index, uint64_t serial) {
  Gpu& gpu = state->gpus[gpu_index];
  auto* ci = const_cast<ComputeInstance*>(FindCi(gpu, serial));
  if (ci == nullptr) return Rc::kInvalid;
  if (!ContextsOn(*state, gpu_index, serial).empty()) return Rc::kInUse;
  const GpuInstance* gi = FindGi(gpu, ci->gi);
  Note(state, gpu_index, gi == nullptr ? kNoId : gi->id, ci->id);
  *ci = ComputeInstance{};
  return Rc::kOk;
}

}  // namespace tranche::sim
