#include "backends.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <fstream>
#include <functional>
#include <map>
#include <sstream>

#include "limiter/policy/memory_ledger.h"
#include "world.h"

// One suite over everything that can hold a slice's memory: each is asked the same, and what it
// answers is what the table declares. A difference that is not declared fails, and so does a
// declared one that is not seen.
namespace tranche::limiter_memory {
namespace {

constexpr const char* kGroup = "/tenants/a";
constexpr int kOutOfMemory = 2;

// A machine on which one slice may hold kLimit of the GPU, by the means of one backend.
class Held {
 public:
  explicit Held(Backend backend) : backend_(backend), slice_(world_.MakeSlice()) {
    if (ByKernel()) world_.LimitGroup(kGroup, kLimit);
    if (ByMps()) world_.ServeMps(kPipe, backend == Backend::kMpsAlone ? kLimit : 0, 33);
  }

  std::unique_ptr<Tenant> Start() {
    World::Variables more;
    if (ByKernel()) more.emplace_back("TRANCHE_SIM_CGROUP", kGroup);
    if (ByMps()) more.emplace_back("CUDA_MPS_PIPE_DIRECTORY", kPipe);
    const bool limited = backend_ != Backend::kKernelAlone && backend_ != Backend::kMpsAlone;
    return limited ? world_.Limited(*slice_, TRANCHE_SHIM, more) : world_.Unlimited(more);
  }

  // As if nobody had been there.
  void Begin() {
    slice_->Reap();
    Limit(kLimit);
    ASSERT_EQ(world_.Used(), 0u);
    ASSERT_EQ(slice_->Used(), 0u);
  }

  void Limit(uint64_t limit) {
    limiter::MemoryLedger(slice_->table(), 0).SetLimit(limit);
    if (ByKernel()) world_.LimitGroup(kGroup, limit);
    // The server's default, which is all that could be changed.
    if (ByMps()) world_.ChangeMpsLimit(kPipe, backend_ == Backend::kMpsAlone ? limit : 0);
  }

  World& world() { return world_; }

 private:
  static constexpr const char* kPipe = "/tmp/pipe";
  bool ByKernel() const {
    return backend_ == Backend::kKernelAlone || backend_ == Backend::kKernelAndLimiter;
  }
  bool ByMps() const {
    return backend_ == Backend::kMpsAlone || backend_ == Backend::kMpsAndLimiter;
  }

