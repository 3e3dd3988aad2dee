#include "decide/fleet/transport.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <set>

namespace tranche::fleet {
namespace {

TEST(Transport, TakesBackWhatStandsInTheWay) {
  // The first could fill the only room of the second.
  std::vector<Arc> arcs = {{0, 0, 0}, {0, 1, 0}, {1, 0, 0}};
  Transport({3, 4}, {4, 3}, &arcs);
  EXPECT_EQ(arcs[0].flow, 0);
  EXPECT_EQ(arcs[1].flow, 3);
  EXPECT_EQ(arcs[2].flow, 4);
}

// As much as the narrowest cut lets through, and none of it from nowhere.
RC_GTEST_PROP(Transport, MovesAsMuchAsTheNarrowestCutLets, ()) {
  const int sources = *rc::gen::inRange(1, 5), sinks = *rc::gen::inRange(1, 5);
  std::vector<int64_t> supply, room;
  for (int i = 0; i < sources; ++i) supply.push_back(*rc::gen::inRange<int64_t>(0, 9));
  for (int i = 0; i < sinks; ++i) room.push_back(*rc::gen::inRange<int64_t>(0, 9));
  std::vector<Arc> arcs;
  for (int i = 0; i < sources; ++i) {
    for (int j = 0; j < sinks; ++j) {
      if (*rc::gen::arbitrary<bool>()) arcs.push_back({i, j, 0});
    }
  }
  Transport(supply, room, &arcs);
  int64_t moved = 0;
  std::vector<int64_t> left = supply, space = room;
  for (const Arc& arc : arcs) {
    RC_ASSERT(arc.flow >= 0);
    moved += arc.flow;
    left[static_cast<size_t>(arc.source)] -= arc.flow;
    space[static_cast<size_t>(arc.sink)] -= arc.flow;
  }
  for (const int64_t l : left) RC_ASSERT(l >= 0);
  for (const int64_t s : space) RC_ASSERT(s >= 0);
  // Hall: what any set of sources can send is bounded by the sinks that it reaches.
  int64_t narrowest = -1;
  for (int set = 0; set < 1 << sources; ++set) {
    int64_t cut = 0;
    std::set<int> reached;
    for (int i = 0; i < sources; ++i) {
      if ((set >> i & 1) == 0) cut += supply[static_cast<size_t>(i)];
    }
    for (const Arc& arc : arcs) {
      if (set >> arc.source & 1) reached.insert(arc.sink);
    }
    for (const int sink : reached) cut += room[static_cast<size_t>(sink)];
    if (narrowest < 0 || cut < narrowest) narrowest = cut;
  }
  RC_ASSERT(moved == narrowest);
}

}  // namespace
}  // namespace tranche::fleet
