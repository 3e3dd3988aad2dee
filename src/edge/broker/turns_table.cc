#include "edge/broker/turns_table.h"

#include <cstring>

#include "edge/broker/table_file.h"
#include "limiter/libc.h"
#include "limiter/policy/memory_ledger.h"
#include "limiter/slice_file.h"
#include "limiter/turnstile.h"

namespace tranche {

using limiter::ComputeTable;
using limiter::SliceFile;

Result<std::unique_ptr<TurnsTable>> TurnsTable::Open(TableHost& host, const std::string& folder,
                                                     const std::string& gpu_uuid, uint32_t uid) {
  const auto uuid = ParseUuid(gpu_uuid);
  if (!uuid) return tl::unexpected<Error>(uuid.error());
  std::string path = FileOfGpu(folder, TRANCHE_TURNS_FILE, *uuid);
  if (const auto found = MapTable(host, path, uid))
    return std::unique_ptr<TurnsTable>(new TurnsTable(host, path, *found));
  // Left by another version, or for another user's slices: none of them is there any more.
  host.Remove(path);
  const auto table = MakeTable(host, &path, uid);
  if (!table) return tl::unexpected<Error>(table.error());
  (*table)->device_count = 1;
  std::memcpy((*table)->devices[0].uuid, uuid->data(), uuid->size());
  ValidateTable(*table);
  return std::unique_ptr<TurnsTable>(new TurnsTable(host, path, *table));
}

TurnsTable::~TurnsTable() {
  UnmapTable(table_);
  if (discard_) host_.Remove(path_);
}

Result<uint32_t> TurnsTable::AddLine(const ComputeShares& shares) {
  const uint32_t line = SliceFile::FreeLine(path_.c_str(), table_);
  if (line >= limiter::kMostTenants) {
    return Fail(ErrorCode::kDoesNotFit,
                "the time of this GPU is shared by " + std::to_string(limiter::kMostTenants) +
                    " programs already",
                "use another GPU, or wait until one has ended");
  }
  if (Status set = SetLine(line, shares); !set) return tl::unexpected<Error>(set.error());
  return line;
}

Status TurnsTable::SetLine(uint32_t line, const ComputeShares& shares) {
  const uint32_t request = MillionthsOf(shares.request);
  const uint32_t weight = shares.weight ? MillionthsOf(*shares.weight) : request;
  if (SliceFile::SetShares(path_.c_str(), table_, 0, line, request, MillionthsOf(shares.limit),
                           weight, shares.priority))
    return {};
  return CannotDo("open " + path_);
}

void TurnsTable::RemoveLine(uint32_t line) { SliceFile::RemoveLine(path_.c_str(), table_, line); }

Duration TurnsTable::Used(uint32_t line) const {
  return Duration(__atomic_load_n(
      &limiter::ComputeOf(&table_->devices[0])->device.tenants[line].charged, __ATOMIC_RELAXED));
}

std::vector<int> TurnsTable::NoMpsClients(uint32_t line) const {
  const ComputeTable* table = limiter::ComputeOf(&table_->devices[0]);
  std::vector<int> pids;
  const uint64_t used = limiter::MemoryLedger::Load(&table_->slots_used);
  for (uint64_t slot = 0; slot < used && slot < TRANCHE_SLICE_SLOTS; ++slot) {
    const auto pid = limiter::MemoryLedger::Load(&table_->slots[slot].pid);
    const auto& flight = table->flights[slot];
    const uint32_t sharing = __atomic_load_n(&flight.sharing, __ATOMIC_ACQUIRE);
    if (pid == 0 || __atomic_load_n(&flight.line, __ATOMIC_RELAXED) != line) continue;
    if (sharing == static_cast<uint32_t>(limiter::Sharing::kTimeSlice))
      pids.push_back(static_cast<int>(pid));
  }
  return pids;
}

// By what each process has in flight, which is written word by word: the lines of the slices are
// for those who hold the table's lock, and a broker waits for no tenant's.
limiter::PartyTurns::Wish TurnsTable::Wish() const {
  const ComputeTable* table = limiter::ComputeOf(&table_->devices[0]);
  limiter::PartyTurns::Wish wish;
  const uint64_t used = limiter::MemoryLedger::Load(&table_->slots_used);
  for (uint64_t slot = 0; slot < used && slot < TRANCHE_SLICE_SLOTS; ++slot) {
    const auto& flight = table->flights[slot];
    wish.busy = wish.busy || __atomic_load_n(&flight.units, __ATOMIC_ACQUIRE) != 0;
    wish.waits = wish.waits || __atomic_load_n(&flight.at_gate, __ATOMIC_ACQUIRE) != 0;
    if (wish.busy && wish.waits) break;
  }
  return wish;
}

uint32_t TurnsTable::Bell() const {
  return __atomic_load_n(&limiter::ComputeOf(&table_->devices[0])->bell, __ATOMIC_ACQUIRE);
}

void TurnsTable::WaitForBell(uint32_t heard) const {
  limiter::libc::SharedFutexWait(&limiter::ComputeOf(&table_->devices[0])->bell, heard, INT64_MAX);
}

void TurnsTable::RingBell() {
  uint32_t* bell = &limiter::ComputeOf(&table_->devices[0])->bell;
  __atomic_fetch_add(bell, 1, __ATOMIC_RELEASE);
  limiter::libc::SharedFutexWake(bell, INT32_MAX);
}

void TurnsTable::Reap() { SliceFile::Reap(path_.c_str(), table_); }

}  // namespace tranche
