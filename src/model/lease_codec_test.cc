#include <gtest/gtest.h>

#include "base/json.h"
#include "model/lease.h"

namespace tranche {
namespace {

TEST(LeaseCodec, ARequestComesBackAsItWas) {
  LeaseRequest request;
  request.program = "train.py";
  request.gpu = "1";
  request.memory = GiB(10);
  request.compute = Share<Fraction>{{0.25}, {1}};
  request.priority = -3;
  request.context_bytes = MiB(524);
  request.dry_run = true;
  EXPECT_EQ(LeaseRequestFromJson(ToJson(request)), request);
}

TEST(LeaseCodec, ALeaseComesBackAsItWas) {
  Lease lease;
  lease.id = "run-1";
  lease.program = "train.py";
  lease.gpu_uuid = "GPU-1";
  lease.gpu_index = 2;
  lease.uid = 1000;
  lease.pid = 4711;
  lease.memory = GiB(10);
  lease.compute = Share<Fraction>{{0.25}, {0.5}};
  lease.memory_used = MiB(700);
  lease.compute_used = Duration(123456789);
  lease.processes = 2;
  lease.since = *ParseTime("2026-11-21T02:13:00.000Z");
  lease.slice_file = "/run/x";
  lease.cgroup = "/tranche/a-run-1";
  EXPECT_EQ(LeaseFromJson(ToJson(lease)), lease);
  lease.memory.reset();
  lease.compute_used.reset();
  EXPECT_EQ(LeaseFromJson(ToJson(lease)), lease) << "what is unknown stays unknown";
  lease.cgroup.clear();
  lease.why_not_harder = "the driver has no memory limits";
  EXPECT_EQ(LeaseFromJson(ToJson(lease)), lease) << "held by the limiter alone";
}

TEST(LeaseCodec, NonsenseIsRefusedWithItsPlace) {
  const Json good = {{"program", "p"}, {"context_bytes", 1}, {"memory_bytes", 5}};
  ASSERT_TRUE(LeaseRequestFromJson(good));
  const auto message = [&](const char* key, const Json& value) {
    Json bad = good;
    bad[key] = value;
    const auto request = LeaseRequestFromJson(bad);
    return request ? "" : request.error().message;
  };
  EXPECT_NE(message("memory_bytes", 0).find("lease.memory_bytes"), std::string::npos);
  EXPECT_NE(message("memory_bytes", "much").find("memory_bytes"), std::string::npos);
  for (const Json& share :
       {Json{{"request", 0.5}, {"limit", 0.4}}, Json{{"request", 0}, {"limit", 1}},
        Json{{"request", 0.5}, {"limit", 1.5}}}) {
    EXPECT_NE(message("compute", share).find("lease.compute"), std::string::npos) << share.dump();
  }
  Json nothing = good;
  nothing.erase("memory_bytes");
  EXPECT_FALSE(LeaseRequestFromJson(nothing));
}

}  // namespace
}  // namespace tranche
