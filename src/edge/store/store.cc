#include "edge/store/store.h"

#include <SQLiteCpp/SQLiteCpp.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sqlite3.h>
#include <sys/random.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <mutex>

#include "base/json.h"

// The only file that knows SQLite; its exceptions end here.

namespace tranche {
namespace {

constexpr int kApplicationId = 0x54524e43;  // "TRNC", in the file's header
constexpr int kBusyTimeoutMs = 5000;
constexpr int kKeptApplies = 100;
constexpr int kKeptEvents = 10000;

// The schema is what these make, one after the other; PRAGMA user_version counts those that ran.
// What was released is never edited: a change is one more entry.
constexpr const char* kMigrations[] = {
    R"sql(
      CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
      CREATE TABLE installation (one INTEGER PRIMARY KEY CHECK (one = 1), document TEXT NOT NULL);
      CREATE TABLE applies (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        plan TEXT NOT NULL,
        before_apply TEXT NOT NULL,
        after_apply TEXT NOT NULL,
        started INTEGER NOT NULL,
        outcome TEXT,
        receipt TEXT
      );
      CREATE UNIQUE INDEX one_open_apply ON applies (ifnull(outcome, 'open')) WHERE outcome IS NULL;
      CREATE TABLE steps (
        apply INTEGER NOT NULL REFERENCES applies (id) ON DELETE CASCADE,
        step INTEGER NOT NULL,
        phase TEXT NOT NULL,
        detail TEXT NOT NULL,
        started INTEGER NOT NULL,
        finished INTEGER NOT NULL,
        PRIMARY KEY (apply, step)
      ) WITHOUT ROWID;
      CREATE TABLE replicas (
        workload TEXT NOT NULL,
        replica INTEGER NOT NULL,
        digest TEXT NOT NULL,
        slice TEXT NOT NULL,
        generation INTEGER NOT NULL,
        pid INTEGER,
        pid_started INTEGER,
        device_uuid TEXT NOT NULL,
        port INTEGER,
        restarts INTEGER NOT NULL,
        state TEXT NOT NULL,
        detail TEXT NOT NULL,
        started INTEGER,
        lease_ends INTEGER,
        PRIMARY KEY (workload, replica)
      ) WITHOUT ROWID;
      CREATE TABLE events (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        time INTEGER NOT NULL,
        subject TEXT NOT NULL,
        message TEXT NOT NULL
      );
    )sql",
};
constexpr int kSchema = static_cast<int>(std::size(kMigrations));

struct PhaseName {
  StepPhase phase;
  const char* name;
};
constexpr PhaseName kPhases[] = {
    {StepPhase::kIntended, "intended"},
    {StepPhase::kDone, "done"},
    {StepPhase::kSkipped, "skipped"},
    {StepPhase::kFailed, "failed"},
    {StepPhase::kUndoIntended, "undo_intended"},
    {StepPhase::kUndone, "undone"},
    {StepPhase::kUndoFailed, "undo_failed"},
};

constexpr ReplicaState kStates[] = {
    ReplicaState::kStarting, ReplicaState::kHealthy, ReplicaState::kUnhealthy,
    ReplicaState::kBackoff,  ReplicaState::kFailing, ReplicaState::kFaulted,
    ReplicaState::kStopped,  ReplicaState::kEnded,
};

const char* PhaseNameOf(StepPhase phase) {
  for (const PhaseName& row : kPhases) {
    if (row.phase == phase) return row.name;
  }
  return "intended";
}

int64_t ToColumn(Time time) { return time.time_since_epoch().count(); }
Time FromColumn(int64_t nanoseconds) { return Time(std::chrono::nanoseconds(nanoseconds)); }

// What a document in the database turned into something else than what was written there means.
tl::unexpected<Error> Damaged(const std::string& path, const std::string& what) {
  return Fail(
      ErrorCode::kFailed, fmt::format("the database {} is damaged: {}", path, what),
      "stop Tranche, move the file aside and put a backup in its place; without one, Tranche "
      "starts with no memory of what it made, and the instances on the machine count as "
      "somebody else's (--adopt)");
}

std::string RandomId() {
  uint64_t bits = 0;
  if (getrandom(&bits, sizeof bits, 0) != sizeof bits) {
    bits = static_cast<uint64_t>(std::chrono::system_clock::now().time_since_epoch().count());
  }
  return fmt::format("{:016x}", bits);
}

template <typename T>
Result<T> Decode(const std::string& text, Result<T> (*from_json)(const Json&)) {
  Result<Json> json = ParseJson(text);
  if (!json) return tl::unexpected(json.error());
  return from_json(*json);
}

class SqliteStore final : public Store {
 public:
  SqliteStore(std::string path, SQLite::Database database)
      : path_(std::move(path)), database_(std::move(database)) {}

