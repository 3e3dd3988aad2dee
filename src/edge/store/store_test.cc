#include "edge/store/store.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <string>

#include "base/json.h"

namespace tranche {
namespace {

Slice TestSlice() {
  return {"GPU-1", Mechanism::kMig, "2g.20gb", MigPlacement{2, 2}, GiB(20), 0.2};
}

Plan TestPlan() {
  Plan plan;
  plan.id = "p1";
  Workload workload;
  workload.name = "phi";
  workload.command = {"sleep", "1000"};
  plan.spec.workloads = {workload};
  Step step;
  step.id = 1;
  step.kind = StepKind::kCreateInstance;
  step.change = Change::kCreate;
  step.target = "gpu0 2g.20gb@2";
  step.gpu_uuid = "GPU-1";
  step.slice = TestSlice();
  plan.steps = {step};
  return plan;
}

Installation TestInstallation() {
  Installation installation;
  installation.deployment.plan_id = "p1";
  installation.deployment.instances = {{"GPU-1", "2g.20gb", {2, 2}}};
  installation.deployment.replicas = {{"phi", 0, "digest", TestSlice(), true}};
  installation.deployment.baselines = {{"GPU-1", false, {{"GPU-1", "1g.10gb", {6, 1}}}}};
  Launch launch;
  launch.workload = TestPlan().spec.workloads.front();
  launch.engine_flags = {"--memory", "19GiB"};
  launch.guarantee = {Guarantee::kHardware, Guarantee::kHardware, Guarantee::kHardware,
                      Guarantee::kCooperative};
  launch.uid = 1000;
  launch.gid = 1001;
  launch.allow_root = true;
  launch.ended = true;
  installation.launches = {launch};
  return installation;
}

Receipt TestReceipt(ApplyOutcome outcome) {
  Receipt receipt;
  receipt.plan_id = "p1";
  receipt.outcome = outcome;
  return receipt;
}

class StoreTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "storeXXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
    path_ = directory_ + "/tranche.db";
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::unique_ptr<Store> Open() {
    Result<std::unique_ptr<Store>> store = Store::Open(path_);
    EXPECT_TRUE(store) << store.error().message;
    return store ? std::move(*store) : nullptr;
  }

