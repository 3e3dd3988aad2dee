#include <gtest/gtest.h>
#include <rapidcheck.h>
#include <rapidcheck/gtest.h>

#include <memory>
#include <optional>
#include <sstream>

#include "world.h"

// Any calls in any order, by several processes of one slice, against two oracles: what the machine
// says that each process holds, and the same processes without a limiter on a GPU that is just as
// large as the limit. The limiter answers as that GPU does, call for call.
namespace tranche::limiter_memory {
namespace {

constexpr uint32_t kTenants = 3;
// Each takes a tenth of a second; more of them on demand. Before rapidcheck reads it.
[[maybe_unused]] const int kFew = setenv("RC_PARAMS", "max_success=25", 0);

struct Step {
  uint32_t tenant = 0;
  bool killed = false;  // instead of the command
  Command command;
};
std::ostream& operator<<(std::ostream& out, const Step& step) {
  out << "tenant " << step.tenant << ": ";
  return step.killed ? out << "killed" : out << step.command;
}

sim::MachineSpec AsSmallAsTheLimit() {
  sim::MachineSpec spec = SmallMachine();
  spec.gpus[0].memory_bytes = kLimit + spec.gpus[0].reserved_bytes;
  return spec;
}

class LimiterMemory : public testing::Test {
 protected:
  // Why the limiter is wrong; nothing when it is not. To begin with, the first two have a context.
  std::optional<std::string> Run(std::vector<Step> steps);

