#include "edge/broker/lease_book.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/json.h"
#include "base/suggest.h"

namespace tranche {
namespace {

namespace fs = std::filesystem;

// How what is spare is divided among those who asked for none of it: as if for so much.
constexpr Fraction kSpareWeight{0.1};

ComputeShares SharesOf(const std::optional<Share<Fraction>>& compute, int priority) {
  if (!compute) return {Fraction{0}, Fraction{1}, kSpareWeight, priority};
  return {compute->request, compute->limit, std::nullopt, priority};
}

}  // namespace

LeaseBook::LeaseBook(std::string folder, std::shared_ptr<Clock> clock)
    : folder_(std::move(folder)), clock_(std::move(clock)) {}

LeaseBook::~LeaseBook() {
  for (auto& [id, entry] : entries_) entry.store->KeepFile();
}

Status LeaseBook::Record(const Entry& entry) const {
  Json json = ToJson(entry.lease);
  json["runner_start_ticks"] = entry.runner.start_ticks;
  json["priority"] = entry.priority;
  if (entry.line) json["turns_line"] = *entry.line;
  const std::string path = RecordPath(entry.lease.id), next = path + ".next";
  std::ofstream file(next, std::ios::trunc);
  file << PrintJson(json);
  file.close();
  std::error_code error;
  if (file) fs::rename(next, path, error);
  if (!file || error) return Fail(ErrorCode::kFailed, "cannot write " + path);
  return {};
}

Result<LeaseBook::Entry> LeaseBook::Read(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  const auto json = ParseJson(text.str());
  if (!json) return tl::unexpected<Error>(json.error());
  auto lease = LeaseFromJson(*json);
  if (!lease) return tl::unexpected<Error>(lease.error());
  JsonReader reader(*json, "lease");
  Entry entry;
  entry.runner = {lease->pid, reader.Unsigned("runner_start_ticks")};
  entry.priority = static_cast<int>(reader.Int("priority"));
  if (reader.Has("turns_line")) entry.line = static_cast<uint32_t>(reader.Unsigned("turns_line"));
  if (!reader.status()) return tl::unexpected<Error>(reader.status().error());
  auto store = SliceStore::Adopt(lease->slice_file);
  if (!store) return tl::unexpected<Error>(store.error());
  entry.store = std::move(*store);
  entry.lease = std::move(*lease);
  return entry;
}

std::vector<std::string> LeaseBook::Open() {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> troubles;
  std::error_code error;
  for (const auto& file : fs::directory_iterator(folder_, error)) {
    const fs::path path = file.path();
    if (path.extension() != ".json") continue;
    auto entry = Read(path);
    if (!entry) {
      troubles.push_back(fmt::format("the lease in {} cannot be taken over: {}", path.string(),
                                     entry.error().message));
      fs::remove(path, error);
      continue;
    }
    if (entry->line) {
      const auto turns = TurnsOf(entry->lease.gpu_uuid, entry->lease.uid);
      if (!turns) troubles.push_back(turns.error().message);
    }
    entries_.emplace(entry->lease.id, std::move(*entry));
  }
  return troubles;
}

Result<TurnsTable*> LeaseBook::TurnsOf(const std::string& gpu_uuid, uint32_t uid) {
  const auto known = turns_.find(gpu_uuid);
  if (known != turns_.end() && known->second.uid != uid) {
    return Fail(ErrorCode::kUnsupported,
                fmt::format("programs of user {} take turns on {}, and turns are taken among "
                            "programs of one user only",
                            known->second.uid, gpu_uuid),
                "use another GPU, or run it as that user");
  }
  if (known != turns_.end()) return known->second.table.get();
  auto table = TurnsTable::Open(folder_, gpu_uuid, uid);
  if (!table) return tl::unexpected<Error>(table.error());
  return turns_.emplace(gpu_uuid, Turns{uid, std::move(*table)}).first->second.table.get();
}

Result<Lease> LeaseBook::Grant(const LeaseRequest& request, const Gpu& gpu, uint32_t uid,
                               ProcessId runner) {
  const std::lock_guard lock(mutex_);
  Entry entry;
  entry.runner = runner;
  int next = 1;
  while (entries_.count(fmt::format("run-{}", next)) != 0) ++next;
  entry.lease.id = fmt::format("run-{}", next);
  entry.lease.uid = uid;
  // Who asks for nothing joins the turns all the same where that can be, to disturb nobody.
  const auto turns = turns_.find(gpu.uuid);
  const bool joins = turns == turns_.end() || turns->second.uid == uid;
  return Add(std::move(entry), request, gpu, request.compute || joins);
}

std::string LeaseBook::IdOfReplica(const std::string& workload, int replica) {
  // No workload has an '@' in its name, so it is never the id of a run.
  return fmt::format("{}@{}", workload, replica);
}

Result<Lease> LeaseBook::GrantToReplica(const std::string& workload, int replica,
                                        const LeaseRequest& request, const Gpu& gpu, uint32_t uid) {
  const std::lock_guard lock(mutex_);
  Entry entry;
  entry.runner = ReadProcessStat(getpid())->id;
  entry.lease.id = IdOfReplica(workload, replica);
  entry.lease.workload = workload;
  entry.lease.replica = replica;
  entry.lease.uid = uid;
  const auto before = entries_.find(entry.lease.id);
  if (before != entries_.end()) Remove(before);
  return Add(std::move(entry), request, gpu, true);
}

void LeaseBook::SetRunner(const std::string& id, ProcessId runner) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(id);
  if (found == entries_.end()) return;
  found->second.runner = runner;
  found->second.lease.pid = runner.pid;
  // Should it not be recorded, the next daemon is told by whoever adopts the replica.
  (void)Record(found->second);
}

