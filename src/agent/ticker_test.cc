#include "agent/ticker.h"

#include <gtest/gtest.h>

#include "agent/fake_engine.h"

namespace tranche {
namespace {

TEST(Ticker, GivesTurnsUntilItEnds) {
  FakeEngine engine;
  SystemClock clock;
  {
    const Ticker ticker(engine, std::chrono::milliseconds(1));
    const Duration deadline = clock.Monotonic() + std::chrono::seconds(30);
    while (engine.ticks < 3 && clock.Monotonic() < deadline)
      clock.Sleep(std::chrono::milliseconds(1));
  }
  EXPECT_GE(engine.ticks, 3);
}

TEST(Ticker, EndsWithoutWaitingOutItsInterval) {
  FakeEngine engine;
  { const Ticker ticker(engine, std::chrono::hours(1)); }
  EXPECT_LE(engine.ticks, 1);
}

}  // namespace
}  // namespace tranche
