#include <gtest/gtest.h>

#include "base/json.h"
#include "model/receipt.h"
#include "model/status.h"

namespace tranche {
namespace {

Receipt FullReceipt() {
  Receipt receipt;
  receipt.plan_id = "p1";
  receipt.outcome = ApplyOutcome::kPartial;
  receipt.started = Time(std::chrono::seconds(1));
  receipt.finished = Time(std::chrono::seconds(9));
  receipt.error = Error{ErrorCode::kBusy, "in use by pid 4242", "stop it"};
  int id = 1;
  for (const StepOutcome outcome :
       {StepOutcome::kDone, StepOutcome::kSkipped, StepOutcome::kFailed, StepOutcome::kUndone,
        StepOutcome::kUndoFailed, StepOutcome::kNotRun}) {
    StepReceipt step;
    step.step.id = id++;
    step.step.kind = StepKind::kCreateInstance;
    step.step.change = Change::kCreate;
    step.step.target = "gpu0 2g.20gb@0";
    step.step.gpu_uuid = "GPU-1";
    step.step.slice = Slice{"GPU-1", Mechanism::kMig, "2g.20gb", MigPlacement{0, 2}, GiB(20), 0.25};
    step.outcome = outcome;
    step.detail = "MIG-1";
    step.started = Time(std::chrono::seconds(id));
    step.finished = Time(std::chrono::seconds(id + 1));
    receipt.steps.push_back(step);
  }
  return receipt;
}

SystemStatus FullStatus() {
  SystemStatus status;
  status.mps = {{"GPU-a", 3, "MIG-b", 2, "a GPU in MIG mode has none", {"each slice: all"}}};
  status.plan_id = "p1";
  status.daemon = true;
  status.router = {true, "http://127.0.0.1:8080", ""};
  status.warnings = {"gpu0 2g.20gb@0 vanished"};
  for (const ReplicaState state :
       {ReplicaState::kStarting, ReplicaState::kHealthy, ReplicaState::kUnhealthy,
        ReplicaState::kBackoff, ReplicaState::kFailing, ReplicaState::kFaulted,
        ReplicaState::kStopped, ReplicaState::kEnded}) {
    ReplicaStatus replica;
    replica.workload = "phi";
    replica.replica = static_cast<int>(status.replicas.size());
    replica.team = "research";
    replica.state = state;
    replica.detail = "why";
    replica.slice = {"GPU-1", Mechanism::kMig, "2g.20gb", MigPlacement{0, 2}, GiB(20), 0.25};
    replica.gpu_index = 3;
    replica.device_uuid = "MIG-1";
    replica.guarantee = {Guarantee::kHardware, Guarantee::kDriver, Guarantee::kNone,
                         Guarantee::kCooperative};
    replica.memory_used = MiB(512);
    replica.pid = 4242;
    replica.port = 18000;
    replica.route = "/phi";
    replica.restarts = 2;
    replica.started_at = Time(std::chrono::seconds(7));
    replica.lease_ends_at = Time(std::chrono::hours(7));
    status.replicas.push_back(replica);
  }
  return status;
}

TEST(ReceiptCodec, RoundTrip) {
  const Json json = ToJson(FullReceipt());
  const Result<Receipt> read = ReceiptFromJson(json);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(PrintJson(ToJson(*read)), PrintJson(json));
  EXPECT_EQ(read->steps.size(), 6u);
  EXPECT_EQ(read->steps[4].outcome, StepOutcome::kUndoFailed);
  EXPECT_EQ(read->error, FullReceipt().error);
}

TEST(ReceiptCodec, NamesAreThePinnedOnes) {
  const Json json = ToJson(FullReceipt());
  EXPECT_EQ(json["format_version"], "1.0");
  EXPECT_EQ(json["outcome"], "partial");
  EXPECT_EQ(json["error"]["code"], "busy");
  EXPECT_EQ(json["steps"][4]["outcome"], "undo_failed");
  EXPECT_EQ(json["started"], "1970-01-01T00:00:01.000Z");
}

TEST(ReceiptCodec, EveryErrorCodeComesBack) {
  for (int code = 0; code <= static_cast<int>(ErrorCode::kInterrupted); ++code) {
    const Error error{static_cast<ErrorCode>(code), "message"};
    const Result<Error> read = ErrorFromJson(ToJson(error));
    ASSERT_TRUE(read);
    EXPECT_EQ(*read, error);
  }
}

TEST(ReceiptCodec, SaysWhereItIsWrong) {
  Json json = ToJson(FullReceipt());
  json["steps"][2]["outcome"] = "exploded";
  const Result<Receipt> read = ReceiptFromJson(json);
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code, ErrorCode::kInvalid);
  EXPECT_NE(read.error().message.find("receipt.steps[2].outcome is 'exploded'"), std::string::npos)
      << read.error().message;
  for (const char* key : {"plan_id", "outcome", "steps", "started", "finished"}) {
    Json without = ToJson(FullReceipt());
    without.erase(key);
    EXPECT_FALSE(ReceiptFromJson(without)) << key;
  }
}

TEST(StatusCodec, RoundTrip) {
  const Json json = ToJson(FullStatus());
  const Result<SystemStatus> read = SystemStatusFromJson(json);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(PrintJson(ToJson(*read)), PrintJson(json));
  EXPECT_EQ(read->replicas[5].state, ReplicaState::kFaulted);
}

TEST(StatusCodec, WhatIsNotKnownIsAbsentWithItsReason) {
  SystemStatus status = FullStatus();
  ReplicaStatus& replica = status.replicas.front();
  replica.memory_used = Reading<Bytes>::Absent("the slice is gone");
  replica.pid.reset();
  replica.port.reset();
  replica.started_at.reset();
  replica.lease_ends_at.reset();
  const Json json = ToJson(status);
  const Json& one = json["replicas"][0];
  for (const char* key : {"memory_used_bytes", "pid", "port", "started_at", "lease_ends_at"}) {
    EXPECT_FALSE(one.contains(key)) << key;
  }
  EXPECT_EQ(one["unavailable"]["memory_used_bytes"], "the slice is gone");
  const Result<SystemStatus> read = SystemStatusFromJson(json);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_FALSE(read->replicas.front().memory_used);
  EXPECT_EQ(read->replicas.front().memory_used.reason(), "the slice is gone");
}

TEST(StatusCodec, RefusesWhatNoStatusCanSay) {
  for (const auto& [key, value] : {std::pair<const char*, Json>("state", "sleepy"),
                                   {"port", 70000},
                                   {"pid", -1},
                                   {"replica", -1},
                                   {"started_at", "yesterday"}}) {
    Json json = ToJson(FullStatus());
    json["replicas"][1][key] = value;
    const Result<SystemStatus> read = SystemStatusFromJson(json);
    ASSERT_FALSE(read) << key;
    EXPECT_NE(read.error().message.find("replicas[1]"), std::string::npos) << read.error().message;
  }
}

}  // namespace
}  // namespace tranche