Result<Lease> LeaseBook::Add(Entry entry, const LeaseRequest& request, const Gpu& gpu,
                             bool in_turns) {
  Lease& lease = entry.lease;
  entry.priority = request.priority;
  lease.program = request.program;
  lease.gpu_uuid = gpu.uuid;
  lease.gpu_index = gpu.index;
  lease.pid = entry.runner.pid;
  lease.memory = request.memory;
  lease.compute = request.compute;
  lease.on_unenforced = request.on_unenforced;
  lease.since = clock_->Now();

  TurnsTable* turns = nullptr;
  if (in_turns) {
    const auto table = TurnsOf(gpu.uuid, lease.uid);
    if (!table) return tl::unexpected<Error>(table.error());
    turns = *table;
    const auto line = turns->AddLine(SharesOf(request.compute, request.priority));
    if (!line) return tl::unexpected<Error>(line.error());
    entry.line = *line;
  }
  auto store = SliceStore::Create(folder_, lease.id,
                                  {{gpu.uuid, request.memory.value_or(gpu.memory_total),
                                    request.context_bytes, std::nullopt, entry.line}},
                                  lease.uid);
  Status made = store ? Status() : tl::unexpected<Error>(store.error());
  if (made) {
    entry.store = std::move(*store);
    lease.slice_file = entry.store->path();
    made = Record(entry);
  }
  if (!made) {
    if (turns != nullptr) turns->RemoveLine(*entry.line);
    return tl::unexpected<Error>(made.error());
  }
  const std::string id = lease.id;
  return entries_.emplace(id, std::move(entry)).first->second.lease;
}

Status LeaseBook::Change(const std::string& id, const LeaseChange& change) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(id);
  if (found == entries_.end()) return Fail(ErrorCode::kNotFound, "there is no lease " + id);
  Entry& entry = found->second;
  if (change.compute) {
    if (!entry.line) {
      return Fail(ErrorCode::kUnsupported,
                  fmt::format("lease {} has no share of the GPU's time that could be changed", id),
                  "run the program again with --compute");
    }
    const auto turns = TurnsOf(entry.lease.gpu_uuid, entry.lease.uid);
    if (!turns) return tl::unexpected<Error>(turns.error());
    const Status set = (*turns)->SetLine(*entry.line, SharesOf(change.compute, entry.priority));
    if (!set) return set;
    entry.lease.compute = change.compute;
  }
  if (change.memory) {
    entry.store->SetMemoryLimit(0, *change.memory);
    entry.lease.memory = change.memory;
  }
  return Record(entry);
}

