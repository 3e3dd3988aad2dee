#include "stage/inventory/proc.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "stage/inventory/text.h"

namespace tranche {
namespace {

using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;

const std::string kId = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

struct Cgroup {
  std::string text;
  std::string container;
};

void PrintTo(const Cgroup& cgroup, std::ostream* out) { *out << cgroup.container; }

class Containers : public testing::TestWithParam<Cgroup> {};

TEST_P(Containers, AreFoundByTheirPath) {
  EXPECT_EQ(ContainerFromCgroup(GetParam().text), GetParam().container);
}

INSTANTIATE_TEST_SUITE_P(
    Paths, Containers,
    testing::Values(
        Cgroup{"", ""}, Cgroup{"0::/\n", ""}, Cgroup{"nonsense", ""}, Cgroup{":::::", ""},
        Cgroup{"0::/user.slice/user-1000.slice/session-3.scope\n", ""},
        // docker, cgroup v2 with systemd, v1, and with cgroupfs
        Cgroup{"0::/system.slice/docker-" + kId + ".scope\n", "0123456789ab"},
        Cgroup{"12:devices:/docker/" + kId + "\n11:cpu,cpuacct:/docker/" + kId + "\n",
               "0123456789ab"},
        Cgroup{"4:memory:/system.slice:docker:" + kId + "\n", "0123456789ab"},
        // podman, as root and not
        Cgroup{"0::/machine.slice/libpod-" + kId + ".scope\n", "0123456789ab"},
        Cgroup{"0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-" + kId +
                   ".scope/container\n",
               "0123456789ab"},
        // containerd and CRI-O below the kubelet
        Cgroup{"0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod2f1c_9e.slice/"
               "cri-containerd-" +
                   kId + ".scope\n",
               "0123456789ab"},
        Cgroup{"0::/kubepods.slice/crio-" + kId + ".scope\n", "0123456789ab"},
        Cgroup{"3:cpu:/kubepods/besteffort/pod5b0e5c0e-1f2d-4c54-8d1c-0c6d5a4b3f21/" + kId + "\n",
               "0123456789ab"},
        // a container in a container: the inner one
        Cgroup{"0::/docker/" + std::string(64, 'f') + "/docker/" + kId + "\n", "0123456789ab"},
        Cgroup{"0::/lxc.payload.web1/system.slice/x.service\n", "web1"},
        Cgroup{"0::/lxc.payload.\x1b[31m\n", "\\x1b[31m"},
        // 63 and 65 digits are no id
        Cgroup{"0::/docker/" + kId.substr(1) + "\n", ""}, Cgroup{"0::/docker/" + kId + "0\n", ""}));

TEST(Command, JoinsItsArguments) {
  using std::string_literals::operator""s;
  EXPECT_EQ(CommandFromCmdline("python3\0train.py\0--lr\0"s), "python3 train.py --lr");
  EXPECT_EQ(CommandFromCmdline(""), "");
  EXPECT_EQ(CommandFromCmdline("\0\0\0"s), "");
}

TEST(Command, OfAStrangerCannotForgeLinesOrColours) {
  EXPECT_EQ(CommandFromCmdline("a\nb\x1b[2J\x7f\t"), "a\\nb\\x1b[2J\\x7f\\t");
  EXPECT_EQ(CommandFromCmdline("\xff\xfe"), "\\xff\\xfe");
  EXPECT_EQ(CommandFromCmdline("\xc2\x9b\x31m"), "\\u009b1m");               // CSI as one character
  EXPECT_EQ(CommandFromCmdline("x\xe2\x80\xaegpj.exe"), "x\\u202egpj.exe");  // right-to-left
  EXPECT_EQ(CommandFromCmdline("\xc3\xbc \xe2\x82\xac \xf0\x9f\x98\x80"),
            "\xc3\xbc \xe2\x82\xac \xf0\x9f\x98\x80");
  EXPECT_EQ(CommandFromCmdline("\xed\xa0\x80"), "\\xed\\xa0\\x80");  // a surrogate is no text
  EXPECT_EQ(CommandFromCmdline("\xc0\xaf"), "\\xc0\\xaf");           // overlong
}

TEST(Command, IsKeptShort) {
  const std::string command = CommandFromCmdline(std::string(1 << 20, 'x'));
  EXPECT_LT(command.size(), 5000u);
  EXPECT_THAT(command, EndsWith("x..."));
  std::string euros;
  while (euros.size() < 8192) euros += "\xe2\x82\xac";
  EXPECT_THAT(CommandFromCmdline(euros), Not(HasSubstr("\\x")));
}

TEST(Command, AnyBytesBecomeOneLine) {
  std::mt19937 random(7);
  for (int i = 0; i < 2000; ++i) {
    std::string bytes(random() % 64, '\0');
    for (char& c : bytes) c = static_cast<char>(random());
    for (const char c : CommandFromCmdline(bytes)) {
      EXPECT_FALSE(static_cast<unsigned char>(c) < 0x20 || c == 0x7f);
    }
  }
}

TEST(Status, GivesTheRealUserAndTheCapabilities) {
  const std::string status =
      "Name:\tUid:\\n0\nState:\tS (sleeping)\nUid:\t1000\t0\t0\t0\nGid:\t5\t5\t5\t5\n"
      "CapEff:\t000001ffffffffff\n";
  EXPECT_EQ(UidFromStatus(status), 1000u);
  EXPECT_EQ(EffectiveCapabilities(status), 0x1ffffffffffu);
  EXPECT_FALSE(UidFromStatus("Uid:\tx\n"));
  EXPECT_FALSE(UidFromStatus("Uid:\t99999999999\n"));
  EXPECT_FALSE(UidFromStatus(""));
  EXPECT_EQ(EffectiveCapabilities("CapEff:\n"), 0u);
}

TEST(Passwd, NamesAUserOnce) {
  const std::string passwd =
      "root:x:0:0::/root:/bin/sh\nbroken\n::5:\nalice:x:1000:1000::/home/alice:/bin/sh\n"
      "mallory:x:1000x:1:::\nalso-alice:x:1000:1000:::\nevil\x1b:x:7:7:::\n";
  EXPECT_EQ(UserFromPasswd(passwd, 1000), "alice");
  EXPECT_EQ(UserFromPasswd(passwd, 0), "root");
  EXPECT_EQ(UserFromPasswd(passwd, 7), "evil\\x1b");
  EXPECT_EQ(UserFromPasswd(passwd, 5), "");
  EXPECT_EQ(UserFromPasswd("", 0), "");
}

}  // namespace
}  // namespace tranche
