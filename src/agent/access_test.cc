#include "agent/access.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

namespace tranche {
namespace {

TEST(Access, RootTheDaemonsUserAndMembersMay) {
  const Access access(500, 77);
  EXPECT_TRUE(access.MayRead({1, 0, 0, {}}));
  EXPECT_TRUE(access.MayChange({1, 500, 500, {}}));
  EXPECT_TRUE(access.MayChange({1, 1000, 77, {}}));
  EXPECT_TRUE(access.MayChange({1, 1000, 1000, {4, 77}}));
}

TEST(Access, NobodyElseMay) {
  const Access access(500, 77);
  const Status read = access.MayRead({1, 1000, 1000, {4, 24}});
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code, ErrorCode::kPermission);
  EXPECT_NE(read.error().hint.find("group 'tranche'"), std::string::npos);
  EXPECT_FALSE(access.MayChange({1, 1000, 1000, {}}));
}

TEST(Access, WithoutTheGroupNobodyIsAMember) {
  const Access access(0, std::nullopt);
  EXPECT_FALSE(access.MayRead({1, 1000, 0, {0}}));
}

TEST(Peer, IsWhoTheKernelSays) {
  int ends[2];
  ASSERT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  const auto peer = PeerOf(ends[0]);
  close(ends[0]);
  close(ends[1]);
  ASSERT_TRUE(peer);
  EXPECT_EQ(peer->pid, getpid());
  EXPECT_EQ(peer->uid, geteuid());
  EXPECT_EQ(peer->gid, getegid());
  EXPECT_EQ(peer->groups.size(), static_cast<size_t>(getgroups(0, nullptr)));
}

TEST(Peer, OfSomethingElseIsAnError) { EXPECT_FALSE(PeerOf(-1)); }

TEST(FindGroup, KnowsRootAndNotNonsense) {
  EXPECT_EQ(FindGroup("root"), 0u);
  EXPECT_EQ(FindGroup("no-such-group-anywhere"), std::nullopt);
}

}  // namespace
}  // namespace tranche
