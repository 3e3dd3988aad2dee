#include "edge/broker/gpu_arbiter.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <functional>
#include <thread>
#include <vector>

#include "edge/broker/table_file.h"
#include "limiter/gpu_gate.h"
#include "limiter/policy/memory_ledger.h"
#include "limiter/slice_file.h"
#include "limiter/turnstile.h"

namespace tranche {
namespace {

using namespace std::chrono_literals;
using limiter::GpuGate;
using limiter::Turnstile;

constexpr const char* kGpu = "GPU-96727658-d5ec-4029-bed1-fba0cd5f30cf";
constexpr const char* kGateName = "/gpu-96727658d5ec4029bed1fba0cd5f30cf.gate";
constexpr const char* kTableName = "/gpu-96727658d5ec4029bed1fba0cd5f30cf.turns";

FileTables g_tables;

std::unique_ptr<GateFile> GateIn(const std::string& folder) {
  return *GateFile::Make(g_tables, folder + kGateName, geteuid());
}

// One party as the broker sees it, and one program of it as it passes the gate.
struct Party {
  Party(GpuArbiter* to, const std::string& in, double share) : arbiter(to), folder(in) {
    table = *TurnsTable::Open(g_tables, folder, kGpu, geteuid());
    line = *table->AddLine({{share}, {1}, {}, 0});
    EXPECT_TRUE(arbiter->Add(folder, *table, GateIn(folder)));
    arbiter->Weigh(folder, {share});
  }
  ~Party() { arbiter->Remove(folder); }

  // What the shim in a program does.
  void Use(const std::function<void()>& work, int times) {
    const std::string path = folder + kTableName;
    uint32_t slot = 0;
    TrancheSlice* mapped = limiter::SliceFile::Join(path.c_str(), &slot);
    ASSERT_NE(mapped, nullptr);
    Turnstile turnstile(mapped, 0, slot, path.c_str(), line,
                        GpuGate::Map((folder + kGateName).c_str()));
    for (int i = 0; i < times; ++i) {
      turnstile.Enter(200000);
      work();
      turnstile.Leave({200000});
    }
  }

  GpuArbiter* arbiter;
  std::string folder;
  std::unique_ptr<TurnsTable> table;
  uint32_t line = 0;
};

class GpuArbiterTest : public testing::Test {
 protected:
  void TearDown() override { std::filesystem::remove_all(folder_); }
  std::string FolderOf(const char* party) {
    const std::string folder = folder_ + "/" + party;
    std::filesystem::create_directories(folder);
    return folder;
  }

  std::string folder_ = testing::TempDir() + "gpu_arbiter." + std::to_string(getpid());
  GpuArbiter arbiter_;
};

TEST_F(GpuArbiterTest, OnePartyIsNeverHeldUp) {
  Party alone(&arbiter_, FolderOf("a"), 0.1);
  int done = 0;
  alone.Use([&] { ++done; }, 100);
  EXPECT_EQ(done, 100);
  EXPECT_EQ(arbiter_.hand_overs().count, 0u);
}

TEST_F(GpuArbiterTest, PartiesAreNeverOnTheGpuTogether) {
  Party a(&arbiter_, FolderOf("a"), 0.3), b(&arbiter_, FolderOf("b"), 0.7);
  std::atomic<int> inside_a{0}, inside_b{0}, together{0};
  const auto work = [&](std::atomic<int>& own, std::atomic<int>& other) {
    ++own;
    if (other != 0) ++together;
    std::this_thread::sleep_for(200us);
    if (other != 0) ++together;
    --own;
  };
  std::thread first([&] { a.Use([&] { work(inside_a, inside_b); }, 150); });
  std::thread second([&] { b.Use([&] { work(inside_b, inside_a); }, 150); });
  first.join();
  second.join();
  EXPECT_EQ(together, 0);
  EXPECT_GT(arbiter_.hand_overs().count, 0u);
}

TEST_F(GpuArbiterTest, APartyThatLeavesOpensTheGateForTheOthers) {
  Party a(&arbiter_, FolderOf("a"), 0.5);
  auto b = std::make_unique<Party>(&arbiter_, FolderOf("b"), 0.5);
  std::atomic<bool> in{false}, out{false};
  std::thread holder([&] {
    b->Use(
        [&] {
          in = true;
          while (!out) std::this_thread::sleep_for(1ms);
        },
        1);
  });
  while (!in) std::this_thread::sleep_for(1ms);
  std::atomic<bool> done{false};
  std::thread waiter([&] {
    a.Use([] {}, 1);
    done = true;
  });
  out = true;
  holder.join();
  b.reset();
  waiter.join();
  EXPECT_TRUE(done);
}

TEST_F(GpuArbiterTest, EndsWhileItsPartiesRing) {
  std::vector<std::unique_ptr<TurnsTable>> tables;
  std::vector<std::string> folders;
  for (const char* name : {"a", "b", "c"}) {
    folders.push_back(FolderOf(name));
    tables.push_back(*TurnsTable::Open(g_tables, folders.back(), kGpu, geteuid()));
  }
  std::atomic<bool> over{false};
  std::thread ringer([&] {
    while (!over)
      for (const auto& table : tables) table->RingBell();
  });
  for (int i = 0; i < 100; ++i) {
    GpuArbiter arbiter;
    for (size_t k = 0; k < tables.size(); ++k)
      EXPECT_TRUE(arbiter.Add(folders[k], *tables[k], GateIn(folders[k])));
  }
  over = true;
  ringer.join();
}

TEST_F(GpuArbiterTest, WithoutABrokerTheGateIsOpen) {
  const std::string folder = FolderOf("a");
  const auto gate = GateIn(folder);
  gate->Set(false);
  gate->Looked(1);  // long ago
  auto table = *TurnsTable::Open(g_tables, folder, kGpu, geteuid());
  const uint32_t line = *table->AddLine({{0.5}, {1}, {}, 0});
  uint32_t slot = 0;
  const std::string path = folder + kTableName;
  TrancheSlice* mapped = limiter::SliceFile::Join(path.c_str(), &slot);
  ASSERT_NE(mapped, nullptr);
  Turnstile turnstile(mapped, 0, slot, path.c_str(), line,
                      GpuGate::Map((folder + kGateName).c_str()));
  turnstile.Enter(200000);
  turnstile.Leave({200000});
}

}  // namespace
}  // namespace tranche
