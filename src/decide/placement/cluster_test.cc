#include "decide/placement/cluster.h"

#include <gtest/gtest.h>

namespace tranche::placement {
namespace {

const NodeShape kShape{16000, 65536, 4, 0};

Request Share(int milli, int cpu = 1000) { return {cpu, 1024, 1, milli, kAnyModel}; }
Request Whole(int gpus, int cpu = 1000) { return {cpu, 1024, gpus, kGpuMilli, kAnyModel}; }

TEST(Cluster, FitsLooksAtEveryResource) {
  Cluster cluster({kShape});
  EXPECT_TRUE(Fits(cluster.node(0), Whole(4)));
  EXPECT_FALSE(Fits(cluster.node(0), Whole(5)));
  EXPECT_FALSE(Fits(cluster.node(0), Share(500, 16001)));
  Request memory = Share(500);
  memory.memory_mib = 65537;
  EXPECT_FALSE(Fits(cluster.node(0), memory));
  Request other_model = Share(500);
  other_model.models = ModelSet{1} << 1;
  EXPECT_FALSE(Fits(cluster.node(0), other_model));
  // A whole GPU is one that nobody shares.
  cluster.Add(0, Share(1), 0b0001);
  EXPECT_FALSE(Fits(cluster.node(0), Whole(4)));
  EXPECT_TRUE(Fits(cluster.node(0), Whole(3)));
  cluster.SetUp(0, false);
  EXPECT_FALSE(Fits(cluster.node(0), Share(1)));
}

TEST(Cluster, TightestGpusAreThoseWithTheLeastLeft) {
  Cluster cluster({kShape});
  cluster.Add(0, Share(300), 0b0010);
  cluster.Add(0, Share(600), 0b1000);
  EXPECT_EQ(TightestGpus(cluster.node(0), Share(400)), 0b1000);
  EXPECT_EQ(TightestGpus(cluster.node(0), Share(500)), 0b0010);
  EXPECT_EQ(TightestGpus(cluster.node(0), Share(800)), 0b0001);
  EXPECT_EQ(TightestGpus(cluster.node(0), Whole(2)), 0b0101);
}

TEST(Cluster, AddAndRemoveBalance) {
  Cluster cluster({kShape, kShape});
  EXPECT_EQ(cluster.types().size(), 1u);
  EXPECT_EQ(cluster.type_counts()[0], 2);
  EXPECT_EQ(cluster.total_gpu_milli(), 8000);
  const uint64_t empty = cluster.node(0).state;
  EXPECT_EQ(cluster.node(1).state, empty);
  cluster.Add(0, Whole(2), 0b0011);
  cluster.Add(0, Share(250), 0b0100);
  EXPECT_EQ(cluster.used_gpu_milli(), 2250);
  EXPECT_EQ(cluster.node(0).free_milli(), 1750);
  EXPECT_NE(cluster.node(0).state, empty);
  cluster.Remove(0, Whole(2), 0b0011);
  cluster.Remove(0, Share(250), 0b0100);
  EXPECT_EQ(cluster.used_gpu_milli(), 0);
  EXPECT_EQ(cluster.node(0).state, empty);
  EXPECT_EQ(cluster.node(0).running, cluster.node(1).running);
}

TEST(Cluster, StateDoesNotDependOnWhichGpu) {
  Cluster cluster({kShape, kShape});
  cluster.Add(0, Share(250), 0b0001);
  cluster.Add(1, Share(250), 0b1000);
  EXPECT_EQ(cluster.node(0).state, cluster.node(1).state);
}

}  // namespace
}  // namespace tranche::placement
