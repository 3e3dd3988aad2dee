#include "sim/gpu_time/gpu.h"

#include <gtest/gtest.h>

#include "sim/gpu_time/world.h"

namespace tranche::sim {
namespace {

constexpr int64_t kUs = 1000, kMs = 1000 * kUs, kSecond = 1000 * kMs;

// Runs until nothing is left; when each piece of work was done, by id.
std::vector<int64_t> Ends(TimedGpu& gpu, size_t count) {
  std::vector<int64_t> ends(count, -1);
  std::vector<TimedGpu::Done> done;
  while (gpu.Next() != kNothing) {
    const int64_t at = gpu.Next();
    gpu.AdvanceTo(at, &done);
    for (const TimedGpu::Done& d : done) ends[d.work.id] = at;
    done.clear();
  }
  return ends;
}

Work Kernel(uint32_t context, uint64_t id, int64_t duration, uint32_t blocks = 132,
            uint32_t stream = 0) {
  return {context, stream, id, duration, blocks, Engine::kSms, 0};
}

TEST(GpuTime, ContextsTakeTurnsOfAQuantum) {
  TimedGpu gpu(2, {});
  gpu.Submit(Kernel(0, 0, 3 * kMs));
  gpu.Submit(Kernel(1, 1, 3 * kMs));
  const std::vector<int64_t> ends = Ends(gpu, 2);
  // 2 | switch | 2 | switch | 1 done | dry switch | 1 done
  EXPECT_EQ(ends[0], 5 * kMs + 150 * kUs);
  EXPECT_EQ(ends[1], 6 * kMs + 175 * kUs);
  EXPECT_EQ(gpu.busy(), 6 * kMs);
  EXPECT_EQ(gpu.switching(), 175 * kUs);
}

TEST(GpuTime, AloneNothingIsSwitched) {
  TimedGpu gpu(3, {});
  gpu.Submit(Kernel(1, 0, 50 * kMs));
  EXPECT_EQ(Ends(gpu, 1)[0], 50 * kMs + 25 * kUs);
  gpu.Submit({1, 0, 0, 7 * kMs, 132, Engine::kSms, 60 * kMs});
  EXPECT_EQ(Ends(gpu, 1)[0], 67 * kMs);
}

TEST(GpuTime, StreamsOfOneContextShareItsSlice) {
  TimedGpu gpu(1, {});
  gpu.Submit(Kernel(0, 0, kMs, 66, 0));
  gpu.Submit(Kernel(0, 1, kMs, 66, 1));
  EXPECT_EQ(Ends(gpu, 2), (std::vector<int64_t>{kMs, kMs}));
  TimedGpu full(1, {});
  full.Submit(Kernel(0, 0, kMs, 132, 0));
  full.Submit(Kernel(0, 1, kMs, 132, 1));
  EXPECT_EQ(Ends(full, 2), (std::vector<int64_t>{2 * kMs, 2 * kMs}));
}

TEST(GpuTime, ConcurrentContextsGetSmsByResidentBlocks) {
  TimedGpu gpu(2, {.sharing = Sharing::kConcurrent});
  gpu.Submit(Kernel(0, 0, 8 * kMs, 65536));
  gpu.Submit(Kernel(1, 1, kMs, 132));
  // 8 to 1: after 9 ms both are done at once.
  const std::vector<int64_t> ends = Ends(gpu, 2);
  EXPECT_NEAR(double(ends[0]), 9e6, 10);
  EXPECT_NEAR(double(ends[1]), 9e6, 10);
}

TEST(GpuTime, ConcurrentKernelsThatDoNotFillTheGpuDisturbNobody) {
  TimedGpu gpu(2, {.sharing = Sharing::kConcurrent});
  gpu.Submit(Kernel(0, 0, kMs, 66));
  gpu.Submit(Kernel(1, 1, kMs, 66));
  EXPECT_EQ(Ends(gpu, 2), (std::vector<int64_t>{kMs, kMs}));
}

TEST(GpuTime, ThreadPercentageHoldsAContextToItsSms) {
  TimedGpu gpu(2, {.sharing = Sharing::kConcurrent});
  gpu.SetSmPart(0, 0.25);
  gpu.Submit(Kernel(0, 0, kMs));
  EXPECT_EQ(Ends(gpu, 1)[0], 4 * kMs);
  gpu.Submit(Kernel(1, 0, kMs, 33));
  EXPECT_EQ(Ends(gpu, 1)[0], 5 * kMs) << "fewer blocks than its SMs: not slower";
}

TEST(GpuTime, APartitionIsForAllThatAreInIt) {
  TimedGpu gpu(3, {.sharing = Sharing::kConcurrent});
  gpu.SetPartition(0, 1, 0.25);
  gpu.SetPartition(1, 1, 0.25);
  gpu.SetPartition(2, 2, 0.75);
  for (uint32_t i = 0; i < 3; ++i) gpu.Submit(Kernel(i, i, 3 * kMs));
  const std::vector<int64_t> ends = Ends(gpu, 3);
  EXPECT_NEAR(double(ends[0]), 24e6, 10);
  EXPECT_NEAR(double(ends[1]), 24e6, 10);
  EXPECT_NEAR(double(ends[2]), 4e6, 10);
}

TEST(GpuTime, BelowNormalGetsWhatIsLeft) {
  TimedGpu gpu(3, {.sharing = Sharing::kConcurrent});
  gpu.SetBelowNormal(0);
  gpu.Submit(Kernel(0, 0, 4 * kMs));
  gpu.Submit(Kernel(1, 1, 2 * kMs, 66));
  gpu.Submit(Kernel(2, 2, 4 * kMs, 66));
  // Nothing while both run, half beside the longer one, then all.
  const std::vector<int64_t> ends = Ends(gpu, 3);
  EXPECT_EQ(ends[1], 2 * kMs);
  EXPECT_EQ(ends[2], 4 * kMs);
  EXPECT_NEAR(double(ends[0]), 7e6, 10);
}

TEST(GpuTime, CopiesDoNotWaitForASlice) {
  TimedGpu gpu(2, {});
  gpu.Submit(Kernel(0, 0, 10 * kMs));
  gpu.Submit({1, 0, 1, 3 * kMs, 1, Engine::kCopy, 0});
  EXPECT_EQ(Ends(gpu, 2)[1], 3 * kMs);
}

TEST(GpuTime, ContextsOfOneGroupShareItsSlice) {
  TimedGpu gpu(3, {});
  gpu.SetGroup(2, 0);
  gpu.Submit(Kernel(0, 0, 3 * kMs, 66));
  gpu.Submit(Kernel(2, 1, 3 * kMs, 66));
  gpu.Submit(Kernel(1, 2, 3 * kMs));
  // Both of the group 2 | switch | 2 | switch | both done | dry switch | 1 done
  const std::vector<int64_t> ends = Ends(gpu, 3);
  EXPECT_EQ(ends[0], 5 * kMs + 150 * kUs);
  EXPECT_EQ(ends[1], 5 * kMs + 150 * kUs);
  EXPECT_EQ(ends[2], 6 * kMs + 175 * kUs);
}

TEST(GpuTime, AStreamWaitsForAnothers) {
  TimedGpu gpu(1, {});
  gpu.Submit(Kernel(0, 0, 3 * kMs, 66, 0));
  gpu.Submit({0, 1, 1, 0, 0 << 16 | 0, Engine::kWait, 0});  // for the first of stream 0
  gpu.Submit(Kernel(0, 2, kMs, 66, 1));
  gpu.Submit({0, 1, 3, 0, 1, Engine::kMarker, 0});
  const std::vector<int64_t> ends = Ends(gpu, 4);
  EXPECT_EQ(ends[0], 3 * kMs);
  EXPECT_EQ(ends[2], 4 * kMs);
  EXPECT_EQ(ends[3], 4 * kMs) << "a marker without a duration costs nothing";
}

TEST(GpuTime, TwoBusyProgramsGetHalfEachLessTheSwitches) {
  NoController none;
  World world({*Shape("g132"), *Shape("b1024")}, {}, {}, 1, &none);
  world.RunUntil(2 * kSecond);
  EXPECT_NEAR(world.gpu().served(0) / 2e9, 0.482, 0.002);
  EXPECT_NEAR(world.gpu().served(1) / 2e9, 0.482, 0.002);
}

TEST(GpuTime, ShortQueuesLoseToLongOnes) {
  NoController none;
  World world({*Shape("b1024"), *Shape("sync1")}, {}, {}, 1, &none);
  world.RunUntil(2 * kSecond);
  EXPECT_NEAR(world.gpu().served(0) / 2e9, 0.645, 0.01);
  EXPECT_NEAR(world.gpu().served(1) / 2e9, 0.323, 0.01);
}

TEST(GpuTime, EveryShapeRunsAlone) {
  for (const std::string& name : ShapeNames()) {
    NoController none;
    World world({*Shape(name)}, {}, {}, 3, &none);
    world.RunUntil(kSecond);
    const double least = Shape(name)->async ? 0.99 : 0.005;
    EXPECT_GT(world.gpu().served(0), least * kSecond) << name;
  }
}

}  // namespace
}  // namespace tranche::sim
