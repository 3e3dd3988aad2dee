#include "edge/broker/table_file.h"

#include <sys/mman.h>

#include <cstdio>

#include "limiter/policy/compute_table.h"
#include "limiter/policy/memory_ledger.h"

namespace tranche {

using limiter::MemoryLedger;

namespace {

Result<TrancheSlice*> Map(const Descriptor& memory, const std::string& path) {
  void* table =
      mmap(nullptr, TRANCHE_SLICE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, memory.get(), 0);
  if (table == MAP_FAILED) return CannotDo("map " + path);
  return static_cast<TrancheSlice*>(table);
}

}  // namespace

Result<TrancheSlice*> MakeTable(TableHost& host, std::string* path, uint32_t uid) {
  TablePlace place{*path, TRANCHE_SLICE_BYTES, uid, false};
  const auto memory = host.Make(&place);
  if (!memory) return tl::unexpected<Error>(memory.error());
  const auto table = Map(*memory, place.path);
  if (!table) {
    host.Remove(place.path);
    return table;
  }
  *path = place.path;
  (*table)->version = TRANCHE_SLICE_VERSION;
  (*table)->bytes = TRANCHE_SLICE_BYTES;
  return table;
}

std::string FileOfGpu(const std::string& folder, const char* pattern,
                      const std::array<uint8_t, 16>& uuid) {
  char digits[33] = {};
  for (size_t i = 0; i < uuid.size(); ++i) std::snprintf(digits + 2 * i, 3, "%02x", uuid[i]);
  char name[64];
  std::snprintf(name, sizeof(name), pattern, digits);
  return folder + "/" + name;
}

void ValidateTable(TrancheSlice* table) { MemoryLedger::Store(&table->magic, TRANCHE_SLICE_MAGIC); }

Result<TrancheSlice*> MapTable(TableHost& host, const std::string& path, uint32_t uid) {
  const auto memory = host.Open({path, TRANCHE_SLICE_BYTES, uid, false});
  if (!memory) return tl::unexpected<Error>(memory.error());
  const auto mapped = Map(*memory, path);
  if (!mapped) return mapped;
  TrancheSlice* table = *mapped;
  if (MemoryLedger::Load(&table->magic) == TRANCHE_SLICE_MAGIC &&
      table->version == TRANCHE_SLICE_VERSION && table->bytes == TRANCHE_SLICE_BYTES &&
      (table->compute_version == 0 || table->compute_version == limiter::kComputeVersion))
    return table;
  UnmapTable(table);
  return Fail(ErrorCode::kInvalid, path + " is not a table of this version");
}

void UnmapTable(TrancheSlice* table) { munmap(table, TRANCHE_SLICE_BYTES); }

}  // namespace tranche
