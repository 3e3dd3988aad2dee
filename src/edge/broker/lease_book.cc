#include "edge/broker/lease_book.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/json.h"
#include "base/suggest.h"
#include "edge/broker/table_file.h"

namespace tranche {
namespace {

namespace fs = std::filesystem;

// A folder's name: user, and team where there is one. Teams are named by letters, digits and
// dashes.
std::string PartyOf(const Lease& lease) {
  return lease.team.empty() ? fmt::format("{}", lease.uid)
                            : fmt::format("{}.{}", lease.uid, lease.team);
}

// How what is spare is divided among those who asked for none of it: as if for so much.
constexpr Fraction kSpareWeight{0.1};

ComputeShares SharesOf(const std::optional<Share<Fraction>>& compute, int priority) {
  if (!compute) return {Fraction{0}, Fraction{1}, kSpareWeight, priority};
  return {compute->request, compute->limit, std::nullopt, priority};
}

}  // namespace

LeaseBook::LeaseBook(std::string folder, TableHost& tables, std::shared_ptr<Clock> clock,
                     KernelLimits* kernel)
    : folder_(std::move(folder)), tables_(tables), clock_(std::move(clock)), kernel_(kernel) {
  tables_.TellOfDeaths([this](const std::string& table) { Reap(table); });
}

LeaseBook::~LeaseBook() {
  tables_.TellOfDeaths({});
  RemoveEmptyGroups();
  for (auto& [id, entry] : entries_) entry.store->Keep();
}

Status LeaseBook::Record(const Entry& entry) const {
  Json json = ToJson(entry.lease);
  json["runner_start_ticks"] = entry.runner.start_ticks;
  json["priority"] = entry.priority;
  json["turns_line"] = entry.line;
  json["dmem_region"] = entry.group.region;
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
  entry.line = static_cast<uint32_t>(reader.Unsigned("turns_line"));
  if (reader.Has("dmem_region")) entry.group.region = reader.String("dmem_region");
  if (!reader.status()) return tl::unexpected<Error>(reader.status().error());
  entry.group.folder = lease->cgroup;
  entry.group.gpu_uuid = lease->gpu_uuid;
  auto store = SliceStore::Adopt(tables_, lease->slice_file, lease->uid);
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
    if (const auto turns = TurnsOf(entry->lease); !turns) troubles.push_back(turns.error().message);
    FindKernelLimit(*entry);
    if (!entry->lease.detail.empty()) {
      troubles.push_back(fmt::format("lease {}: {}", entry->lease.id, entry->lease.detail));
    }
    const Lease lease = entry->lease;
    entries_.emplace(lease.id, std::move(*entry));
    Weigh(lease.device(), PartyOf(lease));
  }
  // Of leases that ended, or were granted and never recorded, while no daemon ran.
  if (kernel_ == nullptr) return troubles;
  for (const std::string& left : kernel_->Folders()) {
    const bool used = std::any_of(entries_.begin(), entries_.end(), [&](const auto& entry) {
      return entry.second.group.folder == left;
    });
    if (!used) RemoveGroup({left, "", ""});
  }
  return troubles;
}

Result<TurnsTable*> LeaseBook::TurnsOf(const Lease& lease) {
  if (TurnsTable* known = FindTurns(lease)) return known;
  const std::string party = PartyOf(lease), folder = folder_ + "/" + party;
  auto table = TurnsTable::Open(tables_, folder, lease.device(), lease.uid);
  if (!table) return tl::unexpected<Error>(table.error());
  // The table was found by it.
  const auto uuid = *ParseUuid(lease.device());
  auto gate = GateFile::Make(tables_, FileOfGpu(folder, TRANCHE_GATE_FILE, uuid), lease.uid);
  if (!gate) return tl::unexpected<Error>(gate.error());
  std::unique_ptr<Turns>& turns = turns_[lease.device()];
  if (turns == nullptr) turns = std::make_unique<Turns>();
  if (Status added = turns->arbiter.Add(party, **table, std::move(*gate)); !added) {
    (*table)->Discard();
    return tl::unexpected<Error>(added.error());
  }
  return turns->parties.emplace(party, std::move(*table)).first->second.get();
}

TurnsTable* LeaseBook::FindTurns(const Lease& lease) const {
  const auto turns = turns_.find(lease.device());
  if (turns == turns_.end()) return nullptr;
  const auto party = turns->second->parties.find(PartyOf(lease));
  return party != turns->second->parties.end() ? party->second.get() : nullptr;
}

