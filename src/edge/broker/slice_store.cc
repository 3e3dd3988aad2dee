#include "edge/broker/slice_store.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "edge/broker/table_file.h"
#include "limiter/policy/memory_ledger.h"
#include "limiter/slice_file.h"
#include "limiter/turnstile.h"

namespace tranche {

using limiter::MemoryLedger;
using limiter::SliceFile;

namespace {

std::string Times(uint64_t count, const char* what) {
  return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

int HexDigit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

}  // namespace

Result<std::array<uint8_t, 16>> ParseUuid(const std::string& text) {
  std::array<uint8_t, 16> bytes{};
  size_t digits = 0;
  const size_t start = text.rfind("GPU-", 0) == 0 || text.rfind("MIG-", 0) == 0 ? 4 : 0;
  for (size_t i = start; i < text.size(); ++i) {
    if (text[i] == '-') continue;
    const int digit = HexDigit(text[i]);
    if (digit < 0 || digits == 32) return Fail(ErrorCode::kInvalid, "'" + text + "' is no UUID");
    bytes[digits / 2] = static_cast<uint8_t>(bytes[digits / 2] << 4 | digit);
    ++digits;
  }
  if (digits != 32) return Fail(ErrorCode::kInvalid, "'" + text + "' is no UUID");
  return bytes;
}

Result<std::unique_ptr<SliceStore>> SliceStore::Create(TableHost& host, const std::string& folder,
                                                       const std::string& name,
                                                       const std::vector<SliceLimit>& limits,
                                                       std::optional<uint32_t> owner) {
  if (limits.size() > TRANCHE_SLICE_DEVICES)
    return Fail(ErrorCode::kInvalid, "a slice can hold parts of " +
                                         std::to_string(TRANCHE_SLICE_DEVICES) + " GPUs at most");
  std::string path = folder + "/" + name + ".XXXXXX";
  const auto made = MakeTable(host, &path, owner.value_or(geteuid()));
  if (!made) return tl::unexpected<Error>(made.error());
  TrancheSlice* table = *made;
  std::unique_ptr<SliceStore> store(new SliceStore(host, path, table));
  table->device_count = static_cast<uint32_t>(limits.size());
  std::strncpy(table->name, name.c_str(), sizeof(table->name) - 1);
  for (size_t i = 0; i < limits.size(); ++i) {
    const auto uuid = ParseUuid(limits[i].uuid);
    if (!uuid) return tl::unexpected<Error>(uuid.error());
    TrancheDevice& device = table->devices[i];
    std::memcpy(device.uuid, uuid->data(), sizeof(device.uuid));
    device.memory_limit = limits[i].memory.value;
    device.context_bytes = limits[i].context_bytes.value;
    device.sm_count = static_cast<uint64_t>(std::max(0, limits[i].sm_count));
    device.turns_line = limits[i].turns_line ? *limits[i].turns_line + 1 : 0;
  }
  for (size_t i = 0; i < limits.size(); ++i) {
    if (!limits[i].compute) continue;
    if (Status set = store->SetCompute(i, *limits[i].compute); !set)
      return tl::unexpected<Error>(set.error());
  }
  // Last: whoever finds it finds the rest.
  ValidateTable(table);
  return store;
}

Result<std::unique_ptr<SliceStore>> SliceStore::Adopt(TableHost& host, const std::string& path,
                                                      uint32_t owner) {
  const auto table = MapTable(host, path, owner);
  if (!table) return tl::unexpected<Error>(table.error());
  return std::unique_ptr<SliceStore>(new SliceStore(host, path, *table));
}

SliceStore::~SliceStore() {
  UnmapTable(table_);
  if (!keep_) host_.Remove(path_);
}

void SliceStore::SetMemoryLimit(size_t device, Bytes limit) {
  MemoryLedger(table_, static_cast<uint32_t>(device)).SetLimit(limit.value);
}

Status SliceStore::SetCompute(size_t device, const ComputeShares& shares) {
  const uint32_t request = MillionthsOf(shares.request);
  const uint32_t weight = shares.weight ? MillionthsOf(*shares.weight) : request;
  if (SliceFile::SetShares(path_.c_str(), table_, static_cast<uint32_t>(device),
                           limiter::Turnstile::kOwnLine, request, MillionthsOf(shares.limit),
                           weight, shares.priority))
    return {};
  return CannotDo("open " + path_);
}

std::optional<Duration> SliceStore::ComputeUsed(size_t device) const {
  limiter::ComputeTable* table = limiter::ComputeOf(&table_->devices[device]);
  if (MemoryLedger::Load(&table_->compute_version) != limiter::kComputeVersion ||
      __atomic_load_n(&table->metered, __ATOMIC_RELAXED) == 0)
    return std::nullopt;
  return Duration(__atomic_load_n(&table->device.tenants[limiter::Turnstile::kOwnLine].charged,
                                  __ATOMIC_RELAXED));
}

Bytes SliceStore::Used(size_t device) const {
  return {MemoryLedger(table_, static_cast<uint32_t>(device)).Used()};
}

TrancheCounters SliceStore::Counters(size_t device) const {
  const TrancheCounters& from = table_->devices[device].counters;
  TrancheCounters to = {};
  to.refused = MemoryLedger::Load(&from.refused);
  to.undone = MemoryLedger::Load(&from.undone);
  to.contended = MemoryLedger::Load(&from.contended);
  to.over_limit = MemoryLedger::Load(&from.over_limit);
  to.unhooked = MemoryLedger::Load(&from.unhooked);
  to.foreign_tables = MemoryLedger::Load(&from.foreign_tables);
  to.unmetered = MemoryLedger::Load(&from.unmetered);
  to.untracked_frees = MemoryLedger::Load(&from.untracked_frees);
  return to;
}

void SliceStore::LeaveTimeToDriver(size_t device) {
  MemoryLedger::Store(&table_->devices[device].turns_off, 2);
}

std::vector<std::string> SliceStore::Troubles(size_t device) const {
  std::vector<std::string> troubles;
  const TrancheCounters counters = Counters(device);
  if (counters.over_limit != 0) {
    troubles.push_back(fmt::format("{} could not be held to the memory limit",
                                   Times(counters.over_limit, "call")));
  }
  if (counters.unhooked != 0) {
    troubles.push_back(fmt::format("it was given {} that the limiter does not know",
                                   Times(counters.unhooked, "driver function")));
  }
  if (counters.unmetered != 0) {
    troubles.push_back(
        fmt::format("memory that was not allocated through CUDA came in {}: what another interface "
                    "holds beside "
                    "that is on no account",
                    Times(counters.unmetered, "time")));
  }
  if (MemoryLedger::Load(&table_->devices[device].turns_off) == 1) {
    troubles.push_back(
        "it lets GPUs reach each other's memory, so it takes no turns: they could make its "
        "programs wait for each other for ever; nothing holds it to its share of time");
  }
  const limiter::ComputeTable* compute = limiter::ComputeOf(&table_->devices[device]);
  using limiter::UnenforceableKernel;
  if (__atomic_load_n(&compute->kernel.told, __ATOMIC_ACQUIRE) == UnenforceableKernel::kWritten) {
    char name[sizeof(compute->kernel.name)];
    std::memcpy(name, compute->kernel.name, sizeof(name));
    name[sizeof(name) - 1] = 0;
    troubles.push_back(
        fmt::format("{} ran for more than {}: nothing can interrupt it, so others had to wait",
                    name[0] != 0 ? fmt::format("its kernel {}", name) : "a kernel or graph of its",
                    FormatDuration(Duration(limiter::kOverlapAfter))));
  }
  return troubles;
}

std::vector<SliceMember> SliceStore::Members() const {
  std::vector<SliceMember> members;
  const uint64_t used = MemoryLedger::Load(&table_->slots_used);
  for (uint32_t slot = 0; slot < used && slot < TRANCHE_SLICE_SLOTS; ++slot) {
    SliceMember member;
    member.pid = MemoryLedger::Load(&table_->slots[slot].pid);
    if (member.pid == 0) continue;
    for (uint32_t i = 0; i < table_->device_count && i < TRANCHE_SLICE_DEVICES; ++i)
      member.held.push_back({MemoryLedger(table_, i).HeldBy(slot)});
    members.push_back(std::move(member));
  }
  return members;
}

uint32_t SliceStore::Reap() { return SliceFile::Reap(path_.c_str(), table_); }

}  // namespace tranche