  // Makes the tables or brings them up to date, and reads what never changes.
  Status Prepare();

  const std::string& deployment_id() const override { return deployment_id_; }
  Result<Installation> GetInstallation() override;
  Status PutInstallation(const Installation& installation) override;
  Result<int64_t> BeginApply(const ApplyRecord& apply) override;
  Status PutStep(int64_t apply_id, const StepRecord& step) override;
  Status CloseApply(int64_t apply_id, const Receipt& receipt,
                    const Installation& installation) override;
  Result<std::optional<ApplyRecord>> FindOpenApply() override;
  Result<std::vector<Receipt>> GetReceipts(int count) override;
  Result<std::vector<ReplicaRecord>> GetReplicas() override;
  Status PutReplica(const ReplicaRecord& record) override;
  Status DeleteReplica(const std::string& workload, int replica) override;
  Status AddEvent(const EventRecord& event) override;
  Result<std::vector<EventRecord>> GetEvents(int count) override;

 private:
  // Runs `work` alone, with the library's exceptions turned into an error that says what was being
  // done.
  template <typename Work>
  auto Guarded(const char* doing, Work work) -> decltype(work()) {
    const std::lock_guard lock(mutex_);
    try {
      return work();
    } catch (const SQLite::Exception& error) {
      return Failed(doing, error);
    }
  }
  // Likewise, in one transaction that is committed when `work` succeeds.
  template <typename Work>
  auto InTransaction(const char* doing, Work work) -> decltype(work()) {
    return Guarded(doing, [&]() -> decltype(work()) {
      SQLite::Transaction transaction(database_, SQLite::TransactionBehavior::IMMEDIATE);
      auto result = work();
      if (result) transaction.commit();
      return result;
    });
  }

  tl::unexpected<Error> Failed(const char* doing, const SQLite::Exception& error) const {
    const int code = error.getErrorCode();
    if (code == SQLITE_CORRUPT || code == SQLITE_NOTADB) return Damaged(path_, error.what());
    const bool full = code == SQLITE_FULL;
    return Fail(ErrorCode::kFailed, fmt::format("{} in {}: {}", doing, path_, error.what()),
                full ? "make room on that disk" : "");
  }

  void WriteInstallation(const Installation& installation) {
    SQLite::Statement insert(database_,
                             "INSERT INTO installation (one, document) VALUES (1, ?) "
                             "ON CONFLICT (one) DO UPDATE SET document = excluded.document");
    insert.bind(1, PrintJsonLine(ToJson(installation)));
    insert.exec();
  }

  Result<StepRecord> ReadStep(SQLite::Statement& row) const;
  Result<ReplicaRecord> ReadReplica(SQLite::Statement& row) const;