  World limited_{SmallMachine()}, small_{AsSmallAsTheLimit()};
};

// Where less is left than a pool grows by, the limiter cannot have it grow by less, as a small GPU
// would: it takes memory from elsewhere, which is there for the same purpose and goes sooner. And
// in need all pools give back first what they hold in vain.
bool TakesFromElsewhere(const Command& command, uint64_t held) {
  const bool pooled =
      command.op == Op::kAsync || command.op == Op::kFromPool || command.op == Op::kGraph;
  return pooled && kLimit - held < std::max<uint64_t>(32 * kMiB, command.bytes + 2 * kMiB);
}

// What a call takes that shows only afterwards.
bool ShowsOnlyAfterwards(Op op) { return op == Op::kLoadModule; }

// Why the limiter is wrong; nothing when it is not.
std::optional<std::string> Follow(const std::vector<Step>& steps, Slice& slice, World& limited,
                                  World& small, std::vector<std::unique_ptr<Tenant>>& own,
                                  std::vector<std::unique_ptr<Tenant>>& twins,
                                  const std::function<void(uint32_t)>& restart) {
  std::ostringstream why;
  bool same = true;  // as far as the two can be compared
  for (const Step& step : steps) {
    const uint64_t before = limited.Used();
    if (step.killed) {
      restart(step.tenant);
      slice.Reap();
    } else {
      Tenant& tenant = *own[step.tenant];
      Reply answer, expected;
      limited.Watch();
      if (!tenant.Ask(step.command, &answer)) why << "the limited process died\n";
      if (!twins[step.tenant]->Ask(step.command, &expected)) why << "the other process died\n";
      const bool comparable = same;
      if (TakesFromElsewhere(step.command, before)) same = false;
      if (comparable && (answer.answer != expected.answer || (same && !(answer == expected)))) {
        why << "answered " << answer.answer << ", " << answer.free << " of " << answer.total
            << " free; the small GPU " << expected.answer << ", " << expected.free << " of "
            << expected.total << "\n";
      }
      const uint64_t peak = limited.Peak(tenant.pid());
      if (peak > kLimit && !ShowsOnlyAfterwards(step.command.op))
        why << "for an instant " << peak << " bytes were held\n";
    }
    const uint64_t held = limited.Used();
    if (held > kLimit) why << held << " bytes are held\n";
    if (slice.Used() != held)
      why << "the ledger says " << slice.Used() << ", held are " << held << "\n";
    if (same && small.Used() != held)
      why << "the small GPU holds " << small.Used() << ", not " << held << "\n";
    if (!why.str().empty()) {
      why << "after: " << step;
      return why.str();
    }
  }
  return {};
}

rc::Gen<Step> AnyStep() {
  return rc::gen::apply(
      [](uint32_t tenant, int life, uint32_t op, uint32_t which, uint64_t bytes) {
        return Step{tenant, life == 0, {static_cast<Op>(op), which, bytes}};
      },
      rc::gen::inRange<uint32_t>(0, kTenants), rc::gen::inRange(0, 100),
      rc::gen::weightedOneOf<uint32_t>(
          {{1, rc::gen::inRange<uint32_t>(0, static_cast<uint32_t>(Op::kLinear))},
           {4, rc::gen::inRange<uint32_t>(static_cast<uint32_t>(Op::kLinear),
                                          static_cast<uint32_t>(Op::kShare))},
           {1, rc::gen::just(static_cast<uint32_t>(Op::kMistake))}}),
      rc::gen::inRange<uint32_t>(0, kMistakes),
      rc::gen::weightedOneOf<uint64_t>(
          {{3, rc::gen::element<uint64_t>(1, 512, 4096, 300000, kMiB, 3 * kMiB / 2, 2 * kMiB - 1)},
           {3, rc::gen::element<uint64_t>(2 * kMiB, 2 * kMiB + 1, 5 * kMiB, 10 * kMiB, 30 * kMiB,
                                          33 * kMiB)},
           {2,
            rc::gen::element<uint64_t>(64 * kMiB, 100 * kMiB, 150 * kMiB, 200 * kMiB, 400 * kMiB)},
           {1, rc::gen::element<uint64_t>(0, kLimit, uint64_t{1} << 40, uint64_t{1} << 50,
                                          UINT64_MAX)}}));
}

std::optional<std::string> LimiterMemory::Run(std::vector<Step> steps) {
  for (uint32_t i = 0; i < 2; ++i) steps.insert(steps.begin(), Step{i, false, {Op::kRetain}});
  const auto slice = limited_.MakeSlice();
  std::vector<std::unique_ptr<Tenant>> own(kTenants), twins(kTenants);
  const auto restart = [&](uint32_t i) {
    own[i].reset();
    twins[i].reset();
    own[i] = limited_.Limited(*slice);
    twins[i] = small_.Unlimited();
  };
  for (uint32_t i = 0; i < kTenants; ++i) restart(i);
  return Follow(steps, *slice, limited_, small_, own, twins, restart);
}

RC_GTEST_FIXTURE_PROP(LimiterMemory, AnswersAsAGpuOfThatSizeWould, ()) {
  const auto why = Run(*rc::gen::container<std::vector<Step>>(AnyStep()));
  if (why) RC_FAIL(*why);
}

void Expect(const std::optional<std::string>& why) { EXPECT_FALSE(why) << *why; }

// In a slice with room, and in a full one.
TEST_F(LimiterMemory, AnswersMistakesAsTheDriverDoes) {
  for (const uint64_t bytes : {10 * kMiB, 204 * kMiB}) {
    std::vector<Step> steps = {{0, false, {Op::kLinear, 0, bytes}}};
    for (uint32_t i = 0; i < kMistakes; ++i) steps.push_back({0, false, {Op::kMistake, i, 0}});
    Expect(Run(steps));
  }
}

// What the property found, shrunk.
TEST_F(LimiterMemory, SmallManagedMemoryHasAGranuleOfItsOwn) {
  Expect(Run({{0, false, {Op::kLinear, 0, 2 * kMiB - 1}},
              {0, false, {Op::kLinear, 0, 200 * kMiB}},
              {1, false, {Op::kManaged, 0, 512}},
              {1, false, {Op::kPitch, 0, 0}}}));
}

}  // namespace
}  // namespace tranche::limiter_memory