void LeaseBook::Remove(std::map<std::string, Entry>::iterator entry) {
  if (entry->second.line) {
    const auto turns = turns_.find(entry->second.lease.gpu_uuid);
    if (turns != turns_.end()) turns->second.table->RemoveLine(*entry->second.line);
  }
  const std::string gpu = entry->second.lease.gpu_uuid;
  unlink(RecordPath(entry->first).c_str());
  entries_.erase(entry);
  const bool in_use = std::any_of(entries_.begin(), entries_.end(), [&](const auto& other) {
    return other.second.line && other.second.lease.gpu_uuid == gpu;
  });
  // The next user of the GPU's time may be another one.
  const auto turns = turns_.find(gpu);
  if (in_use || turns == turns_.end()) return;
  turns->second.table->Discard();
  turns_.erase(turns);
}

void LeaseBook::SetDetail(const std::string& id, const std::string& detail) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(id);
  if (found != entries_.end()) found->second.lease.detail = detail;
}

std::string LeaseBook::IdOfSliceFile(const std::string& path) {
  const std::lock_guard lock(mutex_);
  for (const auto& [id, entry] : entries_) {
    if (entry.lease.slice_file == path) return id;
  }
  return "";
}

void LeaseBook::End(const std::string& id) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(id);
  if (found == entries_.end()) return;
  // What it started in the background goes on within the limits.
  found->second.store->Reap();
  if (found->second.store->Members().empty())
    Remove(found);
  else
    found->second.runner = {};
}

void LeaseBook::Tick() {
  const std::lock_guard lock(mutex_);
  for (auto& [uuid, turns] : turns_) turns.table->Reap();
  for (auto entry = entries_.begin(); entry != entries_.end();) {
    const auto here = entry++;
    here->second.store->Reap();
    const ProcessId runner = here->second.runner;
    if ((runner.pid == 0 || !IsAlive(runner)) && here->second.store->Members().empty())
      Remove(here);
  }
}

Lease LeaseBook::AsItIs(const Entry& entry) {
  Lease lease = entry.lease;
  lease.slice_file.clear();
  lease.memory_used = entry.store->Used(0);
  lease.processes = static_cast<int>(entry.store->Members().size());
  const auto turns = turns_.find(lease.gpu_uuid);
  if (entry.line && turns != turns_.end())
    lease.compute_used = turns->second.table->Used(*entry.line);
  return lease;
}

std::vector<Lease> LeaseBook::List() {
  const std::lock_guard lock(mutex_);
  std::vector<Lease> leases;
  for (const auto& [id, entry] : entries_) leases.push_back(AsItIs(entry));
  return leases;
}

Result<Lease> LeaseBook::Find(const std::string& id) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(id);
  if (found != entries_.end()) return AsItIs(found->second);
  std::vector<std::string> ids;
  for (const auto& [known, entry] : entries_) ids.push_back(known);
  return Fail(ErrorCode::kNotFound, fmt::format("there is no lease '{}'", id),
              ids.empty() ? "nothing runs through 'tranche run'" : DidYouMean(id, ids));
}

std::vector<int> LeaseBook::Members(const std::string& id) {
  const std::lock_guard lock(mutex_);
  std::vector<int> pids;
  const auto found = entries_.find(id);
  if (found == entries_.end()) return pids;
  for (const SliceMember& member : found->second.store->Members())
    pids.push_back(static_cast<int>(member.pid));
  return pids;
}

}  // namespace tranche
