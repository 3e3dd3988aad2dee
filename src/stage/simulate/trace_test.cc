#include "stage/simulate/trace.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "stage/simulate/mig_fleet.h"

namespace tranche::simulate {
namespace {

using ::testing::HasSubstr;

const char* const kNodes =
    "sn,cpu_milli,memory_mib,gpu,model\n"
    "n0,96000,393216,8,G2\n"
    "n1,64000,262144,2,T4\n"
    "n2,96000,393216,8,G2\n";

TEST(Trace, ReadsNodes) {
  const auto fleet = ParseNodes(kNodes, "nodes.csv");
  ASSERT_TRUE(fleet) << fleet.error().message;
  ASSERT_EQ(fleet->nodes.size(), 3u);
  EXPECT_EQ(fleet->models, (std::vector<std::string>{"G2", "T4"}));
  EXPECT_EQ(fleet->nodes[1], (placement::NodeShape{64000, 262144, 2, 1}));
}

TEST(Trace, ReadsPodsByHeading) {
  const Fleet fleet = ParseNodes(kNodes, "nodes.csv").value();
  // Other columns, another order, quotes and line ends of another system.
  const auto pods = ParsePods(
      "qos,gpu_milli,num_gpu,memory_mib,cpu_milli,name,gpu_spec,creation_time,deletion_time\r\n"
      "LS,460,1,12288,6000,\"b\",T4|V100,10,\r\n"
      "BE,0,0,2048,1000,a,,,\r\n",
      "pods.csv", fleet);
  ASSERT_TRUE(pods) << pods.error().message;
  ASSERT_EQ(pods->size(), 2u);
  EXPECT_EQ((*pods)[0].request, (placement::Request{1000, 2048, 0, 0, placement::kAnyModel}));
  EXPECT_EQ((*pods)[1].request, (placement::Request{6000, 12288, 1, 460, 0b10}));
  EXPECT_EQ((*pods)[1].created, 10);
  EXPECT_FALSE((*pods)[1].deleted);
}

TEST(Trace, ReadsInstancesOfMigAndBorrowers) {
  Fleet fleet = ParseNodes(
                    "sn,cpu_milli,memory_mib,gpu,model\n"
                    "a,96000,393216,8,H100-SXM5-80GB\n"
                    "b,96000,393216,8,L40S\n"
                    "c,96000,393216,8,A100-SXM4-40GB\n",
                    "nodes.csv")
                    .value();
  AddMig(*Catalog::Load().value(), &fleet);
  const std::string heading =
      "name,cpu_milli,memory_mib,num_gpu,gpu_milli,mig_profile,preemptible,gpu_spec\n";
  const auto pods = ParsePods(heading +
                                  "a,1,1,1,,3g.40gb,,\n"
                                  "b,1,1,1,500,,true,\n"
                                  "c,1,1,1,0,1g.10gb,0,\n",
                              "pods.csv", fleet);
  ASSERT_TRUE(pods) << pods.error().message;
  EXPECT_EQ((*pods)[0].request.models, 1u) << "the H100 alone has it";
  EXPECT_EQ((*pods)[0].request.gpu_milli, 429);
  EXPECT_EQ((*pods)[1].request.mig, 0);
  EXPECT_TRUE((*pods)[1].preemptible);
  EXPECT_EQ((*pods)[2].request.models, 0b101u) << "of 80 GB and, with two slots, of 40 GB";
  const auto wrong = ParsePods(heading +
                                   "a,1,1,1,,3g.41gb,,\n"
                                   "b,1,1,2,,3g.40gb,maybe,\n"
                                   "c,1,1,1,,3g.40gb,,L40S\n",
                               "pods.csv", fleet);
  ASSERT_FALSE(wrong);
  EXPECT_THAT(wrong.error().message,
              HasSubstr("pods.csv:2: mig_profile: no GPU of the nodes has '3g.41gb', did you mean "
                        "'3g.40gb'?"));
  EXPECT_THAT(wrong.error().message, HasSubstr("pods.csv:3: num_gpu is not 1"));
  EXPECT_THAT(wrong.error().message, HasSubstr("preemptible is neither"));
  EXPECT_THAT(wrong.error().message, HasSubstr("no GPU of its gpu_spec has '3g.40gb'"));
}

TEST(Trace, FiveColumnsAreEnough) {
  const Fleet fleet = ParseNodes(kNodes, "nodes.csv").value();
  const auto pods =
      ParsePods("name,cpu_milli,memory_mib,num_gpu,gpu_milli\np,1,1,8,1000\n", "p", fleet);
  ASSERT_TRUE(pods);
  EXPECT_EQ((*pods)[0].request.models, placement::kAnyModel);
}

TEST(Trace, TellsAllMistakesWithTheirLines) {
  const auto columns = ParseNodes("sn,cpu_mili,memory_mib\nx,1,1\n", "nodes.csv");
  ASSERT_FALSE(columns);
  EXPECT_EQ(columns.error().code, ErrorCode::kInvalid);
  EXPECT_THAT(columns.error().message,
              HasSubstr("nodes.csv:1: has no column 'cpu_milli', but one called 'cpu_mili'"));
  EXPECT_THAT(columns.error().message, HasSubstr("no column 'gpu'"));
  EXPECT_THAT(columns.error().message, HasSubstr("no column 'model'"));

  const Fleet fleet = ParseNodes(kNodes, "nodes.csv").value();
  const auto values = ParsePods(
      "name,cpu_milli,memory_mib,num_gpu,gpu_milli\n"
      "a,-1,1,1,500\n"
      "b,1,1,1,1001\n"
      "c,1,x,1,500\n"
      "d,1,1,17,1000\n"
      "e,1,1,1,0\n"
      "f,1,1,1\n"
      "g,99999999999999999999,1,1,500\n",
      "pods.csv", fleet);
  ASSERT_FALSE(values);
  const std::string& message = values.error().message;
  EXPECT_THAT(message, HasSubstr("pods.csv:2: cpu_milli is -1, not between 0 and"));
  EXPECT_THAT(message, HasSubstr("pods.csv:3: gpu_milli is 1001"));
  EXPECT_THAT(message, HasSubstr("pods.csv:4: memory_mib is 'x', not a whole number"));
  EXPECT_THAT(message, HasSubstr("pods.csv:5: num_gpu is 17: no node has more than 16"));
  EXPECT_THAT(message, HasSubstr("pods.csv:6: gpu_milli is 0 although num_gpu is not"));
  EXPECT_THAT(message, HasSubstr("pods.csv:7: gpu_milli is '', not a whole number"));
  EXPECT_THAT(message, HasSubstr("pods.csv:8: cpu_milli is '99999999999999999999'"));
}

TEST(Trace, SaysNoMoreThanTenMistakesInWords) {
  const Fleet fleet = ParseNodes(kNodes, "nodes.csv").value();
  std::string text = "name,cpu_milli,memory_mib,num_gpu,gpu_milli\n";
  for (int i = 0; i < 25; ++i) text += "p,-1,1,0,0\n";
  EXPECT_THAT(ParsePods(text, "pods.csv", fleet).error().message, HasSubstr("and 15 more"));
}

TEST(Trace, RefusesWhatHoldsNothing) {
  const Fleet fleet = ParseNodes(kNodes, "nodes.csv").value();
  EXPECT_THAT(ParseNodes("", "n").error().message, HasSubstr("is empty"));
  EXPECT_THAT(ParseNodes("sn,cpu_milli,memory_mib,gpu,model\n", "n").error().message,
              HasSubstr("no node"));
  EXPECT_THAT(
      ParsePods("name,cpu_milli,memory_mib,num_gpu,gpu_milli\n\n", "p", fleet).error().message,
      HasSubstr("no pod"));
  EXPECT_FALSE(ParseNodes("sn,cpu_milli,memory_mib,gpu,model\n\"x,1,1,1,T4\n", "n"));
}

// Whatever the bytes are, the reader ends, with nodes or with an error that can be printed.
TEST(Trace, SurvivesAnyBytes) {
  uint64_t state = 1;
  for (int round = 0; round < 300; ++round) {
    std::string text = round % 2 == 0 ? kNodes : "";
    for (int i = 0; i < 60; ++i) {
      state = state * 6364136223846793005u + 1442695040888963407u;
      const char c = "\",\n\r0x-9\xff|"[state >> 33 & 7];
      if (text.empty() || (state >> 40 & 1) != 0) {
        text += c;
      } else {
        text[(state >> 45) % text.size()] = c;
      }
    }
    const auto fleet = ParseNodes(text, "n");
    EXPECT_TRUE(fleet ? !fleet->nodes.empty() : !fleet.error().message.empty());
  }
}

}  // namespace
}  // namespace tranche::simulate