  const Backend backend_;
  World world_{SmallMachine()};
  std::unique_ptr<Slice> slice_;
};

Reply Ask(Tenant& tenant, const Command& command) {
  Reply reply;
  EXPECT_TRUE(tenant.Ask(command, &reply)) << command;
  return reply;
}

// Takes until it is refused; how many bytes the GPU then holds.
uint64_t Fill(Held& held, Tenant& tenant, const std::vector<Command>& taking) {
  uint64_t most = held.world().Used();
  // Three times the limit.
  for (uint64_t taken = 0; taken < 3 * kLimit; taken += taking.front().bytes) {
    for (const Command& command : taking) {
      if (Ask(tenant, command).answer != 0) return most;
    }
    most = std::max(most, held.world().Used());
  }
  return most;
}

using Probe = std::function<std::string(Held&)>;

// What a family of calls takes beside some linear memory stays within the limit.
Probe Family(std::vector<Command> first, std::vector<Command> taking) {
  return [=](Held& held) -> std::string {
    const auto tenant = held.Start();
    if (Ask(*tenant, {Op::kRetain}).answer != 0) return "no context";
    for (const Command& command : first) {
      if (Ask(*tenant, command).answer != 0) return "no beginning";
    }
    return Fill(held, *tenant, taking) <= kLimit ? "held" : "not held";
  };
}

std::string AContext(Held& held) {
  const uint64_t before = held.world().Used();
  const auto tenant = held.Start();
  Ask(*tenant, {Op::kRetain});
  const uint64_t context = held.world().Used() - before;
  const Reply all = Ask(*tenant, {Op::kLinear, 0, kLimit - kMiB});
  const Reply rest = Ask(*tenant, {Op::kLinear, 0, (kLimit - context) / (2 * kMiB) * (2 * kMiB)});
  return all.answer == kOutOfMemory && rest.answer == 0 ? "counts" : "does not count";
}

std::string TwoProcesses(Held& held) {
  const auto first = held.Start(), second = held.Start();
  Ask(*first, {Op::kRetain});
  Ask(*second, {Op::kRetain});
  Fill(held, *first, {{Op::kLinear, 0, 30 * kMiB}});
  const uint64_t together = Fill(held, *second, {{Op::kLinear, 0, 30 * kMiB}});
  return together <= kLimit ? "share the limit" : "have one limit each";
}

std::string Killed(Held& held) {
  const auto first = held.Start(), second = held.Start();
  Ask(*first, {Op::kRetain});
  Ask(*second, {Op::kRetain});
  Ask(*first, {Op::kLinear, 0, 200 * kMiB});
  first->Kill();
  return Ask(*second, {Op::kLinear, 0, 300 * kMiB}).answer == 0 ? "can be taken again" : "is lost";
}

std::string Lowered(Held& held) {
  const auto tenant = held.Start();
  Ask(*tenant, {Op::kRetain});
  Ask(*tenant, {Op::kLinear, 0, 100 * kMiB});
  held.Limit(held.world().Used());
  return Ask(*tenant, {Op::kLinear, 0, 10 * kMiB}).answer == kOutOfMemory ? "stops growth"
                                                                          : "changes nothing";
}

std::string ToldSize(Held& held) {
  const auto tenant = held.Start();
  return Ask(*tenant, {Op::kRetain}).total == kLimit ? "its limit" : "the whole GPU";
}

std::string ToldFree(Held& held) {
  const auto tenant = held.Start();
  const uint64_t free = Ask(*tenant, {Op::kRetain}).free;
  const bool fits = Ask(*tenant, {Op::kLinear, 0, free / (2 * kMiB) * (2 * kMiB)}).answer == 0;
  const bool more = Ask(*tenant, {Op::kLinear, 0, 2 * kMiB}).answer == 0;
  return fits && !more ? "what it can take" : "something else";
}

std::string SeenSms(Held& held) {
  const auto tenant = held.Start();
  return std::to_string(Ask(*tenant, {Op::kCountSms}).answer);
}

const std::map<std::string_view, Probe>& Probes() {
  constexpr uint64_t kChunk = 30 * kMiB;
  static const auto* probes = new std::map<std::string_view, Probe>{
      {"linear memory", Family({}, {{Op::kLinear, 0, kChunk}})},
      {"small linear memory",
       Family({{Op::kLinear, 0, kLimit / 2}}, {{Op::kLinear, 0, 700 * 1024}})},
      {"pitched memory", Family({}, {{Op::kPitch, 0, kChunk}})},
      {"managed memory", Family({}, {{Op::kManaged, 0, kChunk}})},
      {"stream-ordered memory", Family({}, {{Op::kAsync, 0, kChunk}})},
      {"pools", Family({{Op::kCreatePool}}, {{Op::kFromPool, 0, kChunk}})},
      {"physical memory", Family({}, {{Op::kCreateHandle, 0, kChunk}})},
      {"physical memory whose handle is gone",
       Family({}, {{Op::kCreateHandle, 0, kChunk}, {Op::kMap}, {Op::kReleaseHandle}})},
      {"arrays", Family({}, {{Op::kArray, 0, kChunk}})},
      {"mipmapped arrays", Family({}, {{Op::kMipmap, 0, kChunk}})},
      {"memory of graphs", Family({}, {{Op::kGraph, 0, 2 * kLimit}})},
      {"code", Family({{Op::kLinear, 0, 350 * kMiB}}, {{Op::kLoadModule, 0, 60 * kMiB}})},
      {"further contexts", Family({}, {{Op::kCreateContext, 0, 100 * kMiB}})},
      {"the heap of a context",
       Family({{Op::kLinear, 0, 200 * kMiB}}, {{Op::kSetHeap, 0, kLimit}})},
      {"a context", AContext},
      {"two processes", TwoProcesses},
      {"what a killed process held", Killed},
      {"a limit that is lowered while it runs", Lowered},
      {"the size of the GPU that it is told", ToldSize},
      {"what is free, as it is told", ToldFree},
      {"SMs that it sees, of 40, at 33 %", SeenSms},
  };
  return *probes;
}

const Difference* FindDifference(std::string_view what, Backend backend) {
  const auto* found = std::find_if(
      std::begin(kDifferences), std::end(kDifferences),
      [&](const Difference& one) { return one.what == what && one.backend == backend; });
  return found == std::end(kDifferences) ? nullptr : found;
}

std::string_view Declared(const Promise& promise, Backend backend) {
  const Difference* difference = FindDifference(promise.what, backend);
  return difference != nullptr ? difference->answer : promise.answer;
}

std::string_view NameOf(Backend backend) { return kBackendNames[static_cast<size_t>(backend)]; }

class MemoryBackends : public testing::TestWithParam<Backend> {};

TEST_P(MemoryBackends, AnswerAsDeclared) {
  Held held(GetParam());
  for (const Promise& promise : kPromises) {
    SCOPED_TRACE(promise.what);
    held.Begin();
    EXPECT_EQ(Probes().at(promise.what)(held), Declared(promise, GetParam()));
  }
}

INSTANTIATE_TEST_SUITE_P(By, MemoryBackends, testing::ValuesIn(kBackends), [](const auto& by) {
  std::string name;
  for (const char c : NameOf(by.param)) name += c == ' ' ? '_' : c == '+' ? 'x' : c;
  return name;
});

TEST(MemoryBackendsTable, DeclaresDifferencesOnly) {
  EXPECT_EQ(Probes().size(), std::size(kPromises));
  for (const Difference& difference : kDifferences) {
    const auto* promise =
        std::find_if(std::begin(kPromises), std::end(kPromises),
                     [&](const Promise& one) { return one.what == difference.what; });
    ASSERT_NE(promise, std::end(kPromises)) << difference.what;
    EXPECT_NE(difference.answer, promise->answer) << difference.what;
    EXPECT_FALSE(difference.why.empty());
  }
}

// The page shows the table as it is asserted.
TEST(MemoryBackendsTable, IsInTheManual) {
  std::ifstream file(std::string(TRANCHE_SOURCE_DIR) + "/docs/enforcement.md");
  std::ostringstream text;
  text << file.rdbuf();
  const std::string page = text.str();
  for (const Promise& promise : kPromises) {
    std::string row = "| " + std::string(promise.what) + " |";
    for (const Backend backend : kBackends)
      row += " " + std::string(Declared(promise, backend)) + " |";
    EXPECT_NE(page.find(row + "\n"), std::string::npos) << row;
  }
  for (const Difference& difference : kDifferences) {
    EXPECT_NE(page.find(std::string(difference.why)), std::string::npos) << difference.why;
  }
}

}  // namespace
}  // namespace tranche::limiter_memory