  const std::string path_;
  std::string deployment_id_;  // constant after Prepare
  std::mutex mutex_;
  SQLite::Database database_;  // guarded by mutex_
};

Status SqliteStore::Prepare() {
  return Guarded("opening", [&]() -> Status {
    const int application = database_.execAndGet("PRAGMA application_id").getInt();
    const int tables = database_.execAndGet("SELECT count(*) FROM sqlite_schema").getInt();
    if (application != kApplicationId && (application != 0 || tables != 0)) {
      return Fail(ErrorCode::kInvalid, fmt::format("{} is not a database of Tranche", path_),
                  "move it away, or give Tranche another state directory (TRANCHE_STATE_DIR)");
    }
    const int schema = database_.execAndGet("PRAGMA user_version").getInt();
    if (schema > kSchema) {
      return Fail(ErrorCode::kUnsupported,
                  fmt::format("{} was written by a newer Tranche (schema {}; this one knows {})",
                              path_, schema, kSchema),
                  "install that version again, or a newer one");
    }
    const std::string check = database_.execAndGet("PRAGMA quick_check(1)").getString();
    if (check != "ok") return Damaged(path_, check);

    database_.exec("PRAGMA journal_mode = WAL");
    database_.exec("PRAGMA synchronous = FULL");
    database_.exec("PRAGMA foreign_keys = ON");
    if (schema < kSchema) {
      SQLite::Transaction transaction(database_, SQLite::TransactionBehavior::IMMEDIATE);
      for (int i = schema; i < kSchema; ++i) database_.exec(kMigrations[i]);
      database_.exec(fmt::format("PRAGMA application_id = {}", kApplicationId));
      database_.exec(fmt::format("PRAGMA user_version = {}", kSchema));
      SQLite::Statement insert(database_, "INSERT OR IGNORE INTO meta VALUES ('deployment_id', ?)");
      insert.bind(1, RandomId());
      insert.exec();
      transaction.commit();
    }
    SQLite::Statement select(database_, "SELECT value FROM meta WHERE key = 'deployment_id'");
    if (!select.executeStep()) return Damaged(path_, "it has no deployment id");
    deployment_id_ = select.getColumn(0).getString();
    return {};
  });
}

Result<Installation> SqliteStore::GetInstallation() {
  return Guarded("reading what is installed", [&]() -> Result<Installation> {
    SQLite::Statement select(database_, "SELECT document FROM installation");
    if (!select.executeStep()) return Installation();
    Result<Installation> installation =
        Decode(select.getColumn(0).getString(), InstallationFromJson);
    if (!installation) return Damaged(path_, installation.error().message);
    return installation;
  });
}

Status SqliteStore::PutInstallation(const Installation& installation) {
  return InTransaction("recording what is installed", [&]() -> Status {
    WriteInstallation(installation);
    return {};
  });
}

Result<int64_t> SqliteStore::BeginApply(const ApplyRecord& apply) {
  return InTransaction("opening the journal", [&]() -> Result<int64_t> {
    SQLite::Statement open(database_, "SELECT id FROM applies WHERE outcome IS NULL");
    if (open.executeStep()) {
      return Fail(
          ErrorCode::kFailed,
          fmt::format("apply {} is still open in the journal", open.getColumn(0).getInt64()),
          "restart the daemon: it finishes or undoes what was interrupted");
    }
    SQLite::Statement insert(database_,
                             "INSERT INTO applies (plan, before_apply, after_apply, started) "
                             "VALUES (?, ?, ?, ?)");
    insert.bind(1, PrintJsonLine(ToJson(apply.plan)));
    insert.bind(2, PrintJsonLine(ToJson(apply.before)));
    insert.bind(3, PrintJsonLine(ToJson(apply.after)));
    insert.bind(4, ToColumn(apply.started));
    insert.exec();
    return database_.getLastInsertRowid();
  });
}

Status SqliteStore::PutStep(int64_t apply_id, const StepRecord& step) {
  return InTransaction("writing the journal", [&]() -> Status {
    SQLite::Statement insert(database_,
                             "INSERT INTO steps (apply, step, phase, detail, started, finished) "
                             "VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (apply, step) DO UPDATE SET "
                             "phase = excluded.phase, detail = excluded.detail, "
                             "started = excluded.started, finished = excluded.finished");
    insert.bind(1, apply_id);
    insert.bind(2, step.step_id);
    insert.bind(3, PhaseNameOf(step.phase));
    insert.bind(4, step.detail);
    insert.bind(5, ToColumn(step.started));
    insert.bind(6, ToColumn(step.finished));
    insert.exec();
    return {};
  });
}

Status SqliteStore::CloseApply(int64_t apply_id, const Receipt& receipt,
                               const Installation& installation) {
  return InTransaction("closing the journal", [&]() -> Status {
    SQLite::Statement update(database_,
                             "UPDATE applies SET outcome = ?, receipt = ? "
                             "WHERE id = ? AND outcome IS NULL");
    update.bind(1, ApplyOutcomeName(receipt.outcome));
    update.bind(2, PrintJsonLine(ToJson(receipt)));
    update.bind(3, apply_id);
    if (update.exec() != 1) {
      return Fail(ErrorCode::kFailed, fmt::format("apply {} is not open in {}", apply_id, path_));
    }
    WriteInstallation(installation);
    SQLite::Statement trim(database_, "DELETE FROM applies WHERE id <= ?");
    trim.bind(1, apply_id - kKeptApplies);
    trim.exec();
    return {};
  });
}

Result<StepRecord> SqliteStore::ReadStep(SQLite::Statement& row) const {
  StepRecord step;
  step.step_id = row.getColumn(0).getInt();
  const std::string phase = row.getColumn(1).getString();
  const PhaseName* known = nullptr;
  for (const PhaseName& candidate : kPhases) {
    if (phase == candidate.name) known = &candidate;
  }
  if (known == nullptr) return Damaged(path_, fmt::format("a step is '{}'", phase));
  step.phase = known->phase;
  step.detail = row.getColumn(2).getString();
  step.started = FromColumn(row.getColumn(3).getInt64());
  step.finished = FromColumn(row.getColumn(4).getInt64());
  return step;
}

Result<std::optional<ApplyRecord>> SqliteStore::FindOpenApply() {
  return Guarded("reading the journal", [&]() -> Result<std::optional<ApplyRecord>> {
    SQLite::Statement select(database_,
                             "SELECT id, plan, before_apply, after_apply, started FROM applies "
                             "WHERE outcome IS NULL");
    if (!select.executeStep()) return std::nullopt;
    ApplyRecord apply;
    apply.id = select.getColumn(0).getInt64();
    Result<Plan> plan = Decode(select.getColumn(1).getString(), PlanFromJson);
    if (!plan) return Damaged(path_, plan.error().message);
    apply.plan = std::move(*plan);
    for (auto [column, into] : {std::pair(2, &apply.before), std::pair(3, &apply.after)}) {
      Result<Installation> installation =
          Decode(select.getColumn(column).getString(), InstallationFromJson);
      if (!installation) return Damaged(path_, installation.error().message);
      *into = std::move(*installation);
    }
    apply.started = FromColumn(select.getColumn(4).getInt64());

    SQLite::Statement steps(database_,
                            "SELECT step, phase, detail, started, finished FROM steps "
                            "WHERE apply = ? ORDER BY step");
    steps.bind(1, apply.id);
    while (steps.executeStep()) {
      Result<StepRecord> step = ReadStep(steps);
      if (!step) return tl::unexpected(step.error());
      apply.steps.push_back(std::move(*step));
    }
    return apply;
  });
}

Result<std::vector<Receipt>> SqliteStore::GetReceipts(int count) {
  return Guarded("reading receipts", [&]() -> Result<std::vector<Receipt>> {
    SQLite::Statement select(database_,
                             "SELECT receipt FROM applies WHERE outcome IS NOT NULL "
                             "ORDER BY id DESC LIMIT ?");
    select.bind(1, count);
    std::vector<Receipt> receipts;
    while (select.executeStep()) {
      Result<Receipt> receipt = Decode(select.getColumn(0).getString(), ReceiptFromJson);
      if (!receipt) return Damaged(path_, receipt.error().message);
      receipts.push_back(std::move(*receipt));
    }
    return receipts;
  });
}

Result<ReplicaRecord> SqliteStore::ReadReplica(SQLite::Statement& row) const {
  ReplicaRecord record;
  record.workload = row.getColumn(0).getString();
  record.replica = row.getColumn(1).getInt();
  record.digest = row.getColumn(2).getString();
  Result<Slice> slice = Decode(row.getColumn(3).getString(), SliceFromJson);
  if (!slice) return Damaged(path_, slice.error().message);
  record.slice = std::move(*slice);
  record.generation = static_cast<uint64_t>(row.getColumn(4).getInt64());
  if (!row.isColumnNull(5) && !row.isColumnNull(6)) {
    record.process = ProcessId{static_cast<pid_t>(row.getColumn(5).getInt()),
                               static_cast<uint64_t>(row.getColumn(6).getInt64())};
  }
  record.device_uuid = row.getColumn(7).getString();
  if (!row.isColumnNull(8)) record.port = row.getColumn(8).getInt();
  record.restarts = row.getColumn(9).getInt();
  const std::string state = row.getColumn(10).getString();
  bool known = false;
  for (const ReplicaState candidate : kStates) {
    if (state != ReplicaStateName(candidate)) continue;
    record.state = candidate;
    known = true;
  }
  if (!known) return Damaged(path_, fmt::format("a replica is '{}'", state));
  record.detail = row.getColumn(11).getString();
  if (!row.isColumnNull(12)) record.started_at = FromColumn(row.getColumn(12).getInt64());
  if (!row.isColumnNull(13)) record.lease_ends_at = FromColumn(row.getColumn(13).getInt64());
  return record;
}

Result<std::vector<ReplicaRecord>> SqliteStore::GetReplicas() {
  return Guarded("reading replicas", [&]() -> Result<std::vector<ReplicaRecord>> {
    SQLite::Statement select(database_,
                             "SELECT workload, replica, digest, slice, generation, pid, "
                             "pid_started, device_uuid, port, restarts, state, detail, started, "
                             "lease_ends FROM replicas ORDER BY workload, replica");
    std::vector<ReplicaRecord> records;
    while (select.executeStep()) {
      Result<ReplicaRecord> record = ReadReplica(select);
      if (!record) return tl::unexpected(record.error());
      records.push_back(std::move(*record));
    }
    return records;
  });
}

Status SqliteStore::PutReplica(const ReplicaRecord& record) {
  return InTransaction("recording a replica", [&]() -> Status {
    SQLite::Statement insert(database_,
                             "INSERT OR REPLACE INTO replicas (workload, replica, digest, slice, "
                             "generation, pid, pid_started, device_uuid, port, restarts, state, "
                             "detail, started, lease_ends) "
                             "VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)");
    insert.bind(1, record.workload);
    insert.bind(2, record.replica);
    insert.bind(3, record.digest);
    insert.bind(4, PrintJsonLine(ToJson(record.slice)));
    insert.bind(5, static_cast<int64_t>(record.generation));
    if (record.process) {  // what is not bound is NULL
      insert.bind(6, static_cast<int64_t>(record.process->pid));
      insert.bind(7, static_cast<int64_t>(record.process->start_ticks));
    }
    insert.bind(8, record.device_uuid);
    if (record.port) insert.bind(9, *record.port);
    insert.bind(10, record.restarts);
    insert.bind(11, ReplicaStateName(record.state));
    insert.bind(12, record.detail);
    if (record.started_at) insert.bind(13, ToColumn(*record.started_at));
    if (record.lease_ends_at) insert.bind(14, ToColumn(*record.lease_ends_at));
    insert.exec();
    return {};
  });
}

Status SqliteStore::DeleteReplica(const std::string& workload, int replica) {
  return InTransaction("forgetting a replica", [&]() -> Status {
    SQLite::Statement remove(database_, "DELETE FROM replicas WHERE workload = ? AND replica = ?");
    remove.bind(1, workload);
    remove.bind(2, replica);
    remove.exec();
    return {};
  });
}

Status SqliteStore::AddEvent(const EventRecord& event) {
  return InTransaction("recording an event", [&]() -> Status {
    SQLite::Statement insert(database_,
                             "INSERT INTO events (time, subject, message) VALUES (?, ?, ?)");
    insert.bind(1, ToColumn(event.time));
    insert.bind(2, event.subject);
    insert.bind(3, event.message);
    insert.exec();
    SQLite::Statement trim(database_, "DELETE FROM events WHERE id <= ?");
    trim.bind(1, database_.getLastInsertRowid() - kKeptEvents);
    trim.exec();
    return {};
  });
}

Result<std::vector<EventRecord>> SqliteStore::GetEvents(int count) {
  return Guarded("reading events", [&]() -> Result<std::vector<EventRecord>> {
    SQLite::Statement select(database_,
                             "SELECT time, subject, message FROM events ORDER BY id DESC LIMIT ?");
    select.bind(1, count);
    std::vector<EventRecord> events;
    while (select.executeStep()) {
      events.push_back({FromColumn(select.getColumn(0).getInt64()), select.getColumn(1).getString(),
                        select.getColumn(2).getString()});
    }
    return events;
  });
}

}  // namespace

Result<std::unique_ptr<Store>> Store::Open(const std::string& path) {
  // Made here, because SQLite would follow the umask and gives its side files the mode of this one:
  // what is in them is nobody else's.
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) {
    const bool denied = errno == EACCES || errno == EPERM || errno == EROFS;
    return Fail(denied ? ErrorCode::kPermission : ErrorCode::kFailed,
                fmt::format("opening {}: {}", path, std::strerror(errno)),
                "the state directory must be one that this user may write to");
  }
  close(fd);
  std::unique_ptr<SqliteStore> store;
  try {
    store = std::make_unique<SqliteStore>(
        path, SQLite::Database(path, SQLite::OPEN_READWRITE, kBusyTimeoutMs));
  } catch (const SQLite::Exception& error) {
    return Fail(ErrorCode::kFailed, fmt::format("opening {}: {}", path, error.what()));
  }
  const Status prepared = store->Prepare();
  if (!prepared) return tl::unexpected(prepared.error());
  return store;
}

}  // namespace tranche