  void Write(const std::string& bytes) { std::ofstream(path_, std::ios::binary) << bytes; }
  std::string Read() {
    std::ifstream file(path_, std::ios::binary);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  std::string directory_, path_;
};

TEST_F(StoreTest, StartsEmptyAndKeepsItsIdentity) {
  std::string id;
  {
    const std::unique_ptr<Store> store = Open();
    EXPECT_EQ(*store->GetInstallation(), Installation());
    EXPECT_FALSE(store->FindOpenApply()->has_value());
    EXPECT_TRUE(store->GetReplicas()->empty());
    id = store->deployment_id();
    EXPECT_EQ(id.size(), 16u);
  }
  EXPECT_EQ(Open()->deployment_id(), id);
}

TEST_F(StoreTest, IsReadableByItsOwnerOnly) {
  Open();
  struct stat file {};
  ASSERT_EQ(stat(path_.c_str(), &file), 0);
  EXPECT_EQ(file.st_mode & 0777, 0600u);
}

TEST_F(StoreTest, InstallationSurvivesReopening) {
  ASSERT_TRUE(Open()->PutInstallation(TestInstallation()));
  EXPECT_EQ(*Open()->GetInstallation(), TestInstallation());
}

TEST_F(StoreTest, AnOpenApplyIsFoundWithItsSteps) {
  ApplyRecord apply;
  apply.plan = TestPlan();
  apply.after = TestInstallation();
  apply.started = Time(std::chrono::seconds(5));
  const StepRecord step{1, StepPhase::kIntended, "", Time(std::chrono::seconds(6)),
                        Time(std::chrono::seconds(7))};
  {
    const std::unique_ptr<Store> store = Open();
    const Result<int64_t> id = store->BeginApply(apply);
    ASSERT_TRUE(id) << id.error().message;
    ASSERT_TRUE(store->PutStep(*id, step));
    StepRecord done = step;
    done.phase = StepPhase::kDone;
    done.detail = "MIG-1";
    ASSERT_TRUE(store->PutStep(*id, done));
  }
  const auto found = Open()->FindOpenApply();
  ASSERT_TRUE(found && *found);
  EXPECT_EQ((*found)->plan, apply.plan);
  EXPECT_EQ((*found)->before, apply.before);
  EXPECT_EQ((*found)->after, apply.after);
  EXPECT_EQ((*found)->started, apply.started);
  ASSERT_EQ((*found)->steps.size(), 1u);
  EXPECT_EQ((*found)->steps[0].phase, StepPhase::kDone);
  EXPECT_EQ((*found)->steps[0].detail, "MIG-1");
}

TEST_F(StoreTest, OnlyOneApplyIsOpenAtATime) {
  const std::unique_ptr<Store> store = Open();
  ApplyRecord apply;
  apply.plan = TestPlan();
  const Result<int64_t> first = store->BeginApply(apply);
  ASSERT_TRUE(first);
  EXPECT_FALSE(store->BeginApply(apply));
  ASSERT_TRUE(store->CloseApply(*first, TestReceipt(ApplyOutcome::kDone), TestInstallation()));
  EXPECT_TRUE(store->BeginApply(apply));
}

TEST_F(StoreTest, ClosingKeepsTheReceiptAndChangesTheInstallationAtOnce) {
  const std::unique_ptr<Store> store = Open();
  ApplyRecord apply;
  apply.plan = TestPlan();
  const Result<int64_t> id = store->BeginApply(apply);
  ASSERT_TRUE(id);
  ASSERT_TRUE(store->CloseApply(*id, TestReceipt(ApplyOutcome::kRolledBack), TestInstallation()));
  EXPECT_FALSE(store->FindOpenApply()->has_value());
  EXPECT_EQ(*store->GetInstallation(), TestInstallation());
  const auto receipts = store->GetReceipts(10);
  ASSERT_EQ(receipts->size(), 1u);
  EXPECT_EQ(receipts->front().outcome, ApplyOutcome::kRolledBack);
  // A second close would overwrite what is installed with something older.
  EXPECT_FALSE(store->CloseApply(*id, TestReceipt(ApplyOutcome::kDone), Installation()));
  EXPECT_EQ(*store->GetInstallation(), TestInstallation());
}

TEST_F(StoreTest, ReplicasComeBackWithAndWithoutTheirOptionalParts) {
  ReplicaRecord full;
  full.workload = "phi";
  full.replica = 1;
  full.digest = "d";
  full.slice = TestSlice();
  full.generation = 7;
  full.process = ProcessId{4242, 123456789};
  full.device_uuid = "MIG-1";
  full.port = 18000;
  full.restarts = 3;
  full.state = ReplicaState::kFaulted;
  full.detail = "XID 79";
  full.started_at = Time(std::chrono::seconds(9));
  full.lease_ends_at = Time(std::chrono::seconds(10));
  ReplicaRecord bare;
  bare.workload = "batch";
  {
    const std::unique_ptr<Store> store = Open();
    ASSERT_TRUE(store->PutReplica(full));
    ASSERT_TRUE(store->PutReplica(bare));
    full.restarts = 4;
    ASSERT_TRUE(store->PutReplica(full));
  }
  const std::unique_ptr<Store> store = Open();
  EXPECT_EQ(*store->GetReplicas(), (std::vector<ReplicaRecord>{bare, full}));
  ASSERT_TRUE(store->DeleteReplica("phi", 1));
  EXPECT_EQ(*store->GetReplicas(), std::vector<ReplicaRecord>{bare});
}

TEST_F(StoreTest, EventsAreNewestFirst) {
  const std::unique_ptr<Store> store = Open();
  const EventRecord first{Time(std::chrono::seconds(1)), "phi/0", "started"};
  const EventRecord second{Time(std::chrono::seconds(2)), "gpu0", "XID 79"};
  ASSERT_TRUE(store->AddEvent(first));
  ASSERT_TRUE(store->AddEvent(second));
  EXPECT_EQ(*store->GetEvents(10), (std::vector<EventRecord>{second, first}));
  EXPECT_EQ(*store->GetEvents(1), std::vector<EventRecord>{second});
}

// ---- Files that are not what they should be ----

TEST_F(StoreTest, AFileThatIsNoDatabaseIsRefusedAndLeftAlone) {
  const std::string text(4096, 'x');
  Write(text);
  const auto store = Store::Open(path_);
  ASSERT_FALSE(store);
  EXPECT_FALSE(store.error().hint.empty());
  EXPECT_EQ(Read(), text);
}

TEST_F(StoreTest, SomebodyElsesDatabaseIsRefusedAndLeftAlone) {
  ASSERT_EQ(std::system(("sqlite3 " + path_ + " 'CREATE TABLE theirs (x)'").c_str()), 0);
  const std::string before = Read();
  const auto store = Store::Open(path_);
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code, ErrorCode::kInvalid);
  EXPECT_NE(store.error().message.find("not a database of Tranche"), std::string::npos);
  EXPECT_EQ(Read(), before);
}

TEST_F(StoreTest, ANewerSchemaIsRefused) {
  Open();
  ASSERT_EQ(std::system(("sqlite3 " + path_ + " 'PRAGMA user_version = 999'").c_str()), 0);
  const auto store = Store::Open(path_);
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code, ErrorCode::kUnsupported);
  EXPECT_NE(store.error().message.find("newer Tranche"), std::string::npos);
}