void LeaseBook::Weigh(const std::string& device_uuid, const std::string& party) {
  const auto turns = turns_.find(device_uuid);
  if (turns == turns_.end()) return;
  Fraction promised;
  for (const auto& [id, entry] : entries_) {
    const Lease& lease = entry.lease;
    if (lease.device() == device_uuid && PartyOf(lease) == party && lease.compute)
      promised.value += lease.compute->request.value;
  }
  turns->second->arbiter.Weigh(party, promised);
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
  return Add(std::move(entry), request, gpu);
}

std::string LeaseBook::IdOfReplica(const std::string& workload, int replica) {
  // No workload has an '@' in its name, so it is never the id of a run.
  return fmt::format("{}@{}", workload, replica);
}

Result<Lease> LeaseBook::GrantToReplica(const std::string& team, const std::string& workload,
                                        int replica, const LeaseRequest& request, const Gpu& gpu,
                                        uint32_t uid,
                                        const std::optional<SharedInstance>& instance) {
  const std::lock_guard lock(mutex_);
  Entry entry;
  entry.runner = ReadProcessStat(getpid())->id;
  entry.lease.id = IdOfReplica(workload, replica);
  entry.lease.team = team;
  entry.lease.workload = workload;
  entry.lease.replica = replica;
  entry.lease.uid = uid;
  const auto before = entries_.find(entry.lease.id);
  if (before != entries_.end()) Remove(before);
  return Add(std::move(entry), request, gpu, instance);
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
                             const std::optional<SharedInstance>& instance) {
  Lease& lease = entry.lease;
  entry.priority = request.priority;
  lease.program = request.program;
  lease.gpu_uuid = gpu.uuid;
  lease.gpu_index = gpu.index;
  if (instance) lease.device_uuid = instance->uuid;
  lease.pid = entry.runner.pid;
  lease.mechanism = request.mechanism;
  // A whole GPU is held to nothing.
  if (lease.mechanism != Mechanism::kExclusive) lease.memory = request.memory;
  lease.compute = request.compute;
  lease.on_unenforced = request.on_unenforced;
  lease.since = clock_->Now();

  // Who asks for none of the time takes turns all the same, to disturb nobody.
  const auto turns = TurnsOf(lease);
  if (!turns) return tl::unexpected<Error>(turns.error());
  const auto line = (*turns)->AddLine(SharesOf(request.compute, request.priority));
  if (!line) return tl::unexpected<Error>(line.error());
  entry.line = *line;
  const std::string party = PartyOf(lease);
  auto store = SliceStore::Create(
      tables_, folder_ + "/" + party, lease.id,
      {{lease.device(), lease.memory.value_or(instance ? instance->memory : gpu.memory_total),
        request.context_bytes, std::nullopt, entry.line,
        instance ? instance->sm_count : gpu.sm_count.value_or(0)}},
      lease.uid);
  Status made = store ? Status() : tl::unexpected<Error>(store.error());
  if (made) {
    entry.store = std::move(*store);
    if (lease.mechanism == Mechanism::kTimeSlicing) entry.store->LeaveTimeToDriver(0);
    lease.slice_file = entry.store->path();
    HoldByKernel(entry, gpu);
    made = Record(entry);
  }
  if (!made) {
    RemoveGroup(entry.group);
    (*turns)->RemoveLine(entry.line);
    return tl::unexpected<Error>(made.error());
  }
  const std::string id = lease.id;
  Entry& added = entries_.emplace(id, std::move(entry)).first->second;
  ApplyLoan(added);
  const Lease granted = added.lease;
  Weigh(granted.device(), party);
  return granted;
}

Status LeaseBook::Change(const std::string& id, const LeaseChange& change) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(id);
  if (found == entries_.end()) return Fail(ErrorCode::kNotFound, "there is no lease " + id);
  Entry& entry = found->second;
  if (change.compute) {
    const auto turns = TurnsOf(entry.lease);
    if (!turns) return tl::unexpected<Error>(turns.error());
    const Status set = (*turns)->SetLine(entry.line, SharesOf(change.compute, entry.priority));
    if (!set) return set;
    entry.lease.compute = change.compute;
    Weigh(entry.lease.device(), PartyOf(entry.lease));
  }
  if (change.memory) {
    entry.lease.memory = change.memory;
    SetMost(entry, *change.memory);
  }
  return Record(entry);
}

