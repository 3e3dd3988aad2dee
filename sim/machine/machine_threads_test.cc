#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "sim/machine/machine.h"
#include "sim/test/scratch.h"

namespace tranche::sim {
namespace {

// Nothing is lost between threads that share one Machine, nor between those that have their own.
TEST(MachineThreads, ChangesAddUp) {
  ScratchDir scratch;
  std::string dir = scratch.path() + "/machine";
  ASSERT_TRUE(Machine::Create(dir, SpecOf("h100-sxm", 2)));
  auto shared = std::move(*Machine::Open(dir));
  constexpr int kThreads = 6, kRounds = 100;
  std::atomic<int> failures{0};
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      std::unique_ptr<Machine> own = t % 2 ? std::move(*Machine::Open(dir)) : nullptr;
      Machine& machine = own ? *own : *shared;
      for (int i = 0; i < kRounds; ++i) {
        uint64_t context = 0;
        bool ok = machine.CreateContext({static_cast<uint32_t>(t % 2), 0}, kCompute, 1 << 20,
                                        &context) == Rc::kOk &&
                  machine.Allocate(context, 1 << 20) == Rc::kOk &&
                  machine.DestroyContext(context) == Rc::kOk &&
                  machine.Update([](MachineState& state) {
                    ++state.gpus[0].ecc_aggregate_corrected;
                    return Rc::kOk;
                  }) == Rc::kOk;
        if (!ok) ++failures;
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(failures, 0);
  auto state = shared->Snapshot();
  EXPECT_EQ(state->gpus[0].ecc_aggregate_corrected, static_cast<uint64_t>(kThreads * kRounds));
  for (const Context& context : state->contexts) EXPECT_EQ(context.serial, 0u);
}

}  // namespace
}  // namespace tranche::sim