TEST_F(StoreTest, ADamagedDatabaseIsRefusedWithWhatToDo) {
  {
    const std::unique_ptr<Store> store = Open();
    for (int i = 0; i < 200; ++i) {
      ASSERT_TRUE(store->AddEvent({Time(), "gpu0", std::string(200, 'e')}));
    }
  }
  std::string bytes = Read();
  ASSERT_GT(bytes.size(), 32768u);
  for (size_t page = 4096; page + 64 < bytes.size(); page += 4096) {
    bytes.replace(page, 64, std::string(64, '\xff'));
  }
  Write(bytes);
  const auto store = Store::Open(path_);
  ASSERT_FALSE(store);
  EXPECT_EQ(store.error().code, ErrorCode::kFailed);
  EXPECT_NE(store.error().message.find("damaged"), std::string::npos) << store.error().message;
  EXPECT_NE(store.error().hint.find("backup"), std::string::npos);
}

TEST_F(StoreTest, ADocumentThatIsDamagedIsAnErrorNotAnEmptyInstallation) {
  ASSERT_TRUE(Open()->PutInstallation(TestInstallation()));
  ASSERT_EQ(
      std::system(("sqlite3 " + path_ + " \"UPDATE installation SET document = '{}'\"").c_str()),
      0);
  const auto installation = Open()->GetInstallation();
  ASSERT_FALSE(installation);
  EXPECT_NE(installation.error().message.find("damaged"), std::string::npos);
}

TEST_F(StoreTest, AFileLeftEmptyByADeathWhileItWasMadeIsMade) {
  Write("");
  EXPECT_NE(Open(), nullptr);
}

TEST_F(StoreTest, WhatWasWrittenBeforeKill9IsThere) {
  Open();
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const auto store = Store::Open(path_);
    ApplyRecord apply;
    apply.plan = TestPlan();
    const Result<int64_t> id = (*store)->BeginApply(apply);
    (void)(*store)->PutStep(*id, {1, StepPhase::kIntended});
    kill(getpid(), SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  const auto found = Open()->FindOpenApply();
  ASSERT_TRUE(found && *found);
  ASSERT_EQ((*found)->steps.size(), 1u);
  EXPECT_EQ((*found)->steps[0].phase, StepPhase::kIntended);
}

}  // namespace
}  // namespace tranche