void LeaseBook::Remove(std::map<std::string, Entry>::iterator entry) {
  const Lease lease = entry->second.lease;
  const std::string party = PartyOf(lease);
  TurnsTable* const table = FindTurns(lease);
  if (table != nullptr) table->RemoveLine(entry->second.line);
  unlink(RecordPath(entry->first).c_str());
  const KernelGroup group = entry->second.group;
  entries_.erase(entry);
  RemoveGroup(group);
  const bool in_use = std::any_of(entries_.begin(), entries_.end(), [&](const auto& other) {
    return other.second.lease.device() == lease.device() && PartyOf(other.second.lease) == party;
  });
  if (in_use || table == nullptr) {
    Weigh(lease.device(), party);
    return;
  }
  Turns& turns = *turns_[lease.device()];
  turns.arbiter.Remove(party);
  table->Discard();
  turns.parties.erase(party);
  if (turns.parties.empty()) turns_.erase(lease.device());
}

void LeaseBook::ApplyLoan(Entry& entry) {
  const auto loan = loans_.find(entry.lease.id);
  const std::optional<Bytes> lent =
      loan != loans_.end() ? std::optional(loan->second) : std::nullopt;
  if (entry.lease.workload.empty() || entry.lease.lent == lent || !entry.lease.memory) return;
  SetMost(entry, lent.value_or(*entry.lease.memory));
  entry.lease.lent = lent;
}

void LeaseBook::SetLoans(std::map<std::string, Bytes> may_hold) {
  const std::lock_guard lock(mutex_);
  loans_ = std::move(may_hold);
  for (auto& [id, entry] : entries_) ApplyLoan(entry);
}

void LeaseBook::SetDetail(const std::string& id, const std::string& detail) {
  const std::lock_guard lock(mutex_);
  const auto found = entries_.find(id);
  if (found != entries_.end()) found->second.lease.detail = detail;
}

std::vector<std::string> LeaseBook::TablesOf(const Lease& lease) const {
  const std::string folder = folder_ + "/" + PartyOf(lease);
  const auto uuid = ParseUuid(lease.device());
  if (!uuid) return {lease.slice_file};
  return {lease.slice_file, FileOfGpu(folder, TRANCHE_TURNS_FILE, *uuid),
          FileOfGpu(folder, TRANCHE_GATE_FILE, *uuid)};
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
  RemoveEmptyGroups();
  for (auto& [uuid, turns] : turns_) {
    for (auto& [party, table] : turns->parties) table->Reap();
  }
  for (auto entry = entries_.begin(); entry != entries_.end();) ReapEntry(entry++);
}

void LeaseBook::ReapEntry(std::map<std::string, Entry>::iterator entry) {
  entry->second.store->Reap();
  const ProcessId runner = entry->second.runner;
  if ((runner.pid == 0 || !IsAlive(runner)) && entry->second.store->Members().empty())
    Remove(entry);
}

void LeaseBook::Reap(const std::string& table) {
  const std::lock_guard lock(mutex_);
  for (auto& [uuid, turns] : turns_) {
    for (auto& [party, its] : turns->parties) {
      if (its->path() == table) return its->Reap();
    }
  }
  const auto entry = std::find_if(entries_.begin(), entries_.end(), [&](const auto& each) {
    return each.second.lease.slice_file == table;
  });
  if (entry != entries_.end()) ReapEntry(entry);
}

Lease LeaseBook::AsItIs(const Entry& entry) {
  Lease lease = entry.lease;
  lease.slice_file.clear();
  lease.memory_used = entry.store->Used(0);
  lease.processes = static_cast<int>(entry.store->Members().size());
  for (const std::string& trouble : entry.store->Troubles(0))
    lease.detail += (lease.detail.empty() ? "" : "; ") + trouble;
  const TurnsTable* table = FindTurns(lease);
  if (table == nullptr) return lease;
  lease.compute_used = table->Used(entry.line);
  if (lease.mechanism != Mechanism::kMps) return lease;
  for (const int pid : table->NoMpsClients(entry.line)) {
    lease.detail += fmt::format(
        "{}its process {} is no client of the MPS server, so that all on the GPU take turns",
        lease.detail.empty() ? "" : "; ", pid);
  }
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

HandOvers LeaseBook::HandOversOn(const std::string& device_uuid) {
  const std::lock_guard lock(mutex_);
  const auto turns = turns_.find(device_uuid);
  return turns != turns_.end() ? turns->second->arbiter.hand_overs() : HandOvers{};
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
