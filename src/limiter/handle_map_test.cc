#include "limiter/handle_map.h"

#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <random>
#include <thread>
#include <vector>

namespace tranche::limiter {
namespace {

Charge Of(uint64_t bytes, uint64_t context = 0) {
  Charge charge;
  charge.bytes = bytes;
  charge.context = context;
  return charge;
}

TEST(HandleMap, ANumberMeansAnotherThingInEachKind) {
  auto map = std::make_unique<HandleMap>();
  Charge charge;
  EXPECT_TRUE(map->Put(Kind::kPointer, 7, Of(1)));
  EXPECT_TRUE(map->Put(Kind::kArray, 7, Of(2)));
  EXPECT_TRUE(map->Take(Kind::kPointer, 7, &charge) && charge.bytes == 1);
  EXPECT_FALSE(map->Take(Kind::kPointer, 7, &charge));
  EXPECT_TRUE(map->Find(Kind::kArray, 7, &charge) && charge.bytes == 2);
}

TEST(HandleMap, BytesAreAddedAndNeverTakenTwice) {
  auto map = std::make_unique<HandleMap>();
  EXPECT_EQ(map->TakeBytes(Kind::kLimits, 1, 5), 0u);
  EXPECT_TRUE(map->AddBytes(Kind::kLimits, 1, Of(10)));
  EXPECT_TRUE(map->AddBytes(Kind::kLimits, 1, Of(7)));
  EXPECT_EQ(map->TakeBytes(Kind::kLimits, 1, 12), 12u);
  EXPECT_EQ(map->TakeBytes(Kind::kLimits, 1, 12), 5u);
}

TEST(HandleMap, SaysWhatAMapSaysUntilAllOfAContextIsTaken) {
  std::mt19937_64 random(3);
  auto map = std::make_unique<HandleMap>();
  std::map<uint64_t, Charge> model;
  for (int i = 0; i < 20000; ++i) {
    const uint64_t handle = (random() % 3000) << 21;
    Charge charge = Of(random() % 100, 1 + random() % 3);
    if (random() % 3 != 0) {
      ASSERT_TRUE(map->Put(Kind::kPointer, handle, charge));
      model[handle] = charge;
    } else {
      ASSERT_EQ(map->Take(Kind::kPointer, handle, &charge), model.count(handle) == 1);
      if (model.count(handle) == 1) {
        ASSERT_EQ(charge.bytes, model[handle].bytes);
      }
      model.erase(handle);
    }
  }
  for (uint64_t context = 1; context <= 3; ++context) {
    uint64_t bytes = 0, expected = 0, from = 0;
    for (const auto& [handle, charge] : model)
      expected += charge.context == context ? charge.bytes : 0;
    Charge charge;
    Kind kind = Kind::kNone;
    while (map->TakeOneOf(context, &from, &kind, &charge)) bytes += charge.bytes;
    EXPECT_EQ(bytes, expected);
  }
}

TEST(HandleMap, AnyThreadAtAnyTime) {
  auto map = std::make_unique<HandleMap>();
  std::vector<std::thread> threads;
  std::atomic<int> first = 0, last = 0;
  for (uint64_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (uint64_t i = 0; i < 2000; ++i) {
        Charge charge;
        bool began = false, gone = false;
        ASSERT_TRUE(map->Put(Kind::kPointer, i * 4 + t, Of(i)));
        ASSERT_TRUE(map->AddUserOrBegin(Kind::kGranule, i % 10, &charge, &began));
        if (began) ++first;
        ASSERT_TRUE(map->RemoveUser(Kind::kGranule, i % 10, &charge, &gone));
        if (gone) ++last;
        ASSERT_TRUE(map->Take(Kind::kPointer, i * 4 + t, &charge));
        ASSERT_EQ(charge.bytes, i);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(first.load(), last.load());
}

}  // namespace
}  // namespace tranche::limiter
