#include "engine/lease_wishes.h"

#include <gtest/gtest.h>

namespace tranche {
namespace {

LeaseRequest Wish(std::optional<Bytes> memory, std::optional<double> share) {
  LeaseRequest request;
  request.memory = memory;
  if (share) request.compute = Share<Fraction>{{*share}, {1}};
  return request;
}

TEST(LeaseWishes, KeepRoomForWhatWasAskedLately) {
  LeaseWishes wishes;
  for (int i = 0; i < 10; ++i) {
    wishes.Add(Wish(GiB(45), 0.3));
    wishes.Add(Wish(GiB(30), 0.3));
  }
  const LeaseRequest next = Wish(GiB(30), 0.1);
  // 15 GiB that nobody asks for are lost beside 45; of 60, another 30 remain.
  EXPECT_GT(wishes.PointsOn(GiB(100), GiB(60), 1, next, {}),
            wishes.PointsOn(GiB(100), GiB(45), 1, next, {}));
  // Time is a resource like memory: of 35 % nothing is left that anybody would want.
  EXPECT_GT(wishes.PointsOn(GiB(100), GiB(60), 0.8, Wish(GiB(1), 0.3), {}),
            wishes.PointsOn(GiB(100), GiB(60), 0.35, Wish(GiB(1), 0.1), {}));
}

TEST(LeaseWishes, OpenNoEmptyGpuForWhatFitsBeside) {
  const LeaseWishes wishes;
  for (uint64_t size = 5; size <= 30; size += 5) {
    for (uint64_t free = size; free < 80; free += 5) {
      EXPECT_GE(wishes.PointsOn(GiB(80), GiB(free), 1, Wish(GiB(size), 0.05), {}),
                wishes.PointsOn(GiB(80), GiB(80), 1, Wish(GiB(size), 0.05), {}))
          << size << " of " << free;
    }
  }
  EXPECT_EQ(wishes.PointsOn(GiB(0), GiB(0), 1, Wish({}, {}), {}), 0);
}

TEST(LeaseWishes, LearnFromWhatRunsAfterARestart) {
  const LeaseWishes wishes;
  std::vector<Lease> leases;
  for (const uint64_t memory : {45, 45, 30, 30}) {
    Lease lease;
    lease.memory = GiB(memory);
    leases.push_back(lease);
  }
  const LeaseRequest next = Wish(GiB(30), {});
  EXPECT_GT(wishes.PointsOn(GiB(100), GiB(60), 1, next, leases),
            wishes.PointsOn(GiB(100), GiB(45), 1, next, leases));
}

}  // namespace
}  // namespace tranche
